import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.table import TABLE, Table, sessions_table
from tests.integration.http_stream_function import (
    CLAUDE,
    NOVA,
    PAGE,
    Answer,
    Context,
    Function,
    FunctionFactory,
    bearer,
    call,
    http_stream,
    rest_call,
    session_call,
    user_token,
)
from tests.integration.scripted_endpoint import (
    PATIENCE_SECONDS,
    Exchange,
    Script,
    Watched,
    refused,
    streamed,
)
from tests.unit.bedrock_messages import TEXTS, anthropic_answer, chunk, converse_answer, exception
from tests.unit.test_http_call import rest_event
from tests.unit.user_pool import SigningKey, claims
from tokenstream import telemetry

OTHER_KEY = SigningKey.generate("key")
STRANGER = "99999999-0000-4000-8000-000000000000"
UNKNOWN = "5e5510a0-0000-4000-8000-000000000000"
TEXT = "".join(TEXTS)
ANSWER = streamed(anthropic_answer())
SSE = {"accept": "text/event-stream"}
LINES = {"accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


@pytest.fixture
def function_with(table: Table) -> Iterator[FunctionFactory]:
    with http_stream(table) as start:
        yield start


class LogLines(logging.Handler):
    """Everything that is logged, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(telemetry.logger.registered_formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + logging.Formatter("%(message)s").format(record) + repr(record.__dict__))


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    handler = LogLines()
    loggers = [logging.getLogger(), logging.getLogger(telemetry.SERVICE)]
    for each in loggers:
        each.addHandler(handler)
    yield handler.lines
    for each in loggers:
        each.removeHandler(handler)


def test_a_prompt_is_answered_in_frames(function_with: FunctionFactory) -> None:
    answer = function_with(ANSWER).post({"prompt": "Hi"}, SSE)
    assert (answer.status, answer.streamed, answer.ended, answer.text) == (200, True, "well", TEXT)
    first, *_, last = answer.frames
    assert first["type"] == "start"
    assert (first["model"], first["path"], first["delivery"]) == (CLAUDE, "url", "direct")
    assert (last["type"], last["stopReason"]) == ("complete", "end_turn")
    assert last["usage"] == {"inputTokens": 11, "outputTokens": 22}
    assert [frame["sequence"] for frame in answer.frames] == list(range(1, len(answer.frames) + 1))
    assert {frame["sessionId"] for frame in answer.frames} == {answer.headers["X-Session-Id"]}


def test_each_format_has_its_content_type(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER, ANSWER, ANSWER)
    assert function.post({"prompt": "Hi"}, SSE).headers["Content-Type"] == "text/event-stream; charset=utf-8"
    lines = function.post({"prompt": "Hi"}, LINES)
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert lines.text == TEXT
    text = function.post({"prompt": "Hi"})
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert text.body.decode() == TEXT


def test_one_warm_function_keeps_its_connection_to_the_model(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER, ANSWER, ANSWER)
    for _ in range(3):
        assert function.post({"prompt": "Hi"}, SSE).text == TEXT
    assert function.model.connections == 1


def test_any_model_is_reached_by_its_api(function_with: FunctionFactory) -> None:
    function = function_with(streamed(converse_answer()))
    assert function.post({"prompt": "Hi", "model": NOVA}, SSE).text == TEXT
    assert function.model.requests[0].target.endswith("/converse-stream")


def test_a_guardrail_goes_with_every_prompt(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER, GUARDRAIL_ID="gr-1", GUARDRAIL_VERSION="2")
    function.post({"prompt": "Hi"})
    headers = function.model.requests[0].headers
    assert headers["x-amzn-bedrock-guardrailidentifier"] == "gr-1"
    assert headers["x-amzn-bedrock-guardrailversion"] == "2"


FORGED: dict[str, Callable[[], dict[str, str]]] = {
    "none": dict,
    "no scheme": lambda: {"authorization": user_token()},
    "basic": lambda: {"authorization": "Basic dTpw"},
    "garbage": lambda: {"authorization": "Bearer garbage"},
    "expired": lambda: {"authorization": f"Bearer {user_token(exp=1)}"},
    "access token": lambda: {"authorization": f"Bearer {user_token(token_use='access')}"},
    "another client's": lambda: {"authorization": f"Bearer {user_token(aud='another')}"},
    "forged": lambda: {"authorization": f"Bearer {OTHER_KEY.sign(claims())}"},
    "good, but behind a bad one": lambda: {
        "x-authorization": "Bearer garbage",
        "authorization": f"Bearer {user_token()}",
    },
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_without_a_good_token_nothing_is_run(
    function_with: FunctionFactory, method: str, headers: Callable[[], dict[str, str]]
) -> None:
    function = function_with()
    before = function.table.items()
    path = "/" if method == "POST" else f"/sessions/{uuid4()}"
    event = call(method, path, {"prompt": "Hi"}) | {"headers": headers()}
    answer = function(event)
    assert (answer.status, answer.error["code"], answer.error["retryable"]) == (401, "unauthorized", False)
    assert function.table.items() == before
    assert function.model.requests == []


def test_while_the_pools_keys_cannot_be_read_it_is_not_the_tokens_fault(function_with: FunctionFactory) -> None:
    answer = function_with(keys=refused(503)).post({"prompt": "Hi"})
    assert (answer.status, answer.error["code"], answer.error["retryable"]) == (500, "internal", True)


def test_with_iam_in_front_the_token_comes_in_another_header(function_with: FunctionFactory) -> None:
    answer = function_with(ANSWER).post(
        {"prompt": "Hi"},
        {
            "authorization": "AWS4-HMAC-SHA256 Credential=AKID/20261120/us-east-1/lambda/aws4_request, Signature=0",
            "x-authorization": f"Bearer {user_token()}",
            **SSE,
        },
    )
    assert answer.text == TEXT


def test_behind_a_rest_api_the_authorizers_word_is_taken(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER)
    answer = function(rest_call("POST", "/", {"prompt": "Hi"}, SSE))
    assert answer.text == TEXT
    assert answer.frames[0]["path"] == "rest"
    assert function.keys.requests == []


@pytest.mark.parametrize("change", [{"aud": "another"}, {"token_use": "access"}, {"sub": ""}], ids=repr)
def test_an_authorizers_claims_have_to_be_an_id_tokens(function_with: FunctionFactory, change: dict[str, str]) -> None:
    event = rest_call("POST", "/", {"prompt": "Hi"})
    event["requestContext"]["authorizer"]["claims"] |= change
    assert function_with()(event).status == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("", None),
        ("Hi", None),
        ("[]", None),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "Hi", "model": "gpt"}, "model"),
        ({"prompt": "Hi", "options": {"maxTokens": -1}}, "options.maxTokens"),
        ({"prompt": "Hi", "options": {"maxTokens": 1001}}, "options.maxTokens"),
        ({"prompt": "Hi", "delivery": "queued"}, "delivery"),
        ({"prompt": "Hi", "sessionId": "me"}, "sessionId"),
    ],
    ids=repr,
)
def test_a_bad_request_is_told_its_field_and_nothing_is_run(
    function_with: FunctionFactory, body: Any, field: str | None
) -> None:
    function = function_with()
    before = function.table.items()
    answer = function.post(body)
    assert (answer.status, answer.error["code"], answer.error.get("field")) == (400, "invalid_request", field)
    assert function.table.items() == before


def test_a_request_of_a_hundred_thousand_bytes_passes_and_one_more_does_not(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER)
    frame = len('{"prompt": ""}')
    assert function.post({"prompt": "x" * (100_000 - frame)}, SSE).text == TEXT
    answer = function.post({"prompt": "x" * (100_001 - frame)})
    assert (answer.status, answer.error["code"]) == (413, "too_large")


def test_a_body_in_base64_is_read(function_with: FunctionFactory) -> None:
    event = call("POST", "/", b64encode(b'{"prompt": "Hi"}').decode(), SSE) | {"isBase64Encoded": True}
    assert function_with(ANSWER)(event).text == TEXT


@pytest.mark.parametrize(
    "event",
    [
        {},
        [],
        {"version": "2.0"},
        {"Records": []},
        call("POST", "/", "no base64") | {"isBase64Encoded": True},
        call("POST", "/", b64encode(b"\xff").decode()) | {"isBase64Encoded": True},
    ],
    ids=lambda event: repr(event)[:30],
)
def test_an_event_that_makes_no_sense_is_a_bad_request(function_with: FunctionFactory, event: Any) -> None:
    answer = function_with()(event)
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


def test_a_session_id_serves_once(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER)
    session_id = str(uuid4())
    assert function.post({"prompt": "Hi", "sessionId": session_id.upper()}).headers["X-Session-Id"] == session_id
    answer = function.post({"prompt": "Hi", "sessionId": session_id})
    assert (answer.status, answer.error["code"], answer.error["field"]) == (409, "conflict", "sessionId")
    # Another user learns no more than that either.
    other = function.post({"prompt": "Hi", "sessionId": session_id}, bearer(user_token(STRANGER)))
    assert (other.status, other.error) == (409, answer.error)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "text/plain"])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (refused(429, "ThrottlingException"), 429, "throttled"),
        (refused(403, "AccessDeniedException"), 502, "model_access"),
        (refused(400, "ValidationException"), 502, "model_error"),
        (refused(408, "ModelTimeoutException"), 504, "model_timeout"),
        (refused(403, "ExpiredTokenException"), 500, "internal"),
        (Exchange.hang_up, 502, "model_error"),
    ],
)
def test_a_model_that_fails_before_its_first_token_is_an_http_status(
    function_with: FunctionFactory, monkeypatch: pytest.MonkeyPatch, accept: str, fault: Script, status: int, code: str
) -> None:
    monkeypatch.setattr("tokenstream.sources.bedrock.random", lambda: -1.0)
    function = function_with(*[fault] * 3)
    answer = function.post({"prompt": "Hi"}, {"accept": accept})
    assert (answer.status, answer.error["code"], answer.streamed) == (status, code, False)
    assert answer.headers["Content-Type"] == "application/json"
    session_id = answer.headers["X-Session-Id"]
    assert function.table.record(session_id)["status"]["S"] == "failed"
    assert ("Retry-After" in answer.headers) is (status == 429)


def mid_stream_failure(exchange: Exchange) -> None:
    exchange.head()
    for message in anthropic_answer()[:4]:
        exchange.chunk(message)
    exchange.chunk(exception("throttlingException"))
    exchange.end()


def test_a_model_that_fails_later_ends_the_stream_with_an_error_frame(function_with: FunctionFactory) -> None:
    function = function_with(mid_stream_failure)
    answer = function.post({"prompt": "Hi"}, LINES)
    assert (answer.status, answer.ended) == (200, "well")
    assert answer.frames[-1]["type"] == "error"
    assert answer.frames[-1]["error"]["code"] == "throttled"
    assert [frame["type"] for frame in answer.frames].count("complete") == 0


def test_a_plain_text_that_fails_later_ends_in_trailers(function_with: FunctionFactory) -> None:
    answer = function_with(mid_stream_failure).post({"prompt": "Hi"})
    assert (answer.status, answer.ended) == (200, "BrokenOff")
    assert "".join(TEXTS[:2]).startswith(answer.body.decode())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("PUT", "/"),
        ("DELETE", "/"),
        ("POST", "/sessions"),
        ("GET", "/sessions"),
        ("GET", "/sessions/"),
        ("POST", f"/sessions/{UNKNOWN}"),
        ("GET", f"/sessions/{UNKNOWN}/frames"),
        ("GET", "/favicon.ico"),
        ("POST", "/stream"),
    ],
)
def test_an_unknown_address_is_not_found(function_with: FunctionFactory, method: str, path: str) -> None:
    answer = function_with()(call(method, path, {"prompt": "Hi"}))
    assert (answer.status, answer.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("https://evil.example", None), (None, None)])
def test_only_pages_of_allowed_origins_may_read_what_is_answered(
    function_with: FunctionFactory, origin: str | None, allowed: str | None
) -> None:
    function = function_with(ANSWER)
    headers = {} if origin is None else {"origin": origin}
    session_id = str(uuid4())
    answers = [
        function(rest_call("POST", "/", {"prompt": "Hi", "sessionId": session_id}, headers=headers)),
        function(rest_call("POST", "/", {"prompt": ""}, headers=headers)),
        function(rest_call("GET", "/sessions/{id}", headers=headers) | {"pathParameters": {"id": session_id}}),
        function(rest_call("DELETE", "/sessions/{id}", headers=headers) | {"pathParameters": {"id": session_id}}),
        function(rest_call("OPTIONS", "/sessions/{id}", headers=headers) | {"pathParameters": {"id": session_id}}),
        function(rest_call("GET", "/nothing", headers=headers)),
    ]
    assert [answer.status for answer in answers] == [200, 400, 200, 202, 204, 404]
    for answer in answers:
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed
        if allowed:
            assert "X-Session-Id" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("path", ["/", "/sessions/{id}", "/anything"])
def test_a_preflight_needs_no_token(function_with: FunctionFactory, path: str) -> None:
    event = rest_event(httpMethod="OPTIONS", resource=path, headers={"Origin": PAGE}, body=None)
    answer = function_with()(event)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def test_a_session_that_has_ended_is_given_again(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER)
    first = function.post({"prompt": "Hi"}, SSE)
    session_id = first.headers["X-Session-Id"]
    again = function(session_call("GET", session_id, SSE))
    assert (again.status, again.body, again.headers["X-Session-Id"]) == (200, first.body, session_id)
    assert again.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert function(session_call("GET", session_id)).body.decode() == TEXT


@pytest.mark.parametrize("header", [True, False], ids=["Last-Event-ID", "after"])
def test_a_session_goes_on_behind_what_the_client_has(function_with: FunctionFactory, header: bool) -> None:
    function = function_with(ANSWER)
    first = function.post({"prompt": "Hi"}, LINES)
    for seen in first.frames:
        position = f"{seen['attempt']}.{seen['sequence']}"
        if header:
            event = session_call("GET", first.headers["X-Session-Id"], LINES | {"last-event-id": position})
        else:
            event = session_call("GET", first.headers["X-Session-Id"], LINES, {"after": position})
        answer = function(event)
        assert answer.status == 200
        rest = answer.frames if answer.body else []
        assert rest == [frame for frame in first.frames if frame["sequence"] > seen["sequence"]]


@pytest.mark.parametrize("after", ["1", "1.x", "-1.0", "1.1.1", "latest", " 1.1"])
def test_a_position_that_is_none_is_a_bad_request(function_with: FunctionFactory, after: str) -> None:
    function = function_with(ANSWER)
    session_id = function.post({"prompt": "Hi"}).headers["X-Session-Id"]
    for event in (
        session_call("GET", session_id, query={"after": after}),
        session_call("GET", session_id, {"last-event-id": after}),
    ):
        answer = function(event)
        assert (answer.status, answer.error["field"]) == (400, "after")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_foreign_session_cannot_be_told_from_none(function_with: FunctionFactory, method: str) -> None:
    function = function_with(ANSWER)
    session_id = function.post({"prompt": "Hi"}).headers["X-Session-Id"]
    before = function.table.record(session_id)
    stranger = bearer(user_token(STRANGER))
    foreign = function(session_call(method, session_id, stranger))
    unknown = function(session_call(method, str(uuid4()), stranger))
    assert foreign.status == unknown.status == 404
    assert (foreign.body, foreign.headers) == (unknown.body, unknown.headers)
    assert function.table.record(session_id) == before


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("session_id", ["me", "%2e%2e", "0" * 32, "null"])
def test_an_address_with_no_session_id_is_a_bad_request(
    function_with: FunctionFactory, method: str, session_id: str
) -> None:
    answer = function_with()(session_call(method, session_id))
    assert (answer.status, answer.error["field"]) == (400, "sessionId")


def test_stopping_a_session_that_has_ended_changes_nothing(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER)
    first = function.post({"prompt": "Hi"}, SSE)
    session_id = first.headers["X-Session-Id"]
    answer = function(session_call("DELETE", session_id.upper()))
    assert (answer.status, json.loads(answer.body)) == (202, {"sessionId": session_id, "status": "complete"})
    assert answer.headers["X-Session-Id"] == session_id
    assert function(session_call("GET", session_id, SSE)).body == first.body


def speaks_on_and_on(exchange: Exchange) -> None:
    exchange.head()
    for message in anthropic_answer()[:3]:
        exchange.chunk(message)


def test_a_stop_ends_the_running_answer_and_the_model_sees_it(function_with: FunctionFactory) -> None:
    watched = Watched(speaks_on_and_on)
    function = function_with(watched)
    session_id = str(uuid4())
    answers: list[Answer] = []
    caller = Thread(target=lambda: answers.append(function.post({"prompt": "Hi", "sessionId": session_id}, SSE)))
    caller.start()
    assert watched.reached.wait(PATIENCE_SECONDS)
    stop = function.invoke(session_call("DELETE", session_id), Context(aws_request_id="another"))
    assert (stop.status, json.loads(stop.body)["status"]) == (202, "running")
    caller.join(PATIENCE_SECONDS)
    assert watched.left.wait(PATIENCE_SECONDS)
    [answer] = answers
    assert (answer.frames[-1]["stopReason"], answer.ended) == ("cancelled", "well")
    assert function.table.record(session_id)["status"]["S"] == "cancelled"


def test_the_end_of_the_functions_time_ends_the_answer_in_order(function_with: FunctionFactory) -> None:
    watched = Watched(speaks_on_and_on)
    answer = function_with(watched).post({"prompt": "Hi"}, SSE, Context(seconds_left=10.2))
    assert watched.left.wait(PATIENCE_SECONDS)
    assert (answer.frames[-1]["stopReason"], answer.ended) == ("deadline", "well")


def taken_over(function: Function, watched: Watched, accept: Mapping[str, str]) -> tuple[str, Answer]:
    """Let another worker take the session while the model is being read; gives its id and what the caller got."""
    session_id = str(uuid4())
    answers: list[Answer] = []
    caller = Thread(target=lambda: answers.append(function.post({"prompt": "Hi", "sessionId": session_id}, accept)))
    caller.start()
    assert watched.reached.wait(PATIENCE_SECONDS)
    function.table.update_item(
        TableName=TABLE,
        Key={"sessionId": {"S": session_id}, "item": {"S": "session"}},
        UpdateExpression="SET worker = :other",
        ExpressionAttributeValues={":other": {"S": "other"}},
    )
    caller.join(PATIENCE_SECONDS)
    [answer] = answers
    return session_id, answer


def test_an_attempt_that_another_worker_has_taken_is_never_an_empty_200(function_with: FunctionFactory) -> None:
    watched = Watched(Exchange.head)
    session_id, answer = taken_over(function_with(watched), watched, SSE)
    assert (answer.status, answer.error["code"], answer.headers["X-Session-Id"]) == (500, "internal", session_id)


@pytest.mark.parametrize("accept", [SSE, {"accept": "text/plain"}], ids=["events", "text"])
def test_an_answer_that_another_worker_has_taken_midway_does_not_look_whole(
    function_with: FunctionFactory, accept: dict[str, str]
) -> None:
    watched = Watched(speaks_on_and_on)
    _, answer = taken_over(function_with(watched), watched, accept)
    assert (answer.status, answer.ended) == (200, "BrokenOff")


def test_a_client_that_is_gone_does_not_end_the_answer(function_with: FunctionFactory) -> None:
    go_on = Event()

    def slow(exchange: Exchange) -> None:
        exchange.head()
        for message in anthropic_answer()[:3]:
            exchange.chunk(message)
        assert go_on.wait(PATIENCE_SECONDS)
        for message in anthropic_answer()[3:]:
            exchange.chunk(message)
        exchange.end()

    function = function_with(slow)
    session_id = str(uuid4())
    caller = Thread(target=lambda: function.post({"prompt": "Hi", "sessionId": session_id}, SSE))
    caller.start()
    patience = monotonic() + PATIENCE_SECONDS
    while not function.response.writes and monotonic() < patience:
        function.response.written.wait(0.01)
    function.response.breaks = True
    go_on.set()
    caller.join(PATIENCE_SECONDS)
    again = function(session_call("GET", session_id, SSE))
    assert (again.text, again.frames[-1]["stopReason"]) == (TEXT, "end_turn")


def test_a_fault_of_ours_says_nothing_and_names_the_session(function_with: FunctionFactory) -> None:
    # Outside of its runtime the function has no way to stream.
    answer = function_with(ANSWER).invoke(call("POST", "/", {"prompt": "Hi"}))
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "X-Session-Id" in answer.headers
    assert answer.error["message"] == "Something went wrong on our side."


def test_without_the_table_nothing_is_run(function_with: FunctionFactory) -> None:
    function = function_with(SESSIONS_TABLE="missing")
    for event in (
        call("POST", "/", {"prompt": "Hi"}),
        session_call("GET", str(uuid4())),
        session_call("DELETE", str(uuid4())),
    ):
        answer = function(event)
        assert (answer.status, answer.error["code"], answer.error["retryable"]) == (500, "internal", True)
    assert function.model.requests == []


def test_where_answers_are_not_stored_there_is_nothing_to_resume(function_with: FunctionFactory) -> None:
    function = function_with(ANSWER, STORE_ANSWERS="false")
    first = function.post({"prompt": "Hi"}, SSE)
    assert first.text == TEXT
    assert function(session_call("GET", first.headers["X-Session-Id"])).status == 404
    stored = [item for item in function.table.items() if item["sessionId"]["S"] == first.headers["X-Session-Id"]]
    assert [item["item"]["S"] for item in stored] == ["session"]
    assert TEXTS[0] not in json.dumps(stored)


MARK = "mark-7f3a9c"


def test_no_log_line_has_a_prompt_a_token_or_a_jwt(
    function_with: FunctionFactory, log_lines: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{MARK}-one ", f"{MARK}-two"]
    answer = anthropic_answer(texts)
    odd = [*answer[:3], chunk({"type": "message_delta", "delta": MARK, "usage": MARK}), chunk([MARK]), answer[-1]]
    broken = [*answer[:3], chunk({"type": "error", "error": {"type": MARK, "message": MARK}})]
    function = function_with(
        *[streamed(answer)] * 3,
        streamed(odd),
        streamed(broken),
        refused(400, "ValidationException"),
        refused(429, "ThrottlingException"),
        streamed(answer),
        Watched(lambda exchange: speaks(exchange, answer)),
    )
    prompt = {"prompt": f"{MARK} prompt", "system": MARK, "options": {"stopSequences": [MARK]}}
    sessions = [
        function.post(prompt, SSE),
        function.post(prompt, LINES),
        function.post(prompt),
        *(function.post(prompt, SSE) for _ in range(4)),
    ]
    assert sum(MARK.encode() in each.body for each in sessions) >= 5
    function(session_call("GET", sessions[0].headers["X-Session-Id"], SSE))
    function(session_call("DELETE", sessions[0].headers["X-Session-Id"]))
    function(session_call("GET", sessions[0].headers["X-Session-Id"], query={"after": MARK}))
    function(session_call("GET", MARK))
    for bad in ({MARK: MARK}, {"prompt": MARK, "model": MARK}, MARK, {"prompt": MARK, "sessionId": MARK}):
        function.post(bad)
    function.post(prompt, bearer(user_token(sub=MARK, exp=1)))
    function.post(prompt, bearer(MARK))
    function(rest_call("POST", "/", MARK, {"x": MARK}))
    function({"version": "2.0", "body": MARK})
    function.invoke(call("POST", "/", prompt))  # a fault of ours: there is no way to stream
    function_with(SESSIONS_TABLE="missing").post(prompt)
    logged = "\n".join([*log_lines, *capfd.readouterr()])
    assert "stream ended" in logged
    assert "call failed" in logged
    assert "CompletedStreams" in logged
    assert MARK not in logged
    assert user_token().partition(".")[0] not in logged


def speaks(exchange: Exchange, messages: list[bytes]) -> None:
    exchange.head()
    for message in messages[:4]:
        exchange.chunk(message)


def test_a_log_line_says_which_session_and_how_it_ended(function_with: FunctionFactory, log_lines: list[str]) -> None:
    answer = function_with(ANSWER).post({"prompt": "Hi"})
    [line] = {line for line in log_lines if "stream ended" in line}
    assert answer.headers["X-Session-Id"] in line
    assert "end_turn" in line
