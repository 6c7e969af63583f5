import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import Credentials

from local.model.eventstream import MessageEncoder, event_encoder, with_wrong_checksum
from tests.integration.scripted_endpoint import (
    PATIENCE_SECONDS,
    Endpoint,
    Exchange,
    Received,
    Script,
    Watched,
    refused,
    scripted_endpoint,
    status_line,
    streamed,
)
from tests.unit.bedrock_messages import TEXTS, anthropic_answer, chunk, converse_answer, converse_event, exception
from tokenstream.errors import Internal, ModelAccess, ModelError, ModelTimeout, Throttled, TokenstreamError
from tokenstream.frames import Usage
from tokenstream.request import Message, Options, StreamRequest
from tokenstream.settings import BedrockApi, Guardrail
from tokenstream.signing import SignedConnection
from tokenstream.sources import Delta, Finished, ReasoningDelta, SourceEvent, bedrock
from tokenstream.sources.bedrock import Bedrock, BedrockSource

REGION = "eu-west-1"
CLAUDE = "eu.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-20250514-v1:0"
APPLICATION_PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
APIS: list[BedrockApi] = ["invoke", "converse"]
ANSWERS = {"invoke": anthropic_answer(), "converse": converse_answer()}
WHOLE = [*map(Delta, TEXTS), Finished("end_turn", Usage(11, 22))]
REQUEST = StreamRequest(
    "id",
    (Message("user", "Hé"), Message("assistant", "Ho"), Message("user", "Hü?")),
    "Be brief.",
    CLAUDE,
    Options(max_tokens=77, temperature=0.5, top_p=0.25, stop_sequences=("END",)),
    "direct",
)


opened: list[SignedConnection] = []


@pytest.fixture(autouse=True)
def _no_connection_is_left_open() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def models(
    endpoint: Endpoint,
    api: BedrockApi,
    *,
    guardrail: Guardrail | None = None,
    read_timeout: float = PATIENCE_SECONDS,
) -> Bedrock:
    def connect() -> SignedConnection:
        credentials = Credentials("AKIDEXAMPLE", "secret", "session-token")
        connection = SignedConnection(endpoint.url, "bedrock", REGION, credentials, read_timeout=read_timeout)
        opened.append(connection)
        return connection

    return Bedrock(connect, api=api, guardrail=guardrail)


def request(model: str) -> StreamRequest:
    return StreamRequest("id", REQUEST.messages, REQUEST.system, model, REQUEST.options, "direct")


class Answer:
    """What a source gave, and how it ended."""

    def __init__(self, source: BedrockSource) -> None:
        self.events: list[SourceEvent] = []
        self.error: TokenstreamError | None = None
        self.over = Event()
        self._source = source

    def read(self) -> "Answer":
        try:
            for event in self._source.events():
                self.events.append(event)
        except TokenstreamError as error:
            self.error = error
        finally:
            self.over.set()
        return self

    @property
    def finished(self) -> bool:
        return any(isinstance(event, Finished) for event in self.events)


def read(endpoint: Endpoint, api: BedrockApi, *, read_timeout: float = PATIENCE_SECONDS) -> Answer:
    return Answer(models(endpoint, api, read_timeout=read_timeout).source(REQUEST)).read()


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrock, "random", lambda: -1.0)


@pytest.mark.parametrize("api", APIS)
def test_an_answer_is_its_deltas_and_its_end(api: BedrockApi) -> None:
    with scripted_endpoint(streamed(ANSWERS[api])) as endpoint:
        answer = read(endpoint, api)
    assert (answer.events, answer.error) == (WHOLE, None)


