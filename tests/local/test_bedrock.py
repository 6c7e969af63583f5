import asyncio
import hashlib
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError
from botocore.model import ListShape, Shape, StructureShape
from botocore.session import Session
from urllib3.exceptions import ProtocolError as StreamBroken

from local.model.bedrock import PacedBedrock
from local.model.faults import BLOCKED_MESSAGE
from local.model.interface import ModelRequest, Turn
from local.model.paced import Pace, PacedModel
from local.model.text import expected_text

CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "amazon.nova-lite-v1:0"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-20250514-v1:0"
PATIENCE = 20.0
TORTURE = (
    "\"q\" 'a' \\ \\n \n\r\n\t \x00\x1b\x7f </script>&amp; {}[]]] $(x) `y` "
    "👩‍🚀🏳️‍🌈 e\u0301 שלום \u202eabc\u202c \u2028\u2029 \ufeff \U0001d54f"
)

REFUSALS = [
    ("throttle", "ThrottlingException", 429),
    ("access", "AccessDeniedException", 403),
    ("notfound", "ResourceNotFoundException", 404),
    ("validation", "ValidationException", 400),
    ("internal", "InternalServerException", 500),
    ("unavailable", "ServiceUnavailableException", 503),
    ("timeout", "ModelTimeoutException", 408),
    ("modelerror", "ModelErrorException", 424),
    ("notready", "ModelNotReadyException", 429),
]
IN_STREAM = [
    "throttlingException",
    "modelStreamErrorException",
    "internalServerException",
    "serviceUnavailableException",
    "validationException",
    "modelTimeoutException",
]


@dataclass
class Answer:
    text: str
    reasoning: str
    stop_reason: str | None
    usage: dict[str, int]
    events: list[dict[str, Any]]


class Sdk:
    """A real SDK client, its answers told in one way for both APIs."""

    _session = Session()  # a new one would read the service's model again

    def __init__(self, url: str) -> None:
        self.client: Any = self._session.create_client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="eu-central-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=30, read_timeout=PATIENCE),
        )
        # What was heard also when the stream then broke.
        self.heard: list[dict[str, Any]] = []

    def converse(self, prompt: str, model: str = CLAUDE, **members: Any) -> Answer:
        messages = [{"role": "user", "content": [{"text": prompt}]}]
        response = self.client.converse_stream(**{"modelId": model, "messages": messages, **members})
        events: list[dict[str, Any]] = []
        self.heard = events
        with closing(response["stream"]) as stream:
            events.extend(stream)
        deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
        return Answer(
            text="".join(delta.get("text", "") for delta in deltas),
            reasoning="".join(delta.get("reasoningContent", {}).get("text", "") for delta in deltas),
            stop_reason=next((event["messageStop"]["stopReason"] for event in events if "messageStop" in event), None),
            usage=next((event["metadata"]["usage"] for event in events if "metadata" in event), {}),
            events=events,
        )

    def invoke(self, prompt: str, model: str = CLAUDE, **members: Any) -> Answer:
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 100_000,
            "messages": [{"role": "user", "content": prompt}],
        }
        response = self.client.invoke_model_with_response_stream(modelId=model, body=json.dumps({**body, **members}))
        assert response["contentType"] == "application/json"
        events: list[dict[str, Any]] = []
        self.heard = events
        with closing(response["body"]) as body_stream:
            events.extend(json.loads(event["chunk"]["bytes"]) for event in body_stream)
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        ends = [event for event in events if event["type"] == "message_delta"]
        return Answer(
            text="".join(delta.get("text", "") for delta in deltas),
            reasoning="".join(delta.get("thinking", "") for delta in deltas),
            stop_reason=ends[0]["delta"]["stop_reason"] if ends else None,
            usage=ends[0]["usage"] if ends else {},
            events=events,
        )

    def ask(self, api: str, prompt: str) -> Answer:
        return {"converse": self.converse, "invoke": self.invoke}[api](prompt)

    @property
    def tokens_heard(self) -> int:
        return sum("contentBlockDelta" in event or event.get("type") == "content_block_delta" for event in self.heard)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    bedrock = PacedBedrock(PacedModel(Pace(ttft=0, rate=2000)))
    yield await bedrock.start()
    await bedrock.close()


@pytest.fixture
def sdk(url: str) -> Iterator[Sdk]:
    sdk = Sdk(url)
    yield sdk
    sdk.client.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session:
        yield session


