import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web
from botocore.config import Config
from botocore.session import Session

from local.model.bedrock import PacedBedrock
from local.model.interface import (
    ErrorType,
    MessageStart,
    MessageStop,
    ModelError,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    Turn,
)
from local.model.openai import OpenAiModel

PATIENCE = 20.0
REQUEST = ModelRequest(
    turns=(Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three")),
    model="anthropic.claude-sonnet-4-20250514-v1:0",
    system="be brief",
    max_tokens=50,
    temperature=0.0,
    top_p=0.9,
    stop_sequences=("END",),
)


class Endpoint:
    """An OpenAI-compatible server whose answer each test writes."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, Any], str | None]] = []
        self.gone = asyncio.Event()
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.streaming()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((await request.json(), request.headers.get("Authorization")))
        try:
            return await self.answer(request)
        except asyncio.CancelledError:
            self.gone.set()
            raise

    def streaming(self, *pieces: bytes, silent: bool = False) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Answers with these pieces, each in a write of its own, then an end or silence."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for piece in pieces:
                await response.write(piece)
            if silent:
                await asyncio.Event().wait()
            return response

        return answer

    def refusing(self, status: int, body: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body)

        return answer


def data(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    return data(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    )


DONE = b"data: [DONE]\n\n"
USAGE = data({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}})
WHOLE = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning": "hm"}),
    chunk({"content": "Gr"}),
    chunk({"content": "üße 🙂\n"}),
    chunk({}, "stop"),
    USAGE,
    DONE,
)
EVENTS = [
    MessageStart(None),
    ReasoningDelta("hm"),
    TextDelta("Gr"),
    TextDelta("üße 🙂\n"),
    MessageStop("end_turn", input_tokens=11, output_tokens=7),
]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    await endpoint.close()


@pytest.fixture
async def model(endpoint: Endpoint) -> AsyncIterator[OpenAiModel]:
    model = OpenAiModel("llama", await endpoint.start())
    yield model
    await model.close()


async def events(model: OpenAiModel, request: ModelRequest = REQUEST) -> list[ModelEvent]:
    return [event async for batch in model.stream(request) for event in batch]


async def error(model: OpenAiModel) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await events(model)
    return caught.value


async def test_a_stream_becomes_model_events(endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.streaming(*WHOLE)
    assert await events(model) == EVENTS


async def test_the_request_is_passed_on_whole(endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.streaming(*WHOLE)
    await events(model)
    assert endpoint.requests == [
        (
            {
                "model": "llama",
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": "two"},
                    {"role": "user", "content": "three"},
                ],
                "stream": True,
                "stream_options": {"include_usage": True},
                "max_tokens": 50,
                "temperature": 0.0,
                "top_p": 0.9,
                "stop": ["END"],
            },
            None,
        )
    ]


async def test_what_was_not_said_is_left_to_the_endpoint(endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.streaming(*WHOLE)
    await events(model, ModelRequest((Turn("user", "hi"),)))
    [(body, _)] = endpoint.requests
    assert body.keys() == {"model", "messages", "stream", "stream_options"}
    assert body["messages"] == [{"role": "user", "content": "hi"}]


async def test_the_key_comes_from_the_variable_named(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_MODEL_KEY", "sesame")
    endpoint.answer = endpoint.streaming(*WHOLE)
    model = OpenAiModel("llama", f"{await endpoint.start()}/v1/", api_key_variable="LOCAL_MODEL_KEY")
    await events(model)
    await model.close()
    assert endpoint.requests[0][1] == "Bearer sesame"


def test_a_missing_key_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_MODEL_KEY", raising=False)
    with pytest.raises(ValueError, match="LOCAL_MODEL_KEY"):
        OpenAiModel("llama", api_key_variable="LOCAL_MODEL_KEY")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
async def test_it_does_not_matter_where_the_network_cuts(size: int, endpoint: Endpoint, model: OpenAiModel) -> None:
    whole = b": keep-alive\r\n\r\n" + b"".join(WHOLE).replace(b"\n\n", b"\r\n\r\n")
    endpoint.answer = endpoint.streaming(*(whole[at : at + size] for at in range(0, len(whole), size)))
    assert await events(model) == EVENTS


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_under_either_name(name: str, endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.streaming(chunk({name: "hm", "content": None}), chunk({"content": "so"}, "stop"), DONE)
    assert await events(model) == [
        MessageStart(None),
        ReasoningDelta("hm"),
        TextDelta("so"),
        MessageStop("end_turn", input_tokens=0, output_tokens=2),
    ]


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "content_filtered"),
        ("tool_calls", "tool_use"),
        ("load", "load"),
    ],
)
async def test_stop_reasons(finish_reason: str, stop_reason: str, endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.streaming(chunk({"content": "x"}, finish_reason), USAGE, DONE)
    assert (await events(model))[-1] == MessageStop(stop_reason, input_tokens=11, output_tokens=7)


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        (400, ErrorType.VALIDATION),
        (401, ErrorType.ACCESS_DENIED),
        (404, ErrorType.RESOURCE_NOT_FOUND),
        (429, ErrorType.THROTTLING),
        (500, ErrorType.MODEL_ERROR),
        (503, ErrorType.SERVICE_UNAVAILABLE),
        (504, ErrorType.MODEL_TIMEOUT),
    ],
)
async def test_a_refusal_is_told_as_bedrock_would(
    status: int, type_: ErrorType, endpoint: Endpoint, model: OpenAiModel
) -> None:
    endpoint.answer = endpoint.refusing(status, b"<p>no</p>")
    refusal = await error(model)
    assert refusal.type is type_
    assert str(status) in refusal.message


@pytest.mark.parametrize("body", [b'{"error": {"message": "try llama2"}}', b'{"error": "try llama2"}'])
async def test_the_endpoints_own_reason_is_passed_on(body: bytes, endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.refusing(404, body)
    assert "try llama2" in (await error(model)).message


@pytest.mark.parametrize(
    "pieces",
    [
        (chunk({"content": "x"}), data({"error": {"message": "out of memory"}})),
        (chunk({"content": "x"}), b"data: {oops\n\n"),
        (chunk({"content": "x"}), DONE),
        (chunk({"content": "x"}),),
        (),
    ],
)
async def test_a_stream_that_breaks_off_is_never_complete(
    pieces: Sequence[bytes], endpoint: Endpoint, model: OpenAiModel
) -> None:
    endpoint.answer = endpoint.streaming(*pieces)
    assert (await error(model)).type is ErrorType.MODEL_STREAM_ERROR


async def test_a_connection_that_is_cut_is_never_complete(endpoint: Endpoint, model: OpenAiModel) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = await endpoint.streaming(chunk({"content": "x"}, "stop"))(request)
        assert request.transport is not None
        request.transport.close()
        return response

    endpoint.answer = cut
    assert (await error(model)).type is ErrorType.MODEL_STREAM_ERROR


async def test_an_endpoint_that_is_not_there_is_unavailable(endpoint: Endpoint) -> None:
    url = await endpoint.start()
    await endpoint.close()
    model = OpenAiModel("llama", url)
    unavailable = await error(model)
    await model.close()
    assert unavailable.type is ErrorType.SERVICE_UNAVAILABLE
    assert url in unavailable.message
    await endpoint.start()  # for the fixture to close


async def test_an_endpoint_that_says_nothing_times_out(endpoint: Endpoint) -> None:
    endpoint.answer = endpoint.streaming(silent=True)
    model = OpenAiModel("llama", await endpoint.start(), silence=0.05)
    assert (await error(model)).type is ErrorType.MODEL_TIMEOUT
    await model.close()


async def test_closing_the_stream_closes_the_endpoints(endpoint: Endpoint, model: OpenAiModel) -> None:
    endpoint.answer = endpoint.streaming(chunk({"content": "x"}), silent=True)
    async with aclosing(model.stream(REQUEST)) as batches:
        assert await anext(batches) == [MessageStart(None), TextDelta("x")]
    await asyncio.wait_for(endpoint.gone.wait(), PATIENCE)


async def test_cancelling_a_silent_stream_closes_the_endpoints(endpoint: Endpoint, model: OpenAiModel) -> None:
    asked = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.answer = silent
    listening = asyncio.create_task(events(model))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    listening.cancel()
    await asyncio.wait_for(endpoint.gone.wait(), PATIENCE)
    with pytest.raises(asyncio.CancelledError):
        await listening


@pytest.mark.parametrize("api", ["converse", "invoke"])
async def test_an_sdk_reads_it_through_bedrocks_wire_and_its_leaving_reaches_the_endpoint(
    api: str, endpoint: Endpoint, model: OpenAiModel
) -> None:
    bedrock = PacedBedrock(model)
    client: Any = Session().create_client(
        "bedrock-runtime",
        endpoint_url=await bedrock.start(),
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE),
    )

    def ask() -> Any:
        if api == "converse":
            messages = [{"role": "user", "content": [{"text": "hi"}]}]
            return client.converse_stream(modelId="any.model-v1:0", messages=messages)["stream"]
        messages = [{"role": "user", "content": "hi"}]
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "messages": messages}
        return client.invoke_model_with_response_stream(modelId="anthropic.claude", body=json.dumps(body))["body"]

    def events_of(stream: Any) -> list[dict[str, Any]]:
        return [json.loads(event["chunk"]["bytes"]) if "chunk" in event else event for event in stream]

    try:
        endpoint.answer = endpoint.streaming(*WHOLE)
        stream = await asyncio.to_thread(ask)
        told = await asyncio.to_thread(events_of, stream)
        stream.close()
        if api == "converse":
            assert told[-1]["metadata"]["usage"] == {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}
        else:
            assert told[-1]["amazon-bedrock-invocationMetrics"]["inputTokenCount"] == 11
            assert told[-2]["usage"] == {"input_tokens": 11, "output_tokens": 7}

        endpoint.answer = endpoint.streaming(chunk({"content": "x"}), silent=True)
        stream = await asyncio.to_thread(ask)
        await asyncio.to_thread(next, iter(stream))
        stream.close()
        await asyncio.wait_for(endpoint.gone.wait(), PATIENCE)
    finally:
        client.close()
        await bedrock.close()