def in_one_piece(data: bytes) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.raw(status_line(200) + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    return script


@pytest.mark.parametrize("api", APIS)
def test_an_answer_in_pieces_of_any_size_is_the_same(api: BedrockApi) -> None:
    data = b"".join(ANSWERS[api])
    sizes = (1, 7, 100, 1000, 10**6)
    scripts = [streamed([data[i : i + size] for i in range(0, len(data), size)]) for size in sizes]
    with scripted_endpoint(*scripts, in_one_piece(data)) as endpoint:
        source = models(endpoint, api)
        for _ in range(len(sizes) + 1):
            assert Answer(source.source(REQUEST)).read().events == WHOLE
    assert endpoint.connections == 1


@pytest.mark.parametrize(
    ("model", "api", "operation"),
    [
        (CLAUDE, "auto", "invoke-with-response-stream"),
        (ARN, "auto", "invoke-with-response-stream"),
        (NOVA, "auto", "converse-stream"),
        (APPLICATION_PROFILE, "auto", "converse-stream"),
        (APPLICATION_PROFILE, "invoke", "invoke-with-response-stream"),
        (CLAUDE, "converse", "converse-stream"),
    ],
)
def test_each_model_is_called_by_the_api_that_it_has(model: str, api: BedrockApi, operation: str) -> None:
    answer = ANSWERS["invoke" if operation.startswith("invoke") else "converse"]
    with scripted_endpoint(streamed(answer)) as endpoint:
        assert Answer(models(endpoint, api).source(request(model))).read().events == WHOLE
    [received] = endpoint.requests
    assert received.target.endswith(f"/{operation}")


def sdk_request(endpoint: Endpoint, operation: str, **arguments: Any) -> None:
    session = botocore.session.get_session()
    session.set_credentials("AKIDEXAMPLE", "secret", "session-token")
    config = Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE_SECONDS)
    client: Any = session.create_client("bedrock-runtime", REGION, endpoint_url=endpoint.url, config=config)
    stream = getattr(client, operation)(**arguments)
    list(stream["body"] if operation.startswith("invoke") else stream["stream"])
    client.close()


def assert_same_request(ours: Received, sdks: Received) -> None:
    assert (ours.method, ours.target) == (sdks.method, sdks.target)
    assert json.loads(ours.body) == json.loads(sdks.body)
    meaningful = {"content-type", "x-amz-security-token"} | {n for n in sdks.headers if n.startswith("x-amzn-bedrock")}
    assert {name: ours.headers.get(name) for name in meaningful} == {name: sdks.headers[name] for name in meaningful}
    surplus = {name for name in ours.headers if name.startswith("x-amz")} - sdks.headers.keys()
    assert surplus == set()


GUARDRAILS = [None, Guardrail("gr-abc", "DRAFT")]


@pytest.mark.parametrize("guardrail", GUARDRAILS)
@pytest.mark.parametrize("model", [CLAUDE, ARN])
def test_invoke_sends_what_the_sdk_sends(model: str, guardrail: Guardrail | None) -> None:
    arguments = {"guardrailIdentifier": guardrail.id, "guardrailVersion": guardrail.version} if guardrail else {}
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 77,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Hé"},
            {"role": "assistant", "content": "Ho"},
            {"role": "user", "content": "Hü?"},
        ],
        "temperature": 0.5,
        "top_p": 0.25,
        "stop_sequences": ["END"],
    }
    with scripted_endpoint(*[streamed(ANSWERS["invoke"])] * 2) as endpoint:
        assert Answer(models(endpoint, "invoke", guardrail=guardrail).source(request(model))).read().finished
        sdk_request(
            endpoint,
            "invoke_model_with_response_stream",
            modelId=model,
            body=json.dumps(body),
            contentType="application/json",
            accept="application/json",
            **arguments,
        )
    assert_same_request(*endpoint.requests)


@pytest.mark.parametrize("guardrail", GUARDRAILS)
@pytest.mark.parametrize("model", [NOVA, ARN, APPLICATION_PROFILE])
def test_converse_sends_what_the_sdk_sends(model: str, guardrail: Guardrail | None) -> None:
    arguments: dict[str, Any] = {}
    if guardrail:
        arguments["guardrailConfig"] = {
            "guardrailIdentifier": guardrail.id,
            "guardrailVersion": guardrail.version,
            "streamProcessingMode": "sync",
        }
    with scripted_endpoint(*[streamed(ANSWERS["converse"])] * 2) as endpoint:
        assert Answer(models(endpoint, "converse", guardrail=guardrail).source(request(model))).read().finished
        sdk_request(
            endpoint,
            "converse_stream",
            modelId=model,
            system=[{"text": "Be brief."}],
            messages=[
                {"role": "user", "content": [{"text": "Hé"}]},
                {"role": "assistant", "content": [{"text": "Ho"}]},
                {"role": "user", "content": [{"text": "Hü?"}]},
            ],
            inferenceConfig={"maxTokens": 77, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]},
            **arguments,
        )
    assert_same_request(*endpoint.requests)


