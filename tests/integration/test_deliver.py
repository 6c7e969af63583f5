"""Frames and replies from the queue to their clients."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.connections_api import BROKEN, FORBIDDEN, LOST_ANSWER, THROTTLED
from tests.fakes.frames import Attempt
from tests.fakes.frames_queue import frames_of
from tests.fakes.graphql_api import UNAUTHORIZED
from tests.fakes.log_lines import log_lines
from tests.fakes.observed import PATIENCE_SECONDS
from tests.fakes.topics_api import Published
from tests.function_module import Context
from tests.integration.background_functions import (
    ANOTHER_SAMPLE_SESSION,
    SAMPLE_CONNECTION,
    SAMPLE_SESSION,
    Functions,
    FunctionsFactory,
    background_functions,
    message,
    sample,
)
from tests.integration.websocket_functions import (
    ANOTHER,
    CLIENT,
    SUB,
    Tables,
    Talker,
    assert_whole,
    text,
    websocket_tables,
)
from tests.local.stack_process import eventually
from tokenstream import telemetry
from tokenstream.queued_frames import encode_reply
from tokenstream.sinks import sns

GROUP_OF_A_REPLY = "VqYb2cO1IAMCIhw="
MARK = "mark-7f3a9c"
REFUSED = ClientError({"Error": {"Code": "InvalidParameterValue", "Message": "no"}}, "ChangeMessageVisibility")


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    with background_functions(tables) as start:
        yield start


def messages(session_id: str, *texts: str, receives: int = 1) -> list[dict[str, Any]]:
    """Return an answer, a message for each frame."""
    return [message(session_id, [frame], receives=receives) for frame in Attempt(session_id).answer(*texts)]


def reply(connection_id: str, document: dict[str, Any], group: str = GROUP_OF_A_REPLY) -> dict[str, Any]:
    return Published(group, f"{group}-ticket", encode_reply(connection_id, json.dumps(document).encode())).record()


def ids(records: list[dict[str, Any]]) -> list[str]:
    return [record["messageId"] for record in records]


# To the client


def test_an_answer_reaches_its_connection_to_the_character_and_in_order(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    answer = Attempt(session_id).answer("Hel", "lo \ufffe👩\u200d🚀")
    assert functions.delivered(message(session_id, answer[:2]), message(session_id, answer[2:])) == []
    # As JSON, two characters are escaped on the way.
    assert functions.frames(CLIENT) == [json.loads(frame.json) for frame in answer]
    assert_whole(functions.frames(CLIENT))


def test_an_answer_reaches_appsyncs_subscribers_and_its_owner_alone(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted("appsync")
    answer = Attempt(session_id).answer("Hel", "lo \ufffe👩\u200d🚀")
    assert functions.delivered(message(session_id, answer[:2]), message(session_id, answer[2:])) == []
    events = functions.graphql.published(session_id)
    assert functions.published(session_id) == [json.loads(frame.json) for frame in answer]
    assert {event["owner"] for event in events} == {SUB}
    assert functions.api.endpoint.requests == []


def test_a_client_that_has_come_back_on_another_connection_gets_there_what_was_queued_before(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    records = messages(session_id, "Hello")
    functions.moved(session_id, ANOTHER)
    assert functions.delivered(*records) == []
    assert functions.api.raw(CLIENT) == []
    assert text(functions.frames(ANOTHER)) == "Hello"


def test_a_replay_reaches_the_connection_that_asked_for_it_and_not_the_one_that_the_answer_goes_to(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    for session_id in (functions.accepted("websocket"), functions.accepted("url")):
        answer = Attempt(session_id).answer("Hello")
        assert functions.delivered(message(session_id, answer, connection_id=ANOTHER)) == []
        assert functions.api.raw(ANOTHER)[-3:] == [frame.json for frame in answer]
    assert functions.api.raw(CLIENT) == []


def test_a_reply_reaches_its_connection_whatever_session_there_is(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    document = {"type": "rejected", "requestId": "r-1", "error": {"code": "not_found"}}
    assert functions.delivered(reply(CLIENT, document)) == []
    assert functions.api.messages(CLIENT) == [document]


def test_a_heartbeat_keeps_the_connection_open_and_is_none_of_appsyncs(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    pushed, published = functions.accepted(), functions.accepted("appsync")
    assert functions.delivered(message(pushed, []), message(published, [])) == []
    assert functions.api.messages(CLIENT) == [{"type": "heartbeat", "sessionId": pushed}]
    assert functions.graphql.endpoint.requests == []


@pytest.mark.parametrize(
    ("name", "path"),
    [("websocket", "websocket"), ("appsync", "appsync"), ("replay", "appsync"), ("heartbeat", "websocket")],
)
def test_the_sample_events_are_delivered(functions_with: FunctionsFactory, name: str, path: Any) -> None:
    functions = functions_with()
    functions.forget(SAMPLE_SESSION)
    functions.accepted(path, session_id=SAMPLE_SESSION, connection_id=SAMPLE_CONNECTION)
    assert functions.delivered(*sample("deliver", name)["Records"]) == []
    received = functions.api.messages(SAMPLE_CONNECTION) or functions.published(SAMPLE_SESSION)
    assert [frame["sessionId"] for frame in received] in ([SAMPLE_SESSION], [SAMPLE_SESSION] * 2)


def test_the_sample_event_of_two_groups_reaches_both(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    functions.forget(SAMPLE_SESSION)
    functions.accepted(session_id=SAMPLE_SESSION)
    functions.accepted(session_id=ANOTHER_SAMPLE_SESSION, connection_id=ANOTHER)
    records = [
        record for name in ("two_groups", "reply", "no_message") for record in sample("deliver", name)["Records"]
    ]
    assert functions.delivered(*records) == []
    assert_whole(functions.frames(CLIENT))
    assert text(functions.frames(CLIENT)) == "Blue light is scattered by the air."
    assert text(functions.frames(ANOTHER)) == " and the sea reflects it."
    assert functions.api.messages(CLIENT)[-1]["type"] == "accepted"


# Order


def test_behind_a_message_that_fails_its_sessions_later_ones_wait_and_other_sessions_do_not(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    failing, healthy = functions.accepted(), functions.accepted(connection_id=ANOTHER)
    first, *rest = messages(failing, "Hel", "lo")
    others = messages(healthy, "Hello")
    # The second message's every try fails, then all is well.
    functions.api.before = lambda connection_id, body: (
        functions.api.always(CLIENT, BROKEN) if connection_id == CLIENT and b'"Hel"' in body else None
    )
    mixed = [first, others[0], rest[0], others[1], rest[1], others[2], rest[2]]
    assert functions.delivered(*mixed) == ids(rest)
    assert [frame["type"] for frame in functions.frames(CLIENT)] == ["start"]
    assert text(functions.frames(ANOTHER)) == "Hello"
    functions.api.before = lambda connection_id, body: None
    functions.api.always(CLIENT, None)
    assert functions.delivered(*rest) == []
    assert_whole(functions.frames(CLIENT))
    assert text(functions.frames(CLIENT)) == "Hello"


def test_a_message_of_which_half_was_delivered_comes_back_whole_and_repeats_its_bytes(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    answer = Attempt(session_id).answer("Hello")
    record = message(session_id, answer)
    functions.api.before = lambda connection_id, body: (
        functions.api.always(CLIENT, BROKEN) if b"Hello" in body else None
    )
    assert functions.delivered(record) == ids([record])
    functions.api.before = lambda connection_id, body: None
    functions.api.always(CLIENT, None)
    assert functions.delivered(record) == []
    received = functions.api.raw(CLIENT)
    assert received == [answer[0].json, *(frame.json for frame in answer)]


@pytest.mark.parametrize("faults", [[BROKEN], [THROTTLED] * 3, [LOST_ANSWER]], ids=["once", "throttled", "lost answer"])
def test_what_does_not_get_through_at_once_gets_through_without_coming_back(
    functions_with: FunctionsFactory, faults: list[Any]
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    functions.api.fails(CLIENT, *faults)
    assert functions.delivered(*messages(session_id, "Hello")) == []
    once_each = [json.loads(body) for body in dict.fromkeys(functions.api.raw(CLIENT))]
    assert_whole(once_each)
    assert functions.hides.seconds == {}


def test_messages_come_back_soon_and_then_later_and_never_much_later(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    functions.api.always(CLIENT, BROKEN)
    pauses = []
    for receives in (1, 2, 3, 4, 5, 6, 300):
        first, second = messages(session_id, receives=receives)
        assert functions.delivered(first, second) == ids([first, second])
        # The group stays locked until all of its messages are visible.
        assert functions.hides.seconds[first["receiptHandle"]] == functions.hides.seconds[second["receiptHandle"]]
        pauses.append(functions.hides.seconds[first["receiptHandle"]])
    assert pauses == [1, 2, 4, 8, 10, 10, 10]


def test_a_queue_that_does_not_answer_loses_nothing(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    functions.api.always(CLIENT, BROKEN)
    functions.hides.fails = REFUSED
    records = messages(session_id, "Hello")
    assert functions.delivered(*records) == ids(records)


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_two_failures_on_a_path_spare_the_rest_of_the_batch_and_the_other_path_goes_on(
    functions_with: FunctionsFactory, path: Any
) -> None:
    """A service that is silent would use the function's time up."""
    functions = functions_with()
    other: Any = "appsync" if path == "websocket" else "websocket"
    broken = [functions.accepted(path, connection_id=f"client-{number}") for number in range(5)]
    healthy = functions.accepted(other, connection_id=ANOTHER)
    for number in range(5):
        functions.api.always(f"client-{number}", BROKEN)
    if path == "appsync":
        functions.graphql.always(BROKEN)
    records = [messages(session_id)[0] for session_id in broken]
    assert functions.delivered(*records, *messages(healthy, "Hello")) == ids(records)
    received = functions.api.endpoint.requests if path == "websocket" else functions.graphql.endpoint.requests
    tries = [json.loads(request.body) for request in received]
    tried = [frame.get("sessionId") or frame["variables"]["sessionId"] for frame in tries]
    assert set(tried) - {healthy} == set(broken[:2])
    # The second one was tried once: the first one's tries have shown how things are.
    assert tried.count(broken[0]) > tried.count(broken[1]) == 1
    assert text(functions.frames(ANOTHER) + functions.published(healthy)) == "Hello"