def ask(prompt: str, **members: Any) -> ModelRequest:
    return ModelRequest(turns=(Turn("user", prompt),), **members)


def signed(url: str, body: bytes, service: str = "bedrock") -> dict[str, str]:
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), service, "eu-central-1").add_auth(request)
    return dict(request.headers.items())


def converse_body(prompt: str = "hi", **members: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": [{"text": prompt}]}], **members}).encode()


async def streams(http: aiohttp.ClientSession, url: str, query: str = "") -> list[dict[str, Any]]:
    async with http.get(f"{url}/_streams{query}") as response:
        return list((await response.json())["streams"])


async def until(condition: Callable[[list[dict[str, Any]]], bool], http: aiohttp.ClientSession, url: str) -> list[Any]:
    """The record, once it is as wanted."""
    deadline = time.monotonic() + PATIENCE
    while not condition(found := await streams(http, url)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize("api", ["converse", "invoke"])
class TestBothApis:
    async def test_the_sdk_reads_the_whole_answer(self, api: str, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.ask, api, "Tell me 🌊 of “rivers”")
        assert answer.text == expected_text(ask("Tell me 🌊 of “rivers”"))
        assert answer.stop_reason == "end_turn"
        assert 120 in answer.usage.values()

    async def test_hostile_text_arrives_unharmed(self, api: str, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.ask, api, f"[[say={json.dumps(TORTURE)} reasoning=3]]")
        assert answer.text == TORTURE

    async def test_a_hostile_prompt_arrives_unharmed(self, api: str, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.ask, api, TORTURE)
        assert answer.text == expected_text(ask(TORTURE))
        assert TORTURE.strip() in answer.text

    async def test_an_empty_answer_is_complete(self, api: str, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.ask, api, '[[say=""]]')
        assert (answer.text, answer.stop_reason) == ("", "end_turn")

    @pytest.mark.parametrize(("fault", "type_", "status"), REFUSALS)
    async def test_a_refusal_is_the_sdks_own_exception(
        self, api: str, fault: str, type_: str, status: int, sdk: Sdk
    ) -> None:
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(sdk.ask, api, f"[[fault={fault}]]")
        assert isinstance(caught.value, sdk.client.exceptions.from_code(type_))
        assert caught.value.response["Error"]["Code"] == type_
        assert caught.value.response["Error"]["Message"]
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status

    @pytest.mark.parametrize("type_", IN_STREAM)
    async def test_an_exception_in_mid_stream_reaches_the_sdk(self, api: str, type_: str, sdk: Sdk) -> None:
        with pytest.raises(EventStreamError) as caught:
            await asyncio.to_thread(sdk.ask, api, f"[[fault=exception:{type_}:5]]")
        if (api, type_) != ("converse", "modelTimeoutException"):  # which Converse's model doesn't have
            assert caught.value.response["Error"]["Code"] == type_
            assert caught.value.response["Error"]["Message"]
        assert sdk.tokens_heard == 5

    @pytest.mark.parametrize("fault", ["break", "drop"])
    async def test_a_broken_connection_is_no_clean_end(self, api: str, fault: str, sdk: Sdk) -> None:
        with pytest.raises(StreamBroken):
            await asyncio.to_thread(sdk.ask, api, f"[[fault={fault}:5]]")
        assert sdk.tokens_heard == 5

    async def test_a_truncated_stream_ends_cleanly_but_without_its_last_events(self, api: str, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.ask, api, "[[fault=truncate:5]]")
        assert answer.stop_reason is None
        assert sdk.tokens_heard == 5

    async def test_a_corrupt_event_fails_its_checksum(self, api: str, sdk: Sdk) -> None:
        with pytest.raises(ChecksumMismatch):
            await asyncio.to_thread(sdk.ask, api, "[[fault=corrupt:5]]")
        assert sdk.tokens_heard == 5

    async def test_many_streams_at_once_are_each_exact(self, api: str, sdk: Sdk) -> None:
        prompts = [f"[[ttft=0.2 rate=100 tokens=60]] number {n}" for n in range(20)]
        with ThreadPoolExecutor(len(prompts)) as threads:
            loop = asyncio.get_running_loop()
            answers = await asyncio.gather(*(loop.run_in_executor(threads, sdk.ask, api, prompt) for prompt in prompts))
        assert [answer.text for answer in answers] == [expected_text(ask(prompt)) for prompt in prompts]


@pytest.mark.parametrize(("fault", "rest"), [("break:3", True), ("drop:3", False), ("truncate:3", False)])
async def test_where_a_stream_is_cut(fault: str, rest: bool, url: str, http: aiohttp.ClientSession) -> None:
    target, body = f"{url}/model/{CLAUDE}/converse-stream", converse_body(f"[[fault={fault}]] x")
    received = bytearray()
    async with http.post(target, data=body, headers=signed(target, body)) as response:
        with suppress(aiohttp.ClientPayloadError):
            async for data in response.content.iter_any():
                received += data
    messages = decode(bytes(received))
    assert len(messages) == 4
    assert (len(received) > sum(message.prelude.total_length for message in messages)) == rest


class TestConverse:
    async def test_options_reach_the_model(self, sdk: Sdk) -> None:
        turns = [("user", "one"), ("assistant", "two"), ("user", "[[tokens=500]] three")]
        messages = [{"role": role, "content": [{"text": text}]} for role, text in turns]
        answer = await asyncio.to_thread(
            sdk.converse,
            "",
            model=NOVA,
            messages=messages,
            system=[{"text": "be brief"}],
            inferenceConfig={"maxTokens": 40, "temperature": 0.5, "topP": 0.9, "stopSequences": ["never said"]},
        )
        request = ModelRequest(
            turns=tuple(Turn(role, text) for role, text in turns),  # type: ignore[arg-type]  # literals in a list
            system="be brief",
            max_tokens=40,
        )
        assert answer.text == expected_text(request)
        assert answer.text.startswith("Turn 3. ")
        assert answer.stop_reason == "max_tokens"
        assert answer.usage["outputTokens"] == 40
        assert answer.usage["totalTokens"] == answer.usage["inputTokens"] + 40

    async def test_reasoning_is_a_signed_block_of_its_own(self, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.converse, "[[reasoning=4 tokens=3]] x")
        kinds = [
            next(iter(event["contentBlockDelta"]["delta"].get("reasoningContent", {"answer": ""})))
            if "contentBlockDelta" in event
            else next(iter(event))
            for event in answer.events
        ]
        assert kinds == [
            "messageStart",
            *["text"] * 4,
            "signature",
            "contentBlockStop",
            *["answer"] * 3,
            "contentBlockStop",
            "messageStop",
            "metadata",
        ]
        assert answer.reasoning.startswith("Let me think.")
        indexes = [
            event["contentBlockStop"]["contentBlockIndex"] for event in answer.events if "contentBlockStop" in event
        ]
        assert indexes == [0, 1]
        assert answer.events[-1]["metadata"]["metrics"]["latencyMs"] >= 0

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [("guardrail", "guardrail_intervened"), ("refusal", "content_filtered"), ("end:tool_use", "tool_use")],
    )
    async def test_other_ends(self, fault: str, reason: str, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.converse, f"[[fault={fault}]] x")
        assert answer.stop_reason == reason
        assert (answer.text == BLOCKED_MESSAGE) == (fault == "guardrail")

    async def test_every_event_is_as_the_service_model_says(self, url: str, http: aiohttp.ClientSession) -> None:
        stream = service_shape("ConverseStreamOutput")
        target, body = f"{url}/model/{CLAUDE}/converse-stream", converse_body('[[reasoning=2 say="a é b c d"]]')
        async with http.post(target, data=body, headers=signed(target, body)) as response:
            assert response.headers["Content-Type"] == "application/vnd.amazon.eventstream"
            received = await response.read()
        messages = decode(received)
        assert " é".encode() in received  # UTF-8 as it is, not escaped
        assert len(messages) == 1 + 3 + 1 + 5 + 1 + 2
        for message in messages:
            payload = json.loads(message.payload)
            padding = payload.pop("p")
            assert "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".startswith(padding)
            assert_conforms(payload, stream.members[message.headers[":event-type"]])
            assert message.headers[":content-type"] == "application/json"


class TestInvoke:
    async def test_the_events_of_a_message_are_anthropics(self, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.invoke, "[[reasoning=2 tokens=3]] x")
        assert [event["type"] for event in answer.events] == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * 3,
            "content_block_stop",
            "content_block_start",
            *["content_block_delta"] * 3,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        start, stop = answer.events[0]["message"], answer.events[-1]
        metrics = stop["amazon-bedrock-invocationMetrics"]
        assert start["role"] == "assistant"
        assert start["usage"]["input_tokens"] == metrics["inputTokenCount"] > 0
        assert metrics["outputTokenCount"] == answer.usage["output_tokens"] == 5
        assert 0 <= metrics["firstByteLatency"] <= metrics["invocationLatency"]
        blocks = [event["content_block"]["type"] for event in answer.events if event["type"] == "content_block_start"]
        deltas = [event["delta"]["type"] for event in answer.events if event["type"] == "content_block_delta"]
        assert blocks == ["thinking", "text"]
        assert deltas == [*["thinking_delta"] * 2, "signature_delta", *["text_delta"] * 3]
        assert "amazon-bedrock-guardrailAction" not in stop

    async def test_options_reach_the_model(self, sdk: Sdk) -> None:
        content = [{"type": "text", "text": "[[tokens=500]] wo"}, {"type": "text", "text": "rds"}]
        answer = await asyncio.to_thread(
            sdk.invoke,
            "",
            messages=[{"role": "user", "content": content}],
            system=[{"type": "text", "text": "be brief"}],
            max_tokens=30,
            temperature=0,
            top_p=1,
        )
        assert answer.text == expected_text(ask("[[tokens=500]] words", system="be brief", max_tokens=30))
        assert answer.stop_reason == "max_tokens"

    async def test_a_stop_sequence_is_named(self, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.invoke, '[[say="one two three"]]', stop_sequences=["three", " tw"])
        [end] = [event for event in answer.events if event["type"] == "message_delta"]
        assert answer.text == "one"
        assert end["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": " tw"}

    async def test_a_guardrails_intervention_is_told(self, sdk: Sdk) -> None:
        answer = await asyncio.to_thread(sdk.invoke, "[[fault=guardrail]] x")
        assert answer.text == BLOCKED_MESSAGE
        assert answer.events[-1]["amazon-bedrock-guardrailAction"] == "INTERVENED"

    @pytest.mark.parametrize(("fault", "reason"), [("refusal", "refusal"), ("end:pause_turn", "pause_turn")])
    async def test_other_ends(self, fault: str, reason: str, sdk: Sdk) -> None:
        assert (await asyncio.to_thread(sdk.invoke, f"[[fault={fault}]] x")).stop_reason == reason

    async def test_every_chunk_is_as_the_service_model_says(self, url: str, http: aiohttp.ClientSession) -> None:
        target = f"{url}/model/{CLAUDE}/invoke-with-response-stream"
        body = json.dumps(
            {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "hi"}],
            }
        ).encode()
        async with http.post(target, data=body, headers=signed(target, body)) as response:
            messages = decode(await response.read())
        assert {message.headers[":event-type"] for message in messages} == {"chunk"}
        payloads = [json.loads(message.payload) for message in messages]
        assert all(payload.keys() == {"bytes", "p"} for payload in payloads)
        assert all(json.loads(b64decode(payload["bytes"], validate=True))["type"] for payload in payloads)