def cut(data: bytes, ending: Callable[[Exchange], None]) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.head()
        if data:
            exchange.chunk(data)
        ending(exchange)

    return script


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("ending", [Exchange.end, Exchange.hang_up], ids=["ended", "hung up"])
@pytest.mark.parametrize("within", [0, 1, -1], ids=["between messages", "a byte into one", "a byte before its end"])
@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_breaks_off_is_never_complete(
    api: BedrockApi, within: int, ending: Callable[[Exchange], None]
) -> None:
    messages = ANSWERS[api]
    for count in range(len(messages)):
        data = b"".join(messages[:count])
        if within:
            data += messages[count][:within]
        with scripted_endpoint(*[cut(data, ending)] * 3) as endpoint:
            answer = read(endpoint, api)
        assert isinstance(answer.error, ModelError)
        assert answer.error.retryable
        assert not answer.finished
        assert answer.events == WHOLE[: len(answer.events)]
        assert len(endpoint.requests) == (1 if answer.events else 3)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("surplus", [b"", b"\0\0", b"garbage garbage garbage"])
def test_what_breaks_behind_the_last_event_costs_the_connection_not_the_answer(api: BedrockApi, surplus: bytes) -> None:
    data = b"".join(ANSWERS[api]) + surplus
    with scripted_endpoint(cut(data, Exchange.hang_up), streamed(ANSWERS[api])) as endpoint:
        source = models(endpoint, api)
        for _ in range(2):
            answer = Answer(source.source(REQUEST)).read()
            assert (answer.events, answer.error) == (WHOLE, None)
    assert endpoint.connections == 2


@pytest.mark.parametrize("api", APIS)
def test_a_damaged_stream_is_never_complete(api: BedrockApi) -> None:
    messages = list(ANSWERS[api])
    messages[3] = with_wrong_checksum(messages[3])
    with scripted_endpoint(streamed(messages)) as endpoint:
        answer = read(endpoint, api)
    assert isinstance(answer.error, ModelError)
    assert answer.events == WHOLE[: len(answer.events)] != []
    assert not answer.finished


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("api", APIS)
def test_a_page_instead_of_a_stream_is_a_failure_of_the_models(api: BedrockApi) -> None:
    with scripted_endpoint(*[in_one_piece(b"<html>A proxy says hello.</html>")] * 3) as endpoint:
        answer = read(endpoint, api)
    assert isinstance(answer.error, ModelError)
    assert not answer.events


def starts_but(ending: Script) -> Script:
    """Send the events before the first delta, and nothing of the text."""

    def script(exchange: Exchange) -> None:
        exchange.head()
        exchange.chunk(anthropic_answer()[0])
        ending(exchange)

    return script


def raises(name: str) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.head()
        exchange.chunk(exception(name))
        exchange.end()

    return script


PASSING: dict[str, Script] = {
    "throttled": refused(429, "ThrottlingException"),
    "not ready": refused(429, "ModelNotReadyException"),
    "unavailable": refused(503, "ServiceUnavailableException"),
    "a gateway's error": refused(502),
    "an internal error": refused(500, "InternalServerException"),
    "throttled in the stream": raises("throttlingException"),
    "unavailable in the stream": raises("serviceUnavailableException"),
    "a model's error in the stream": raises("modelStreamErrorException"),
    "hung up without a word": Exchange.hang_up,
    "hung up before the first delta": starts_but(Exchange.hang_up),
    "ended before the first delta": starts_but(Exchange.end),
    "overloaded": streamed([chunk({"type": "error", "error": {"type": "overloaded_error"}})]),
}


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_failure_that_passes_is_not_seen_by_the_client(fault: Script) -> None:
    with scripted_endpoint(fault, fault, streamed(ANSWERS["invoke"])) as endpoint:
        answer = read(endpoint, "invoke")
    assert (answer.events, answer.error) == (WHOLE, None)
    assert len({received.body for received in endpoint.requests}) == 1


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_failure_that_stays_is_told_after_three_tries(fault: Script) -> None:
    with scripted_endpoint(*[fault] * 3) as endpoint:
        answer = read(endpoint, "invoke")
    assert isinstance(answer.error, ModelError | Throttled)
    assert answer.error.retryable
    assert answer.events == []
    assert len(endpoint.requests) == 3