def test_while_the_table_is_out_everything_comes_back(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    sessions = [functions.accepted(connection_id=f"client-{number}") for number in range(4)]
    records = [record for session_id in sessions for record in messages(session_id)]
    functions.table.unreachable = True
    looked = len(functions.table.calls)
    assert functions.delivered(*records) == ids(records)
    # A table that is silent would use the function's time up.
    assert len(functions.table.calls) - looked == 2
    functions.table.unreachable = False
    assert functions.delivered(*records) == []


# A queue that doesn't keep up


def writes(functions: Functions) -> int:
    """Count what was written into sessions' records."""
    return len(functions.table.called("update_item"))


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_a_worker_whose_frames_had_to_wait_is_told_once(functions_with: FunctionsFactory, path: Any) -> None:
    functions = functions_with()
    session_id = functions.accepted(path)
    claim, _ = functions.taken(session_id)
    frames = Attempt(session_id).answer("one ", "two ", "three ", "four")
    in_time, *late = [
        message(session_id, [frame], waited=0.4 if not index else 5.0) for index, frame in enumerate(frames)
    ]
    before = writes(functions)
    assert functions.delivered(in_time) == []
    assert not functions.sessions.instructions(claim).behind
    assert functions.delivered(*late[:2]) == []
    assert functions.sessions.instructions(claim).behind
    assert functions.delivered(*late[2:]) == []
    assert writes(functions) - before == 1
    assert text(functions.frames(CLIENT) + functions.published(session_id)) == "one two three four"


def test_what_waited_for_the_function_to_start_says_nothing_of_the_queue(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    functions.deliver.ready_at = time()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    assert functions.delivered(message(session_id, Attempt(session_id).answer("Hi"), waited=60.0)) == []
    assert not functions.sessions.instructions(claim).behind


def test_a_message_that_waits_because_it_failed_says_nothing_of_the_queue(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    assert functions.delivered(message(session_id, Attempt(session_id).answer("Hi"), receives=2, waited=60.0)) == []
    assert not functions.sessions.instructions(claim).behind


def test_a_replay_that_had_to_wait_holds_up_the_answer_behind_it_and_counts(functions_with: FunctionsFactory) -> None:
    """Both have the session's group."""
    functions = functions_with()
    session_id = functions.accepted("appsync")
    claim, stored = functions.taken(session_id, "Hello")
    assert functions.delivered(message(session_id, stored, connection_id=ANOTHER, waited=5.0)) == []
    assert functions.sessions.instructions(claim).behind


def test_of_frames_that_wait_behind_their_sessions_end_nobody_is_told(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    answer = Attempt(session_id).answer("Hello")
    functions.sessions.settle(claim, "complete", answer[-1])
    before = writes(functions)
    assert functions.delivered(*(message(session_id, [frame], waited=5.0) for frame in answer)) == []
    # Each write is paid for, the one that changes nothing too.
    assert writes(functions) == before
    assert_whole(functions.frames(CLIENT))


def test_a_worker_that_could_not_be_told_costs_no_frame(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    functions.taken(session_id)

    def out(operation: str) -> None:
        functions.table.unreachable = operation == "update_item"

    functions.table.before = out
    answer = Attempt(session_id).answer("one ", "two")
    before = writes(functions)
    assert functions.delivered(*(message(session_id, [frame], waited=5.0) for frame in answer)) == []
    # A table that is silent would use the function's time up.
    assert writes(functions) - before == 1
    assert_whole(functions.frames(CLIENT))


def test_a_worker_whose_frames_had_to_wait_sends_fewer_and_longer_ones(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the queue through the record to the worker; the interval is longer here than the test."""
    monkeypatch.setattr(sns, "INTERVAL_SECONDS", 10 * PATIENCE_SECONDS)
    model = Talker()
    functions = functions_with(model)
    session_id = functions.accepted(delivery="queued")
    with ThreadPoolExecutor(1) as worker:
        generated = worker.submit(functions.generate, session_id)
        for said in ("one ", "two "):
            model.says(said)
            functions.topics.await_queued(lambda queued, said=said: text_of(queued).endswith(said))  # type: ignore[misc] # the loop's
        late = [queued.record(sent_at=time() - 5.0) for queued in functions.topics.queued]
        assert functions.delivered(*late) == []
        looks = len(functions.table.called("get_item"))
        eventually(lambda: len(functions.table.called("get_item")) > looks + 2)
        # The next one still waits for nothing: it is long since the last one.
        model.says("three ")
        functions.topics.await_queued(lambda queued: text_of(queued).endswith("three "))
        model.says("four ", "five ", "six")
        model.finishes()
        assert generated.result(PATIENCE_SECONDS) == "ended"
    texts = [text_of([queued]) for queued in functions.topics.queued]
    assert [each for each in texts if each] == ["one ", "two ", "three ", "four five six"]


def text_of(queued: list[Published]) -> str:
    return text([json.loads(sealed.json) for sealed in frames_of(queued)])


# What will never be delivered


@pytest.mark.parametrize(("path", "fault"), [("websocket", FORBIDDEN), ("appsync", UNAUTHORIZED)])
def test_a_message_that_is_refused_is_dropped_in_the_end_and_counted(
    functions_with: FunctionsFactory, capsys: pytest.CaptureFixture[str], path: Any, fault: Any
) -> None:
    functions = functions_with()
    session_id = functions.accepted(path)
    start, *rest = Attempt(session_id).answer("Hello")
    functions.graphql.always(fault)
    functions.api.always(CLIENT, fault)
    for receives in (1, 5):
        record = message(session_id, [start], receives=receives)
        assert functions.delivered(record) == ids([record])
    assert "DroppedMessages" not in capsys.readouterr().out
    assert functions.delivered(message(session_id, [start], receives=6)) == []
    [metric] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "DroppedMessages" in line]
    assert (metric["DroppedMessages"], metric["path"], metric["session_id"]) == ([1.0], path, session_id)
    functions.graphql.always(None)
    functions.api.always(CLIENT, None)
    assert functions.delivered(message(session_id, rest, receives=3)) == []
    assert text(functions.frames(CLIENT) + functions.published(session_id)) == "Hello"


def test_a_message_that_only_fails_is_never_dropped(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    functions.api.always(CLIENT, BROKEN)
    record = messages(session_id, receives=299)[0]
    assert functions.delivered(record) == ids([record])


def test_a_client_that_is_gone_is_noted_for_its_worker_and_holds_nothing_up(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    functions.api.close(CLIENT)
    assert functions.delivered(*messages(session_id, "Hello")) == []
    assert functions.sessions.instructions(claim).gone
    # Back on another connection it is there again.
    functions.moved(session_id, ANOTHER)
    assert not functions.sessions.instructions(claim).gone
    assert functions.delivered(*messages(session_id, "Hello")) == []
    assert text(functions.frames(ANOTHER)) == "Hello"


def test_a_client_that_was_back_elsewhere_by_then_is_not_taken_for_gone(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    functions.api.close(CLIENT)
    functions.api.before = lambda connection_id, body: functions.moved(session_id, ANOTHER)
    assert functions.delivered(messages(session_id)[0]) == []
    assert not functions.sessions.instructions(claim).gone


def test_a_client_that_is_gone_and_could_not_be_noted_is_found_gone_once_more(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id = functions.accepted()

    def out(operation: str) -> None:
        functions.table.unreachable = operation == "update_item"

    functions.api.close(CLIENT)
    functions.table.before = out
    record = messages(session_id)[0]
    assert functions.delivered(record) == ids([record])


def test_a_replay_whose_client_is_gone_says_nothing_of_the_answers_own_client(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    functions.api.close(ANOTHER)
    assert functions.delivered(message(session_id, Attempt(session_id).answer("Hi"), connection_id=ANOTHER)) == []
    assert not functions.sessions.instructions(claim).gone


def test_frames_of_a_session_that_has_expired_or_is_nobodys_to_push_are_done_with(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    over_http = functions.accepted("url")
    assert functions.delivered(*messages("9f0b2c4e-0000-4000-8000-000000000000"), *messages(over_http)) == []
    assert functions.api.endpoint.requests == functions.graphql.endpoint.requests == []


NO_MESSAGES = [
    "no JSON",
    "[]",
    "{}",
    "null",
    '{"type": "frames", "sessionId": "mark", "frames": []}',
    '{"type": "frames", "sessionId": "6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3a", "frames": [{"type": "odd"}]}',
    '{"type": "frames", "sessionId": "6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3a", "frames": [7]}',
    '{"type": "reply", "reply": {}}',
]


@pytest.mark.parametrize("body", NO_MESSAGES)
def test_a_message_that_is_none_of_ours_does_no_harm(functions_with: FunctionsFactory, body: str) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    odd = Published(session_id, "odd", body).record()
    assert functions.delivered(odd, *messages(session_id, "Hello")) == []
    assert_whole(functions.frames(CLIENT))


def test_frames_of_one_session_cannot_come_in_the_name_of_another(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, victim = functions.accepted(connection_id=ANOTHER), functions.accepted()
    frames = Attempt(session_id).answer("Hello")
    assert functions.delivered(message(victim, frames)) == []
    assert functions.api.endpoint.requests == []


# What is logged


def test_no_log_line_has_text_of_an_answer(functions_with: FunctionsFactory, capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger(telemetry.SERVICE)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        with log_lines() as lines:
            unhappy(functions_with())
    finally:
        logger.setLevel(level)
    logged = "\n".join([*lines, *capfd.readouterr()])
    for said in (
        "message is none of ours",
        "session has expired",
        "session not found out",
        "message not delivered yet",
        "message dropped",
        "nobody there to deliver to",
        "messages not hidden",
    ):
        assert said in logged
    assert MARK not in logged


def unhappy(functions: Functions) -> None:
    """Have everything go wrong that can."""
    for session_id in (functions.accepted("websocket"), functions.accepted("appsync")):
        for fault in (FORBIDDEN, UNAUTHORIZED, BROKEN):
            for receives in (1, 6):
                functions.api.always(CLIENT, fault)
                functions.graphql.always(fault)
                functions.hides.fails = REFUSED if receives == 6 else None
                functions.delivered(*messages(session_id, MARK, receives=receives), reply(CLIENT, {"text": MARK}))
    functions.delivered(*messages("9f0b2c4e-0000-4000-8000-000000000000", MARK))
    functions.delivered(Published("group", "odd", MARK).record())
    session_id = functions.accepted()
    functions.api.close(CLIENT)
    functions.delivered(*messages(session_id, MARK), reply(CLIENT, {"text": MARK}))
    functions.table.unreachable = True
    functions.delivered(*messages(session_id, MARK))


def test_a_batch_that_takes_too_long_is_left_to_the_next_invocation_with_what_is_done_done(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    records = messages(session_id, "one ", "two ", "three")
    left = iter([25.0, 25.0, 7.9])
    context = Context(aws_request_id="deliver-slow")
    monkeypatch.setattr(context, "get_remaining_time_in_millis", lambda: next(left) * 1000)
    result = functions.deliver.handler({"Records": records}, context)
    assert [failure["itemIdentifier"] for failure in result["batchItemFailures"]] == ids(records[2:])
    assert text(functions.frames(CLIENT)) == "one "
    assert functions.delivered(*records[2:]) == []
    assert_whole(functions.frames(CLIENT))


def test_a_batch_of_one_session_asks_the_table_once(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    asked: list[str] = []
    find = functions.deliver.sessions.find

    def noted(name: str) -> Any:
        asked.append(name)
        return find(name)

    monkeypatch.setattr(functions.deliver.sessions, "find", noted)
    assert functions.delivered(*messages(session_id, "one ", "two ")) == []
    assert asked == [session_id]
    # What it knows doesn't outlive the batch: the client may move.
    functions.moved(session_id, ANOTHER)
    assert functions.delivered(*messages(session_id, "again")) == []
    assert text(functions.frames(ANOTHER)) == "again"