class TestRefusedRequests:
    @pytest.mark.parametrize(
        ("headers", "type_"),
        [
            ({}, "MissingAuthenticationTokenException"),
            ({"Authorization": "Bearer abc"}, "IncompleteSignatureException"),
            ({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, "IncompleteSignatureException"),
        ],
    )
    async def test_an_unsigned_one(
        self, headers: dict[str, str], type_: str, url: str, http: aiohttp.ClientSession
    ) -> None:
        target = f"{url}/model/{CLAUDE}/converse-stream"
        async with http.post(target, data=converse_body(), headers=headers) as response:
            assert response.status == 403
            assert response.headers["x-amzn-ErrorType"].split(":")[0] == type_
            assert (await response.json()).keys() == {"message"}
        assert await streams(http, url) == []

    async def test_one_signed_for_another_service(self, url: str, http: aiohttp.ClientSession) -> None:
        target, body = f"{url}/model/{CLAUDE}/converse-stream", converse_body()
        async with http.post(target, data=body, headers=signed(target, body, "bedrock-runtime")) as response:
            assert response.status == 403
            assert response.headers["x-amzn-ErrorType"].startswith("InvalidSignatureException")

    async def test_an_unknown_operation(self, url: str, http: aiohttp.ClientSession) -> None:
        for path in ("model/x/converse-flow", "model/converse-stream"):
            async with http.post(f"{url}/{path}", data=b"{}", headers=signed(f"{url}/{path}", b"{}")) as response:
                assert response.status == 404
                assert response.headers["x-amzn-ErrorType"].startswith("UnknownOperationException")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "Malformed"),
            (b"{", "Malformed"),
            (b"\xff{}", "Malformed"),
            (b"[]", "object"),
            (b"{}", "messages"),
            (b'{"messages": []}', "messages"),
            (b'{"messages": ["hi"]}', "messages.0"),
            (b'{"messages": [{"role": "user", "content": "hi"}]}', "messages.0.content"),
            (b'{"messages": [{"role": "user", "content": [{"text": " "}]}]}', "non-empty"),
            (b'{"messages": [{"role": "user", "content": [{"text": "\\ud800"}]}]}', "Unicode"),
            (b'{"messages": [{"role": "user", "content": [{"image": {}}]}]}', "messages.0.content.0"),
            (b'{"messages": [{"role": "robot", "content": [{"text": "hi"}]}]}', "messages.0.role"),
            (converse_body(inferenceConfig={"maxTokens": 0}), "maxTokens"),
            (converse_body(inferenceConfig={"maxTokens": True}), "maxTokens"),
            (converse_body(inferenceConfig={"temperature": 1.5}), "temperature"),
            (converse_body(inferenceConfig={"topP": "x"}), "topP"),
            (converse_body(inferenceConfig={"stopSequences": [""]}), "stopSequences"),
            (converse_body(guardrailConfig={"guardrailIdentifier": "abc"}), "guardrail"),
            (converse_body("[[fault=nonsense]]"), "nonsense"),
        ],
    )
    async def test_an_invalid_one(self, body: bytes, said: str, url: str, http: aiohttp.ClientSession) -> None:
        target = f"{url}/model/{CLAUDE}/converse-stream"
        async with http.post(target, data=body, headers=signed(target, body)) as response:
            assert response.status == 400
            assert response.headers["x-amzn-ErrorType"].startswith("ValidationException")
            assert said in (await response.json())["message"]

    @pytest.mark.parametrize(
        ("roles", "said"), [(["assistant", "user"], "start with a user"), (["user", "user"], "alternate")]
    )
    async def test_a_conversation_of_the_wrong_order(self, roles: list[str], said: str, sdk: Sdk) -> None:
        messages = [{"role": role, "content": [{"text": "hi"}]} for role in roles]
        with pytest.raises(sdk.client.exceptions.ValidationException, match=said):
            await asyncio.to_thread(sdk.converse, "", messages=messages)

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"anthropic_version": "2023-06-01"}, "anthropic_version"),
            ({"max_tokens": None}, "max_tokens"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"messages": [{"role": "assistant", "content": "hi"}]}, "first message"),
            ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
            ({"system": 3}, "system"),
            ({"temperature": 2}, "temperature"),
            ({"stop_sequences": "x"}, "stop_sequences"),
        ],
    )
    async def test_an_invalid_message_to_claude(self, members: dict[str, Any], said: str, sdk: Sdk) -> None:
        with pytest.raises(sdk.client.exceptions.ValidationException, match=said):
            await asyncio.to_thread(sdk.invoke, "hi", **members)

    async def test_a_body_without_max_tokens(self, sdk: Sdk) -> None:
        body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "hi"}]})
        with pytest.raises(sdk.client.exceptions.ValidationException, match="max_tokens: Field required"):
            await asyncio.to_thread(sdk.client.invoke_model_with_response_stream, modelId=CLAUDE, body=body)

    @pytest.mark.parametrize("model", [NOVA, "us.meta.llama3-3-70b-instruct-v1:0"])
    async def test_anthropics_body_for_another_providers_model(self, model: str, sdk: Sdk) -> None:
        with pytest.raises(sdk.client.exceptions.ValidationException, match="Anthropic"):
            await asyncio.to_thread(sdk.invoke, "hi", model)