@pytest.mark.usefixtures("no_backoff")
def test_throttled_to_the_end_is_throttled() -> None:
    with scripted_endpoint(*[refused(429, "ThrottlingException")] * 3) as endpoint:
        assert isinstance(read(endpoint, "invoke").error, Throttled)


def test_between_tries_there_is_a_wait() -> None:
    with scripted_endpoint(refused(429), streamed(ANSWERS["invoke"])) as endpoint:
        source = models(endpoint, "invoke").source(REQUEST)
        answer = Answer(source)
        reader = Thread(target=answer.read)
        reader.start()
        # A quarter of a second at least; nothing here depends on how much longer it takes.
        assert not answer.over.wait(0.2)
        reader.join(PATIENCE_SECONDS)
    assert answer.events == WHOLE


def test_tries_that_would_take_too_long_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 9.9])
    monkeypatch.setattr(bedrock, "monotonic", lambda: next(times))
    with scripted_endpoint(refused(429, "ThrottlingException")) as endpoint:
        assert isinstance(read(endpoint, "invoke").error, Throttled)


@pytest.mark.usefixtures("no_backoff")
def test_a_second_try_counts_its_own_tokens() -> None:
    with scripted_endpoint(starts_but(Exchange.hang_up), *[refused(429)] * 2) as endpoint:
        source = models(endpoint, "invoke").source(REQUEST)
        Answer(source).read()
    assert source.usage == Usage()


@pytest.mark.parametrize("delta", [Delta("Hel"), ReasoningDelta("Hm.")])
def test_after_the_first_delta_nothing_is_tried_again(delta: Delta | ReasoningDelta) -> None:
    kind, name = ("text_delta", "text") if isinstance(delta, Delta) else ("thinking_delta", "thinking")
    messages = [
        chunk({"type": "content_block_delta", "delta": {"type": kind, name: delta.text}}),
        exception("throttlingException"),
    ]
    with scripted_endpoint(streamed(messages)) as endpoint:
        answer = read(endpoint, "invoke")
    assert answer.events == [delta]
    assert isinstance(answer.error, Throttled)


@pytest.mark.parametrize(
    ("status", "name", "error"),
    [
        (400, "ValidationException", ModelError),
        (403, "AccessDeniedException", ModelAccess),
        (404, "ResourceNotFoundException", ModelError),
        (403, "ExpiredTokenException", Internal),
        (403, "InvalidSignatureException", Internal),
        (400, "", Internal),
        (301, "", Internal),
        (204, "", Internal),
    ],
)
def test_a_failure_for_good_is_told_at_once(status: int, name: str, error: type[TokenstreamError]) -> None:
    with scripted_endpoint(refused(status, name)) as endpoint:
        answer = read(endpoint, "converse")
    assert type(answer.error) is error
    assert not answer.error.retryable
    assert "theirs" not in str(answer.error)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("message", "error", "retryable"),
    [
        (exception("throttlingException"), Throttled, True),
        (exception("internalServerException"), ModelError, True),
        (exception("modelStreamErrorException"), ModelError, True),
        (exception("modelTimeoutException"), ModelTimeout, True),
        (exception("serviceUnavailableException"), ModelError, True),
        (exception("validationException"), ModelError, False),
        (exception("brandNewException"), Internal, False),
        (MessageEncoder({":message-type": "error", ":error-code": "ThrottlingException"}).encode(b""), Throttled, True),
        (
            MessageEncoder({":message-type": "error", ":error-code": "?", ":error-message": "x"}).encode(b""),
            Internal,
            False,
        ),
        (MessageEncoder({":message-type": "news"}).encode(b"{}"), Internal, False),
        (MessageEncoder({}).encode(b"{}"), Internal, False),
    ],
)
def test_an_exception_in_mid_stream_ends_the_answer_with_its_meaning(
    api: BedrockApi, message: bytes, error: type[TokenstreamError], retryable: bool
) -> None:
    messages = [*ANSWERS[api][:4], message, *ANSWERS[api][4:]]
    with scripted_endpoint(streamed(messages)) as endpoint:
        answer = read(endpoint, api)
    assert type(answer.error) is error
    assert answer.error.retryable is retryable
    assert answer.events == WHOLE[: len(answer.events)] != []
    assert not answer.finished


