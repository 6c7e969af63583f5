import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes import topics_api
from tests.fakes.connections_api import FORBIDDEN
from tests.integration.scripted_endpoint import (
    Exchange,
    scripted_endpoint,
    status_line,
    streamed,
)
from tests.integration.websocket_functions import (
    ANOTHER,
    CLAUDE,
    CLIENT,
    EXPIRED,
    MINE,
    STRANGER,
    STREAM_FUNCTION,
    SUB,
    FunctionsFactory,
    Tables,
    assert_whole,
    start_failures,
    text,
    websocket_functions,
    websocket_tables,
)
from tests.unit.bedrock_messages import TEXTS, anthropic_answer
from tokenstream.connections import MESSAGES_PER_WINDOW
from tokenstream.request import read_request

TEXT = "".join(TEXTS)
ANSWER = streamed(anthropic_answer())


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    with websocket_functions(tables) as start:
        yield start


# What is asked for


def test_a_prompt_is_accepted_recorded_and_handed_over_to_a_worker(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    [reply] = functions.send(CLIENT, {"action": "stream", "requestId": "é 1", "prompt": "Hi", "system": "Brief."})
    session_id = reply["sessionId"]
    assert reply == {"type": "accepted", "sessionId": session_id, "requestId": "é 1"}
    assert functions.invokes.payloads == [
        {"sessionId": session_id, "request": {"prompt": "Hi", "system": "Brief.", "sessionId": session_id}}
    ]
    session = functions.sessions.get(session_id, SUB)
    assert (session.status, session.path, session.model, session.delivery) == (
        "accepted",
        "websocket",
        CLAUDE,
        "direct",
    )
    assert session.recipient is not None
    assert (session.recipient.connection_id, session.recipient.after) == (CLIENT, (0, 0))


def test_a_client_may_name_its_session_and_otherwise_gets_one_of_its_own(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    mine = str(uuid4())
    assert functions.ask(CLIENT, sessionId=mine.upper())[0] == mine
    others = {functions.ask(CLIENT)[0] for _ in range(3)}
    assert len(others | {mine}) == 4
    assert all(str(UUID(session_id)) == session_id for session_id in others)


def test_a_client_is_told_before_anything_is_started_and_nothing_is_told_that_is_not_recorded(
    functions_with: FunctionsFactory,
) -> None:
    """A frame must not arrive ahead of the reply to its request, nor a resume find no session."""
    functions = functions_with()
    session_id = str(uuid4())
    told: list[str] = []
    recorded: list[str] = []
    functions.invokes.before = lambda payload: told.extend(m["type"] for m in functions.api.messages(CLIENT))
    functions.api.before = lambda *message: recorded.append(functions.status(session_id))
    functions.ask(CLIENT, sessionId=session_id)
    assert (told, recorded) == (["accepted"], ["accepted"])


def test_a_worker_is_started_by_the_request_that_lambda_knows(functions_with: FunctionsFactory) -> None:
    def queued(exchange: Exchange) -> None:
        exchange.raw(status_line(202) + b"Content-Length: 0\r\n\r\n")

    with scripted_endpoint(queued) as endpoint:
        functions = functions_with(AWS_ENDPOINT_URL_LAMBDA=endpoint.url)
        functions.ws_message.functions = functions.sdk
        [reply] = functions.send(CLIENT, {"action": "stream", "prompt": "Grüße 👋"})
    assert reply["type"] == "accepted"
    [received] = endpoint.requests
    assert received.target == f"/2015-03-31/functions/{STREAM_FUNCTION}/invocations"
    assert received.headers["x-amz-invocation-type"] == "Event"
    request = {"prompt": "Grüße 👋", "sessionId": reply["sessionId"]}
    assert json.loads(received.body) == {"sessionId": reply["sessionId"], "request": request}


@pytest.mark.parametrize("request_id", [{}, {"requestId": "7"}, {"requestId": None}], ids=repr)
def test_a_ping_is_answered(functions_with: FunctionsFactory, request_id: dict[str, Any]) -> None:
    functions = functions_with()
    echoed = {name: value for name, value in request_id.items() if value}
    assert functions.send(CLIENT, {"action": "ping", **request_id}) == [{"type": "pong", **echoed}]


def test_a_cancel_reaches_the_session_and_says_so(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT)
    # From any of the user's connections.
    reply = functions.send(ANOTHER, {"action": "cancel", "sessionId": session_id.upper(), "requestId": "2"})
    assert reply == [{"type": "accepted", "sessionId": session_id, "requestId": "2"}]
    assert functions.sessions.get(session_id, SUB).cancel_requested
    assert functions.invokes.payloads == []


def test_a_cancel_behind_the_end_changes_nothing(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    [reply] = functions.send(CLIENT, {"action": "cancel", "sessionId": session_id})
    assert reply["type"] == "accepted"
    assert functions.status(session_id) == "complete"


# What is refused

BAD: list[tuple[Any, dict[str, Any]]] = [
    ("", {"code": "invalid_request"}),
    ("Hi", {"code": "invalid_request"}),
    ('{"action": "stream", "prompt": "Hi"', {"code": "invalid_request"}),
    ("[]", {"code": "invalid_request"}),
    ("null", {"code": "invalid_request"}),
    ("[" * 30_000, {"code": "invalid_request"}),
    ({}, {"code": "invalid_request", "field": "action"}),
    ({"action": "sing"}, {"code": "invalid_request", "field": "action"}),
    ({"action": "stream"}, {"code": "invalid_request", "field": "prompt"}),
    ({"action": "stream", "prompt": "Hi", "model": "gpt"}, {"code": "invalid_request", "field": "model"}),
    ({"action": "stream", "prompt": "Hi", "delivery": "pigeon"}, {"code": "invalid_request", "field": "delivery"}),
    (
        {"action": "stream", "prompt": "Hi", "options": {"maxTokens": 1001}},
        {"code": "invalid_request", "field": "options.maxTokens"},
    ),
    ({"action": "stream", "prompt": "Hi", "sessionId": "me"}, {"code": "invalid_request", "field": "sessionId"}),
    ({"action": "cancel"}, {"code": "invalid_request", "field": "sessionId"}),
    ({"action": "resume"}, {"code": "invalid_request", "field": "sessionId"}),
    ({"action": "cancel", "sessionId": MINE}, {"code": "not_found"}),
    ({"action": "resume", "sessionId": MINE}, {"code": "not_found"}),
    ({"action": "resume", "sessionId": MINE, "after": "1.4"}, {"code": "invalid_request", "field": "after"}),
    ({"action": "ping", "sessionId": MINE}, {"code": "invalid_request", "field": "sessionId"}),
]


@pytest.mark.parametrize(("message", "expected"), BAD, ids=lambda value: repr(value)[:50])
def test_a_bad_message_is_rejected_with_its_fault_and_nothing_is_run(
    functions_with: FunctionsFactory, message: Any, expected: dict[str, Any]
) -> None:
    functions = functions_with()
    before = functions.table.items()
    named = {}
    if isinstance(message, dict):
        message = {"requestId": "r-1", **message}
        named["requestId"] = "r-1"
        if message.get("sessionId") == MINE:
            named["sessionId"] = MINE
    [reply] = functions.send(CLIENT, message)
    error = reply["error"]
    assert error.pop("message")
    assert reply == {"type": "rejected", **named, "error": {"retryable": False, **expected}}
    assert functions.table.items() == before
    assert functions.invokes.payloads == []


def test_a_message_of_a_hundred_thousand_bytes_passes_and_one_more_does_not(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    frame = len(json.dumps({"action": "stream", "requestId": "r-1", "prompt": ""}))
    # Bytes, not characters.
    prompt = "é" * ((100_000 - frame) // 2) + "x" * ((100_000 - frame) % 2)

    def message(prompt: str) -> str:
        return json.dumps({"action": "stream", "requestId": "r-1", "prompt": prompt}, ensure_ascii=False)

    assert len(message(prompt).encode()) == 100_000
    assert functions.send(CLIENT, message(prompt))[0]["type"] == "accepted"
    functions.invokes.payloads.clear()
    [reply] = functions.send(CLIENT, message(prompt + "x"))
    assert (reply["type"], reply["requestId"], reply["error"]["code"]) == ("rejected", "r-1", "too_large")
    assert functions.invokes.payloads == []


def test_a_connection_that_outlives_its_token_starts_nothing_and_can_still_look_after_what_runs(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT)
    before = functions.table.items()
    [reply] = functions.send(CLIENT, {"action": "stream", "requestId": "r-1", "prompt": "Hi"}, expires_at=EXPIRED)
    assert (reply["type"], reply["requestId"], reply["error"]["code"]) == ("rejected", "r-1", "unauthorized")
    assert functions.table.items() == before
    assert functions.invokes.payloads == []
    for message, expected in (
        ({"action": "ping"}, "pong"),
        ({"action": "resume", "sessionId": session_id}, "accepted"),
        ({"action": "cancel", "sessionId": session_id}, "accepted"),
    ):
        assert functions.send(CLIENT, message, expires_at=EXPIRED)[0]["type"] == expected


def test_a_flood_from_one_connection_is_throttled_and_not_served(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with()
    monkeypatch.setattr(functions.ws_message, "time", lambda: 1_763_668_800.0)
    flooding, other = str(uuid4()), str(uuid4())
    session_id = str(uuid4())
    for _ in range(MESSAGES_PER_WINDOW):
        assert functions.send(flooding, {"action": "ping"}) == [{"type": "pong"}]
    [reply] = functions.send(flooding, "no JSON")
    assert (reply["type"], reply["error"]["code"]) == ("rejected", "throttled")
    for message in ({"action": "stream", "prompt": "Hi", "sessionId": session_id}, {"action": "ping"}):
        [reply] = functions.send(flooding, {"requestId": "r-1", **message})
        assert (reply["type"], reply["requestId"]) == ("rejected", "r-1")
        assert (reply["error"]["code"], reply["error"]["retryable"]) == ("throttled", True)
    assert functions.sessions.find(session_id) is None
    assert functions.invokes.payloads == []
    assert functions.send(other, {"action": "ping"}) == [{"type": "pong"}]


@pytest.mark.parametrize("action", ["cancel", "resume"])
def test_another_users_session_cannot_be_told_from_none(functions_with: FunctionsFactory, action: str) -> None:
    functions = functions_with(ANSWER)
    waiting, _ = functions.ask(CLIENT)
    ended, event = functions.ask(CLIENT)
    functions.work(event)
    before = [functions.table.record(session_id) for session_id in (waiting, ended)]
    told = []
    for session_id in (waiting, ended, str(uuid4())):
        [reply] = functions.send(ANOTHER, {"action": action, "sessionId": session_id}, sub=STRANGER)
        assert reply.pop("sessionId") == session_id
        told.append(reply)
    assert told[0]["error"]["code"] == "not_found"
    assert told[0] == told[1] == told[2]
    assert [functions.table.record(session_id) for session_id in (waiting, ended)] == before
    assert functions.invokes.payloads == []


@pytest.mark.parametrize("sub", [SUB, STRANGER])
def test_a_session_id_serves_once(functions_with: FunctionsFactory, sub: str) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    for ended in (False, True):
        if ended:
            functions.work(event)
        before = functions.table.items()
        [reply] = functions.send(ANOTHER, {"action": "stream", "prompt": "Hi", "sessionId": session_id}, sub=sub)
        assert (reply["type"], reply["sessionId"]) == ("rejected", session_id)
        assert (reply["error"]["code"], reply["error"]["field"]) == ("conflict", "sessionId")
        assert functions.table.items() == before
        assert functions.invokes.payloads == []


def test_where_answers_are_not_stored_there_is_nothing_to_resume(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER, STORE_ANSWERS="false")
    session_id, event = functions.ask(CLIENT, "Grüße")
    for ended in (False, True):
        if ended:
            functions.work(event)
        [reply] = functions.send(ANOTHER, {"action": "resume", "sessionId": session_id})
        assert (reply["type"], reply["error"]["code"]) == ("rejected", "not_found")
        assert functions.invokes.payloads == []
    assert text(functions.frames(CLIENT)) == TEXT
    stored = [item for item in functions.table.items() if item["sessionId"]["S"] == session_id]
    assert [item["item"]["S"] for item in stored] == ["session"]
    assert "Grüße" not in str(stored)
    assert TEXTS[0] not in str(stored)


# What goes wrong


@pytest.mark.parametrize("failure", start_failures())
def test_an_answer_that_could_not_be_started_ends_with_one_error(
    functions_with: FunctionsFactory, failure: str
) -> None:
    functions = functions_with()
    functions.invokes.fails = start_failures()[failure]
    accepted, *frames = functions.send(CLIENT, {"action": "stream", "requestId": "r-1", "prompt": "Hi"})
    session_id = accepted["sessionId"]
    assert accepted["type"] == "accepted"
    assert_whole(frames)
    assert [frame["type"] for frame in frames] == ["start", "error"]
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == ("internal", True)
    assert functions.status(session_id) == "failed"
    # Whoever asks later is told the same.
    functions.invokes.fails = None
    replay = functions.resume(ANOTHER, session_id)
    assert replay is not None
    functions.work(replay)
    assert functions.frames(ANOTHER) == frames
    assert functions.model.requests == []


def test_a_start_whose_answer_was_lost_is_left_to_the_worker(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    functions.invokes.fails = start_failures()["unreachable"]
    functions.invokes.before = functions.work
    accepted, *frames = functions.send(CLIENT, {"action": "stream", "prompt": "Hi"})
    assert accepted["type"] == "accepted"
    assert_whole(frames)
    assert text(frames) == TEXT


def test_what_is_recorded_is_enough_for_another_attempt(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT, AWKWARD_TEXT, system="Brief.", requestId="r-1", delivery="queued")
    body = functions.sessions.request(session_id)
    assert body is not None
    request = read_request(json.loads(body), functions.ws_stream.limits, session_id)
    assert [message.content for message in request.messages] == [AWKWARD_TEXT]
    assert (request.system, request.delivery) == ("Brief.", "queued")


def test_a_worker_that_comes_late_to_a_session_that_was_given_up_does_nothing(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    events: list[dict[str, Any]] = []
    functions.invokes.fails = start_failures()["unreachable"]
    functions.invokes.before = events.append
    functions.send(CLIENT, {"action": "stream", "prompt": "Hi"})
    before = functions.api.raw(CLIENT)
    functions.work(events[0])
    assert functions.api.raw(CLIENT) == before
    assert functions.model.requests == []


def test_a_client_whose_connection_breaks_before_it_was_accepted_comes_back_for_its_whole_answer(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id = str(uuid4())
    message = {"action": "stream", "prompt": "Hi", "sessionId": session_id}
    functions.api.close("gone")
    assert functions.send("gone", message) == []
    [event] = functions.invokes.payloads
    functions.invokes.payloads.clear()
    [rejected] = functions.send(CLIENT, message)
    assert rejected["error"]["code"] == "conflict"
    assert functions.resume(CLIENT, session_id) is None
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert text(frames) == TEXT


def test_a_client_that_cannot_be_answered_directly_is_answered_by_the_queue_and_so_is_its_stream(
    functions_with: FunctionsFactory,
) -> None:
    """Frames that took another way than the reply could come before it."""
    functions = functions_with(ANSWER)
    functions.api.always(CLIENT, FORBIDDEN)
    assert functions.send(CLIENT, {"action": "stream", "prompt": "Hi", "requestId": "r-1"}) == []
    event = functions.invokes.payloads.pop()
    session_id = event["sessionId"]
    functions.api.always(CLIENT, None)
    functions.work(event)
    assert functions.frames(CLIENT) == []
    [reply] = [json.loads(message.text) for message in functions.topics.queued[:1]]
    assert reply == {
        "type": "reply",
        "connectionId": CLIENT,
        "reply": {"type": "accepted", "sessionId": session_id, "requestId": "r-1"},
    }
    assert_whole(functions.queued(session_id))
    assert {message.group for message in functions.topics.queued} == {session_id}


def test_for_a_client_that_cannot_be_reached_at_all_nothing_is_started(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = str(uuid4())
    functions.api.always(CLIENT, FORBIDDEN)
    functions.topics.always(topics_api.FORBIDDEN)
    assert functions.send(CLIENT, {"action": "stream", "prompt": "Hi", "sessionId": session_id}) == []
    assert functions.invokes.payloads == []
    assert functions.status(session_id) == "failed"


def test_a_client_that_leaves_while_its_start_fails_finds_its_session_ended(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = str(uuid4())
    functions.invokes.fails = start_failures()["refused"]
    functions.invokes.before = lambda payload: functions.api.close("leaving")
    functions.send("leaving", {"action": "stream", "prompt": "Hi", "sessionId": session_id})
    assert functions.status(session_id) == "failed"


@pytest.mark.parametrize("action", ["ping", "cancel", "resume"])
def test_a_client_that_is_gone_fails_no_route(functions_with: FunctionsFactory, action: str) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT)
    functions.api.close("gone")
    needed = {} if action == "ping" else {"sessionId": session_id}
    assert functions.send("gone", {"action": action, **needed}) == []
    assert functions.send("gone", "no JSON") == []


def test_a_cancel_counts_though_its_client_is_gone(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT)
    functions.api.close("gone")
    functions.send("gone", {"action": "cancel", "sessionId": session_id})
    assert functions.sessions.get(session_id, SUB).cancel_requested


def test_a_resume_from_a_connection_that_is_gone_takes_the_answer_from_nobody(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT)
    functions.api.close("gone")
    functions.send("gone", {"action": "resume", "sessionId": session_id})
    recipient = functions.sessions.get(session_id, SUB).recipient
    assert recipient is not None
    assert recipient.connection_id == CLIENT


def test_a_replay_that_could_not_be_started_is_told(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    functions.invokes.fails = start_failures()["refused"]
    replies = functions.send(ANOTHER, {"action": "resume", "requestId": "r-1", "sessionId": session_id})
    assert replies[-1]["type"] == "rejected"
    assert (replies[-1]["requestId"], replies[-1]["sessionId"]) == ("r-1", session_id)
    assert (replies[-1]["error"]["code"], replies[-1]["error"]["retryable"]) == ("internal", True)


@pytest.mark.parametrize(
    "message",
    [
        {"action": "stream", "prompt": "Hi"},
        {"action": "cancel", "sessionId": MINE},
        {"action": "resume", "sessionId": MINE},
        {"action": "ping"},
    ],
    ids=lambda message: str(message["action"]),
)
def test_while_the_table_is_out_a_client_is_told_to_try_again(
    functions_with: FunctionsFactory, message: dict[str, Any]
) -> None:
    functions = functions_with()
    functions.table.unreachable = True
    [reply] = functions.send(CLIENT, {**message, "requestId": "r-1"})
    assert (reply["type"], reply["requestId"]) == ("rejected", "r-1")
    assert (reply["error"]["code"], reply["error"]["retryable"]) == ("internal", True)
    assert functions.invokes.payloads == []


def test_a_fault_of_ours_is_told_without_its_text(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    functions.invokes.fails = ZeroDivisionError("words of ours")
    *_, reply = functions.send(CLIENT, {"action": "stream", "requestId": "r-1", "prompt": "Hi"})
    assert (reply["type"], reply["requestId"], reply["error"]["code"]) == ("rejected", "r-1", "internal")
    assert b"words of ours" not in b"".join(functions.api.raw(CLIENT))