class TestRecord:
    @pytest.mark.parametrize("model", [CLAUDE, f"eu.{CLAUDE}", PROFILE])
    async def test_a_complete_stream(self, model: str, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        before = time.time() * 1000
        prompt = "[[rate=100 tokens=30 ttft=0.1 reasoning=2]] sécret"
        await asyncio.to_thread(sdk.converse, prompt, model, inferenceConfig={"maxTokens": 50})
        await asyncio.to_thread(sdk.invoke, prompt, model, max_tokens=60)
        first, second = await streams(http, url, "?times=1")
        assert (first["model"], first["api"], first["maxTokens"]) == (model, "converse", 50)
        assert (second["model"], second["api"], second["maxTokens"]) == (model, "invoke", 60)
        assert first["id"] != second["id"]
        for record in (first, second):
            assert record["ended"] == "complete"
            assert record["tokensSent"] == len(record["tokenTimes"]) == 32
            assert before <= record["startedAt"] < record["firstTokenAt"] == record["tokenTimes"][0]
            assert record["tokenTimes"] == sorted(record["tokenTimes"])
            # Never early; how late a token is, is the machine's affair.
            assert record["tokenTimes"][-1] - record["startedAt"] >= 390
            assert record["tokenTimes"][-1] <= record["endedAt"] <= time.time() * 1000
            assert record["promptSha256"] == hashlib.sha256(prompt.encode()).hexdigest()[:16]
            assert "sécret" not in json.dumps(record, ensure_ascii=False)

    async def test_tokens_that_left_together(self, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        await asyncio.to_thread(sdk.converse, "[[rate=inf tokens=100]] x")
        [record] = await streams(http, url)
        assert record["tokensSent"] == 100
        assert record["writes"] == 2
        assert "tokenTimes" not in record

    async def test_refused_and_broken_streams_are_faults(self, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        for fault in (
            "throttle",
            "break:3",
            "drop:3",
            "truncate:3",
            "corrupt:3",
            "exception:internalServerException:3",
        ):
            with suppress(ClientError, StreamBroken, ChecksumMismatch, EventStreamError):
                await asyncio.to_thread(sdk.converse, f"[[fault={fault}]] x")
        records = await streams(http, url)
        assert [(record["ended"], record["tokensSent"]) for record in records] == [("fault", 0), *[("fault", 3)] * 5]
        assert records[0]["firstTokenAt"] is None

    async def test_the_guardrail_asked_for(self, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        config = {"guardrailIdentifier": "abc123", "guardrailVersion": "DRAFT"}
        await asyncio.to_thread(sdk.converse, "x", guardrailConfig=config)
        response = await asyncio.to_thread(
            sdk.client.invoke_model_with_response_stream,
            modelId=CLAUDE,
            body=json.dumps(
                {
                    "anthropic_version": "bedrock-2023-05-31",
                    "max_tokens": 3,
                    "messages": [{"role": "user", "content": "x"}],
                }
            ),
            **config,
        )
        with closing(response["body"]) as stream:
            *_, last = await asyncio.to_thread(list, stream)
        assert json.loads(last["chunk"]["bytes"])["amazon-bedrock-guardrailAction"] == "NONE"
        assert [record["guardrail"] for record in await streams(http, url)] == ["abc123:DRAFT"] * 2

    async def test_it_can_be_cleared(self, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        await asyncio.to_thread(sdk.converse, "x")
        async with http.delete(f"{url}/_streams") as response:
            assert response.status == 204
        assert await streams(http, url) == []

    async def test_only_the_last_thousand_are_kept(self, url: str, http: aiohttp.ClientSession) -> None:
        target = f"{url}/model/{CLAUDE}/converse-stream"
        for number in range(1003):
            body = converse_body("[[fault=access]] x", inferenceConfig={"maxTokens": number + 1})
            async with http.post(target, data=body, headers=signed(target, body)) as response:
                assert response.status == 403
        records = await streams(http, url)
        assert len(records) == 1000
        assert (records[0]["maxTokens"], records[-1]["maxTokens"]) == (4, 1003)


class TestClientGone:
    """Nothing is sent that could fail here: only the connection tells."""

    @pytest.mark.parametrize(
        ("marks", "tokens"),
        [
            ("ttft=3600", 0),
            ("ttft=3600 head=0", 0),
            ("rate=0.001", 1),
            ("fault=hang:0", 0),
            ("fault=hang:7", 7),
        ],
    )
    async def test_it_is_noticed_while_the_model_is_silent(
        self, marks: str, tokens: int, url: str, http: aiohttp.ClientSession
    ) -> None:
        target, body = f"{url}/model/{CLAUDE}/converse-stream", converse_body(f"[[{marks}]] x")
        asking = asyncio.create_task(http.post(target, data=body, headers=signed(target, body)).__aenter__())
        await until(lambda records: [record["tokensSent"] for record in records] == [tokens], http, url)
        if "ttft=3600" in marks and "head" not in marks:
            assert not asking.done()
            asking.cancel()
        else:
            (await asking).close()
        [record] = await until(lambda records: records[0]["ended"] is not None, http, url)
        assert record["ended"] == "client"
        assert record["tokensSent"] == tokens
        assert record["endedAt"] >= record["startedAt"]

    async def test_it_is_noticed_when_the_sdk_closes_a_running_stream(
        self, sdk: Sdk, url: str, http: aiohttp.ClientSession
    ) -> None:
        messages = [{"role": "user", "content": [{"text": "[[rate=100 tokens=100000]] x"}]}]
        response = await asyncio.to_thread(sdk.client.converse_stream, modelId=CLAUDE, messages=messages)
        await asyncio.to_thread(next, iter(response["stream"]))
        response["stream"].close()
        [record] = await until(lambda records: records[0]["ended"] is not None, http, url)
        assert record["ended"] == "client"
        assert 1 <= record["tokensSent"] < 100_000


class TestControlledFaults:
    async def test_they_hit_whatever_comes(self, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        async with http.put(f"{url}/_faults", json={"fault": "throttle", "times": 2}) as response:
            assert await response.json() == {"faults": [{"fault": "throttle", "times": 2, "model": None}]}
        for api in ("converse", "invoke"):
            with pytest.raises(sdk.client.exceptions.ThrottlingException):
                await asyncio.to_thread(sdk.ask, api, "x")
        assert (await asyncio.to_thread(sdk.converse, "x")).stop_reason == "end_turn"

    async def test_they_hit_only_the_model_that_was_named(
        self, sdk: Sdk, url: str, http: aiohttp.ClientSession
    ) -> None:
        async with http.put(f"{url}/_faults", json={"fault": "truncate:2", "model": NOVA}) as response:
            assert response.status == 200
        assert (await asyncio.to_thread(sdk.converse, "x")).stop_reason == "end_turn"
        assert (await asyncio.to_thread(sdk.converse, "x", NOVA)).stop_reason is None
        assert (await asyncio.to_thread(sdk.converse, "x", NOVA)).stop_reason is None

    async def test_they_can_be_taken_back(self, sdk: Sdk, url: str, http: aiohttp.ClientSession) -> None:
        async with http.put(f"{url}/_faults", json={"fault": "access"}), http.delete(f"{url}/_faults") as response:
            assert response.status == 204
        assert (await asyncio.to_thread(sdk.converse, "x")).stop_reason == "end_turn"

    @pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"fault": "nonsense"}', b"\xff"])
    async def test_a_bad_wish_is_refused(self, body: bytes, url: str, http: aiohttp.ClientSession) -> None:
        async with http.put(f"{url}/_faults", data=body) as response:
            assert response.status == 400
            assert (await response.json())["message"]


async def test_closing_the_server_ends_streams_that_would_last_for_ever(http: aiohttp.ClientSession) -> None:
    bedrock = PacedBedrock(PacedModel(Pace(ttft=3600)))
    url = await bedrock.start()
    target, body = f"{url}/model/{CLAUDE}/converse-stream", converse_body()
    asking = asyncio.ensure_future(http.post(target, data=body, headers=signed(target, body)))
    await until(lambda records: len(records) == 1, http, url)
    await asyncio.wait_for(bedrock.close(), PATIENCE)
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_it_listens_on_the_port_given_and_on_loopback_only() -> None:
    first = PacedBedrock(PacedModel())
    url = await first.start()
    await first.close()
    second = PacedBedrock(PacedModel())
    assert url.startswith("http://127.0.0.1:")
    assert await second.start(int(url.rpartition(":")[2])) == url
    await second.close()


def decode(data: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


def service_shape(name: str) -> StructureShape:
    shape = Session().get_service_model("bedrock-runtime").shape_for(name)
    assert isinstance(shape, StructureShape)
    return shape


def assert_conforms(value: Any, shape: Shape) -> None:
    """The value has all required members of its shape and no others than it has."""
    match shape:
        case StructureShape():
            assert isinstance(value, dict)
            assert value.keys() <= shape.members.keys()
            assert set(shape.required_members) <= value.keys()
            for name, member in value.items():
                assert_conforms(member, shape.members[name])
        case ListShape():
            for member in value:
                assert_conforms(member, shape.member)
        case _:
            assert isinstance(value, {"string": str, "integer": int, "long": int}[shape.type_name])
            assert not getattr(shape, "enum", None) or value in shape.enum  # type: ignore[attr-defined]  # StringShape