ODD: dict[str, bytes] = {
    "no JSON": event_encoder("chunk").encode(b"{"),
    "nothing": event_encoder("chunk").encode(b""),
    "null": event_encoder("chunk").encode(b"null"),
    "a list": event_encoder("chunk").encode(b"[]"),
    "a number": event_encoder("chunk").encode(b"5"),
    "no bytes": event_encoder("chunk").encode(b"{}"),
    "bytes are null": event_encoder("chunk").encode(b'{"bytes": null}'),
    "bytes are a number": event_encoder("chunk").encode(b'{"bytes": 5}'),
    "bytes are no base64": event_encoder("chunk").encode(b'{"bytes": "e30"}'),
    "bytes are not ASCII": event_encoder("chunk").encode('{"bytes": "é"}'.encode()),
    "bytes are no JSON": event_encoder("chunk").encode(b'{"bytes": "AAAA"}'),
    "bytes are no UTF-8": event_encoder("chunk").encode(json.dumps({"bytes": b64encode(b'"\xff"').decode()}).encode()),
    "nested deeply": event_encoder("chunk").encode(b"[" * 10_000),
    "bytes nested deeply": event_encoder("chunk").encode(
        json.dumps({"bytes": b64encode(b"[" * 10_000).decode()}).encode()
    ),
    "null text": chunk({"type": "content_block_delta", "delta": {"type": "text_delta", "text": None}}),
    "null usage": chunk({"type": "message_start", "message": {"usage": None}}),
    "null counts": chunk({"type": "message_start", "message": {"usage": {"input_tokens": None}}}),
    "usage a list": chunk({"type": "message_delta", "delta": {}, "usage": []}),
    "reason a list": chunk({"type": "message_delta", "delta": {"stop_reason": []}}),
    "reason a number": chunk({"type": "message_delta", "delta": {"stop_reason": 5}}),
    "error null": chunk({"type": "error", "error": None}),
    "error of an odd type": chunk({"type": "error", "error": {"type": []}}),
    "null text, converse": converse_event("contentBlockDelta", {"delta": {"text": None}}),
    "null delta, converse": converse_event("contentBlockDelta", {"delta": None}),
    "null, converse": converse_event("contentBlockDelta", None),
    "no JSON, converse": event_encoder("contentBlockDelta").encode(b"{"),
    "nested deeply, converse": event_encoder("contentBlockDelta").encode(b'{"a":' * 10_000),
    "usage null, converse": converse_event("metadata", {"usage": None}),
    "counts of odd types, converse": converse_event("metadata", {"usage": {"inputTokens": "1", "outputTokens": []}}),
    "reason a list, converse": converse_event("messageStop", {"stopReason": []}),
}


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("message", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("api", APIS)
def test_an_event_of_an_unknown_shape_is_passed_over_or_a_failure_of_the_models(
    api: BedrockApi, message: bytes
) -> None:
    for place in (0, 4, len(ANSWERS[api]) - 1):
        messages = [*ANSWERS[api][:place], message, *ANSWERS[api][place:]]
        with scripted_endpoint(*[streamed(messages)] * 3) as endpoint:
            # Anything that isn't a TokenstreamError fails here.
            answer = read(endpoint, api)
        if answer.error is None:
            assert answer.events == WHOLE
        else:
            assert isinstance(answer.error, ModelError)
            assert answer.events == WHOLE[: len(answer.events)]
            assert not answer.finished


@pytest.mark.usefixtures("no_backoff")
def test_a_model_that_says_nothing_times_out() -> None:
    silent = [Watched(lambda exchange: None), Watched(Exchange.head), Watched(lambda exchange: None)]
    with scripted_endpoint(*silent) as endpoint:
        answer = read(endpoint, "invoke", read_timeout=0.1)
        assert all(each.left.wait(PATIENCE_SECONDS) for each in silent)
    assert isinstance(answer.error, ModelTimeout)
    assert answer.error.retryable


def begins_and_stops(exchange: Exchange) -> None:
    exchange.head()
    for message in anthropic_answer()[:4]:
        exchange.chunk(message)


def test_a_model_that_falls_silent_times_out_and_its_stream_is_closed() -> None:
    silent = Watched(begins_and_stops)
    with scripted_endpoint(silent) as endpoint:
        answer = read(endpoint, "invoke", read_timeout=0.2)
        assert silent.left.wait(PATIENCE_SECONDS)
    assert isinstance(answer.error, ModelTimeout)
    assert answer.events == [Delta("Hel"), Delta("lo, ")]


@pytest.mark.usefixtures("no_backoff")
def test_a_model_that_cannot_be_reached_is_a_failure_of_the_models() -> None:
    with scripted_endpoint() as endpoint:
        pass
    answer = read(endpoint, "invoke")
    assert isinstance(answer.error, ModelError)
    assert answer.error.retryable


def reading(source: BedrockSource) -> tuple[Answer, Thread]:
    answer = Answer(source)
    reader = Thread(target=answer.read)
    reader.start()
    return answer, reader


def test_an_abort_before_the_request_asks_the_model_nothing() -> None:
    with scripted_endpoint() as endpoint:
        source = models(endpoint, "invoke").source(REQUEST)
        source.abort()
        assert Answer(source).read().events == []
        assert endpoint.requests == []


@pytest.mark.parametrize(
    ("place", "events"),
    [
        (lambda exchange: None, []),
        (Exchange.head, []),
        (begins_and_stops, [Delta("Hel"), Delta("lo, ")]),
    ],
    ids=["waiting for the head", "before the first token", "between tokens"],
)
def test_an_abort_ends_the_answer_and_the_model_sees_it(place: Script, events: list[SourceEvent]) -> None:
    watched = Watched(place)
    with scripted_endpoint(watched) as endpoint:
        source = models(endpoint, "invoke", read_timeout=4 * PATIENCE_SECONDS).source(REQUEST)
        answer, reader = reading(source)
        assert watched.reached.wait(PATIENCE_SECONDS)
        source.abort()
        source.abort()
        reader.join(PATIENCE_SECONDS)
        assert answer.over.is_set()
        assert watched.left.wait(PATIENCE_SECONDS)
        source.abort()
    assert answer.events == events[: len(answer.events)]
    assert len(endpoint.requests) == 1


def test_an_abort_while_a_try_is_waited_for_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bedrock, "random", lambda: 30.0)  # a wait of nearly eight seconds
    with scripted_endpoint(refused(429, "ThrottlingException")) as endpoint:
        source = models(endpoint, "invoke").source(REQUEST)
        waiting = Event()
        wait = source._aborted.wait

        def noticed(seconds: float | None = None) -> bool:
            waiting.set()
            return wait(seconds if seconds is None else seconds + 4 * PATIENCE_SECONDS)

        monkeypatch.setattr(source._aborted, "wait", noticed)
        answer, reader = reading(source)
        assert waiting.wait(PATIENCE_SECONDS)
        source.abort()
        reader.join(PATIENCE_SECONDS)
        assert answer.over.is_set()
        assert answer.events == []
    assert len(endpoint.requests) == 1


def test_behind_an_abort_the_next_answer_is_whole() -> None:
    watched = Watched(begins_and_stops)
    with scripted_endpoint(watched, streamed(ANSWERS["invoke"])) as endpoint:
        source = models(endpoint, "invoke")
        aborted = source.source(REQUEST)
        _, reader = reading(aborted)
        assert watched.reached.wait(PATIENCE_SECONDS)
        aborted.abort()
        reader.join(PATIENCE_SECONDS)
        assert Answer(source.source(REQUEST)).read().events == WHOLE


@pytest.mark.parametrize("api", APIS)
def test_answers_share_a_connection(api: BedrockApi) -> None:
    with scripted_endpoint(*[streamed(ANSWERS[api])] * 3) as endpoint:
        source = models(endpoint, api)
        for _ in range(3):
            one = source.source(REQUEST)
            assert Answer(one).read().events == WHOLE
            # Whoever reads to the end still says that it is done with the source.
            one.abort()
    assert endpoint.connections == 1


def test_an_abort_that_comes_late_leaves_the_next_answer_alone() -> None:
    asked = Event()

    def slow(exchange: Exchange) -> None:
        exchange.head()
        exchange.chunk(b"".join(anthropic_answer()[:3]))
        assert asked.wait(PATIENCE_SECONDS)
        exchange.chunk(b"".join(anthropic_answer()[3:]))
        exchange.end()

    with scripted_endpoint(streamed(ANSWERS["invoke"]), slow) as endpoint:
        source = models(endpoint, "invoke")
        first = source.source(REQUEST)
        Answer(first).read()
        events = source.source(REQUEST).events()
        received = [next(events)]
        first.abort()
        asked.set()
        assert [*received, *events] == WHOLE


def test_a_connection_that_the_endpoint_has_closed_meanwhile_costs_no_answer() -> None:
    closed = Event()

    def answer_and_close(exchange: Exchange) -> None:
        streamed(ANSWERS["invoke"])(exchange)
        exchange.hang_up()
        closed.set()

    with scripted_endpoint(answer_and_close, streamed(ANSWERS["invoke"])) as endpoint:
        source = models(endpoint, "invoke")
        assert Answer(source.source(REQUEST)).read().events == WHOLE
        assert closed.wait(PATIENCE_SECONDS)
        # No try is spent on it: there is no wait either.
        assert Answer(source.source(REQUEST)).read().events == WHOLE
    assert [received.connection for received in endpoint.requests] == [1, 2]


def test_a_reader_that_leaves_early_closes_the_models_stream() -> None:
    watched = Watched(begins_and_stops)
    with scripted_endpoint(watched, streamed(ANSWERS["invoke"])) as endpoint:
        source = models(endpoint, "invoke")
        events = source.source(REQUEST).events()
        assert next(events) == Delta("Hel")
        assert isinstance(events, Iterator)
        events.close()  # type: ignore[attr-defined] # a generator in fact, as every `yield` makes one
        assert watched.left.wait(PATIENCE_SECONDS)
        assert Answer(source.source(REQUEST)).read().events == WHOLE


def test_what_the_model_has_counted_is_known_while_it_speaks() -> None:
    watched = Watched(begins_and_stops)
    with scripted_endpoint(watched) as endpoint:
        source = models(endpoint, "invoke").source(REQUEST)
        assert source.usage == Usage()
        _, reader = reading(source)
        assert watched.reached.wait(PATIENCE_SECONDS)
        source.abort()
        reader.join(PATIENCE_SECONDS)
        # However much of its beginning was read before the abort.
        assert source.usage in {Usage(), Usage(11, 1), Usage(11, 2)}
        assert watched.left.wait(PATIENCE_SECONDS)


def test_an_answer_that_is_stopped_counts_the_deltas_that_came_of_it() -> None:
    def speaks(exchange: Exchange) -> None:
        exchange.head()
        begin, block, *_ = anthropic_answer()
        delta = chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}})
        for message in (begin, block, *[delta] * 20):
            exchange.chunk(message)

    watched = Watched(speaks)
    with scripted_endpoint(watched) as endpoint:
        source = models(endpoint, "invoke").source(REQUEST)
        events = source.events()
        assert [next(events) for _ in range(20)] == [Delta("a")] * 20
        source.abort()
        assert list(events) == []
        assert source.usage == Usage(11, 20)
        assert watched.left.wait(PATIENCE_SECONDS)
