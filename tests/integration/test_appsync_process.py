import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import pairwise
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes import topics_api
from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import BROKEN, LOST_ANSWER, NO_ANSWER
from tests.fakes.graphql_api import THROTTLED, UNAUTHORIZED, failing
from tests.fakes.observed import PATIENCE_SECONDS as OBSERVED_PATIENCE_SECONDS
from tests.fakes.prompts import MAX_RECEIVES
from tests.function_module import Context
from tests.integration.appsync_functions import (
    FUNCTION_SECONDS,
    Cloud,
    Functions,
    FunctionsFactory,
    appsync_cloud,
    appsync_functions,
)
from tests.integration.scripted_endpoint import PATIENCE_SECONDS, Exchange, refused, streamed
from tests.integration.websocket_functions import CLAUDE, SUB, Talker, assert_whole, text
from tests.unit.bedrock_messages import TEXTS, anthropic_answer, exception
from tokenstream.lease import RENEW_SECONDS
from tokenstream.prompt_queue import HOLD_SECONDS
from tokenstream.session import LEASE_SECONDS
from tokenstream.sinks.appsync import MAX_FRAME_BYTES, AppSyncSink
from tokenstream.sinks.failover import CIRCUIT_SECONDS

TEXT = "".join(TEXTS)
ANSWER = streamed(anthropic_answer())
BROKEN_OFF = streamed([*anthropic_answer()[:4], exception("throttlingException")])
"""Some text, and then a fault that may pass."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with appsync_cloud() as cloud:
        yield cloud


@pytest.fixture
def functions_with(cloud: Cloud) -> Iterator[FunctionsFactory]:
    with appsync_functions(cloud) as start:
        yield start


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the source's own tries."""
    monkeypatch.setattr("tokenstream.sources.bedrock.random", lambda: -1.0)


def put_again(functions: Functions, session_id: str, times: int = 1) -> None:
    """Put a session's message on the queue once more, as a sender that heard no answer does."""
    for _ in range(times):
        functions.prompts.put(json.dumps({"sessionId": session_id, "request": {"prompt": "Hi"}}))


def done(working: "Future[bool]") -> bool:
    return working.result(OBSERVED_PATIENCE_SECONDS)


# One answer


def test_an_answer_reaches_subscribers_to_the_character_with_every_field(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    assert functions.deliver()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert text(frames) == TEXT
    assert frames[0] == {
        "type": "start",
        "sessionId": session_id,
        "attempt": 1,
        "sequence": 1,
        "model": CLAUDE,
        "path": "appsync",
        "delivery": "direct",
    }
    assert (frames[-1]["type"], frames[-1]["stopReason"]) == ("complete", "end_turn")
    assert frames[-1]["usage"] == {"inputTokens": 11, "outputTokens": 22}
    events = functions.api.published(session_id)
    assert {event["owner"] for event in events} == {SUB}
    assert "".join(event["token"] or "" for event in events) == TEXT
    assert [event["isComplete"] for event in events] == [False] * (len(events) - 1) + [True]
    assert functions.status(session_id) == "complete"
    assert functions.stored(session_id) == frames
    assert functions.prompts.count() == 0


def test_the_request_is_the_one_that_was_asked(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    functions.ask(AWKWARD_TEXT + "\ufffe", system="Brief.", options={"maxTokens": 7, "stopSequences": ["\n."]})
    assert functions.deliver()
    body = json.loads(functions.model.requests[0].body)
    assert body["messages"][0]["content"] == AWKWARD_TEXT + "\ufffe"
    assert (body["max_tokens"], body["stop_sequences"]) == (7, ["\n."])


def test_a_text_that_breaks_queries_arrives_exact(functions_with: FunctionsFactory) -> None:
    texts = [AWKWARD_TEXT, '"', "\\", "\n", "\x00", "\u202e\u05e9\u05dc", "👩\u200d🚀", '") { owner } }', "\ufffe"]
    functions = functions_with(streamed(anthropic_answer(texts)))
    session_id = functions.ask()
    assert functions.deliver()
    assert text(functions.frames(session_id)) == "".join(texts)
    assert "".join(event["token"] or "" for event in functions.api.published(session_id)) == "".join(texts)
    assert len(functions.api.queries) == 1


def test_the_first_token_arrives_while_the_model_still_thinks(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("Hel")
    functions.await_text(session_id, "Hel")
    model.says("lo")
    model.finishes()
    assert done(working)
    assert text(functions.frames(session_id)) == "Hello"


def test_tokens_that_pile_up_while_appsync_is_busy_leave_joined(functions_with: FunctionsFactory) -> None:
    model, said = Talker(), Event()
    functions = functions_with(model)
    session_id = functions.ask()
    functions.api.before = lambda variables: said.wait(PATIENCE_SECONDS)
    words = [f"{number} " for number in range(50)]
    model.says(*words)
    model.then(said.set)
    model.finishes()
    assert functions.deliver()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert text(frames) == "".join(words)
    assert len(frames) < len(words)


def test_no_frame_is_longer_than_a_subscriber_can_get_and_none_ends_within_a_character(
    functions_with: FunctionsFactory,
) -> None:
    long = '👩‍👩‍👧é\x00"\u2028' * 12_000 + "!"
    functions = functions_with(streamed(anthropic_answer(["Long: ", long])))
    session_id = functions.ask()
    assert functions.deliver()
    sizes = [len(event["frame"].encode()) for event in functions.api.published(session_id)]
    assert max(sizes) <= MAX_FRAME_BYTES
    assert sum(sizes) > 5 * MAX_FRAME_BYTES
    assert_whole(functions.frames(session_id))
    assert text(functions.frames(session_id)) == "Long: " + long


def test_many_answers_of_one_warm_worker_need_one_connection_each_way(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER, ANSWER, ANSWER)
    for _ in range(3):
        functions.ask()
        assert functions.deliver()
    assert functions.model.connections == 1
    assert functions.api.endpoint.connections == 1


# Delivered more than once


def test_a_message_that_is_on_the_queue_three_times_is_one_generation(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    put_again(functions, session_id, 2)
    assert [functions.deliver() for _ in range(3)] == [True, True, True]
    assert len(functions.model.requests) == 1
    assert_whole(functions.frames(session_id))
    assert functions.prompts.count() == 0


def test_a_message_that_comes_three_times_at_once_is_one_generation(
    functions_with: FunctionsFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    put_again(functions, session_id, 2)
    working = functions.delivering(Context(aws_request_id="first", seconds_left=FUNCTION_SECONDS))
    assert model.called.wait(PATIENCE_SECONDS)
    capsys.readouterr()
    before = functions.table.record(session_id)["attempt"]
    # One that is taken comes back when the worker that has it must be done.
    for seconds_left in (600.0, 432.1):
        functions.sqs.calls.clear()
        assert not functions.deliver(Context(aws_request_id="another", seconds_left=seconds_left))
        assert int(seconds_left) in functions.sqs.hidden()
    assert functions.table.record(session_id)["attempt"] == before
    # It is no answer that ended, in any metric.
    assert "_aws" not in capsys.readouterr().out
    model.says("Hello")
    model.finishes()
    assert done(working)
    functions.prompts.all_come_back()
    assert [functions.deliver(), functions.deliver()] == [True, True]
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert text(frames) == "Hello"
    assert len(functions.model.requests) == 1
    assert functions.prompts.count() == 0


def test_workers_that_race_for_a_session_generate_it_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    put_again(functions, session_id, 2)
    working = [functions.delivering() for _ in range(3)]
    results = [done(worker) for worker in working]
    assert any(results)
    assert len(functions.model.requests) == 1
    assert_whole(functions.frames(session_id))
    assert functions.table.record(session_id)["attempt"]["N"] == "1"


def test_a_message_that_comes_again_behind_its_answer_changes_nothing(functions_with: FunctionsFactory) -> None:
    """Its deletion was lost."""
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    record = functions.prompts.record()
    assert record is not None
    context = Context(aws_request_id="worker", seconds_left=FUNCTION_SECONDS)
    for _ in range(2):
        assert functions._process({"Records": [record]}, context) == {"batchItemFailures": []}
    assert len(functions.model.requests) == 1
    assert_whole(functions.frames(session_id))


def test_a_message_whose_session_is_not_there_any_more_is_done_with(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    put_again(functions, str(uuid4()))
    assert functions.deliver()
    assert functions.model.requests == []
    assert functions.api.events == []


def test_a_worker_that_died_is_followed_by_another_attempt_and_the_whole_text(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    functions.dies(session_id, "Hel", "lo that was lost")
    assert functions.deliver()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert frames[0]["attempt"] == 2
    assert text(frames) == TEXT
    assert functions.stored(session_id) == frames
    assert functions.status(session_id) == "complete"


def test_a_worker_whose_lease_still_lasts_is_not_overtaken(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    functions.dies(session_id, "Hel", lease_left=LEASE_SECONDS)
    assert not functions.deliver()
    assert functions.model.requests == []
    assert functions.table.record(session_id)["attempt"]["N"] == "1"


def test_a_worker_that_was_overtaken_says_no_more_and_leaves_its_message(functions_with: FunctionsFactory) -> None:
    """Its lease ran out, whatever held it up. The one that has the session by now may die as well."""
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("Hel")
    functions.await_text(session_id, "Hel")
    later = functions.appsync_process.time() + LEASE_SECONDS + 1
    functions.sessions.claim(session_id, "another", later)
    model.awaits_leaving()
    assert not done(working)
    assert model.left.wait(PATIENCE_SECONDS)
    assert functions.sqs.hidden()[-1] == HOLD_SECONDS
    assert text(functions.frames(session_id)) == "Hel"
    assert "complete" not in {frame["type"] for frame in functions.frames(session_id)}
    assert functions.status(session_id) == "running"


def test_an_answer_whose_end_could_not_be_written_in_time_is_generated_again_and_not_lost(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table doesn't answer until the lease has run out: nobody was told of an end."""
    model, clock = Talker(), FakeClock()
    functions = functions_with(model, ANSWER)
    clock.now = functions.appsync_process.time()
    monkeypatch.setattr(functions.appsync_process, "time", clock)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("Hel")
    functions.await_text(session_id, "Hel")
    functions.table.unreachable = True
    clock.advance(LEASE_SECONDS + 1)
    model.awaits_leaving()
    assert not done(working)
    assert functions.sqs.hidden()[-1] == HOLD_SECONDS
    functions.table.unreachable = False
    functions.prompts.all_come_back()
    assert functions.deliver()
    frames = [frame for frame in functions.frames(session_id) if frame["attempt"] == 2]
    assert_whole(frames)
    assert text(frames) == TEXT
    assert functions.status(session_id) == "complete"


@pytest.mark.parametrize("operation", ["get_item", "update_item"])
def test_a_table_that_is_out_has_the_message_back_within_a_minute(
    functions_with: FunctionsFactory, operation: str
) -> None:
    """And not when the queue's own time is up, which is longer than any function's."""
    functions = functions_with(ANSWER)
    session_id = functions.ask()

    def out(called: str) -> None:
        functions.table.unreachable = called == operation

    functions.table.before = out
    with pytest.raises(Exception):  # noqa: B017, PT011 - Lambda counts it and logs what it is
        functions.deliver()
    assert functions.sqs.hidden() == [HOLD_SECONDS]
    functions.table.before = lambda operation: None
    functions.table.unreachable = False
    functions.prompts.all_come_back()
    assert functions.deliver()
    assert text(functions.frames(session_id)) == TEXT


def test_a_worker_that_breaks_has_its_message_back_behind_its_lease(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with(ANSWER, ANSWER)
    session_id = functions.ask()

    def broken(*frames: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(AppSyncSink, "send", broken)
        with pytest.raises(ZeroDivisionError):
            functions.deliver()
    assert functions.sqs.hidden()[-1] == HOLD_SECONDS > LEASE_SECONDS
    functions.prompts.all_come_back()
    later = functions.appsync_process.time() + HOLD_SECONDS
    monkeypatch.setattr(functions.appsync_process, "time", lambda: later)
    assert functions.deliver()
    assert_whole(functions.frames(session_id))
    assert functions.frames(session_id)[0]["attempt"] == 2


# The message, while it is worked on


def test_a_message_is_hidden_for_a_minute_and_again_with_the_lease(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clock = Talker(), FakeClock()
    functions = functions_with(model)
    monkeypatch.setattr(functions.appsync_process, "monotonic", clock)
    session_id = functions.ask()
    record = functions.prompts.record()
    assert record is not None
    hides = threadsafe_hides(functions)
    working = functions._pool.submit(
        functions.prompts.deliver_record, lambda event: functions._process(event, None), record
    )
    model.says("Hel")
    functions.await_text(session_id, "Hel")
    # With the claim, at the first look, and each time that the lease is renewed.
    hides(2)
    for count in (3, 4, 5):
        clock.advance(RENEW_SECONDS)
        hides(count)
    model.finishes()
    assert done(working)
    assert functions.sqs.hidden() == [HOLD_SECONDS] * 5
    handles = {call["ReceiptHandle"] for operation, call in functions.sqs.calls if operation.startswith("change")}
    assert handles == {record["receiptHandle"]}


def threadsafe_hides(functions: Functions) -> Callable[[int], None]:
    """Give what waits until the message was hidden so many times."""
    reached: dict[int, Event] = {count: Event() for count in range(1, 10)}
    seen = iter(range(1, 10))

    def count_one(operation: str) -> None:
        if operation == "change_message_visibility":
            reached[next(seen)].set()

    functions.sqs.before = count_one

    def wait(count: int) -> None:
        assert reached[count].wait(PATIENCE_SECONDS)

    return wait


def test_a_message_is_hidden_before_the_model_is_called(functions_with: FunctionsFactory) -> None:
    """A worker that dies before its first look has its message back as soon."""
    hidden: list[list[int]] = []

    def answer(exchange: Exchange) -> None:
        hidden.append(functions.sqs.hidden())
        ANSWER(exchange)

    functions = functions_with(answer)
    functions.ask()
    assert functions.deliver()
    assert hidden[0][0] == HOLD_SECONDS


def test_a_queue_that_fails_meanwhile_does_not_hurt_the_answer(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    record = functions.prompts.record()
    assert record is not None
    functions.sqs.unreachable = True
    working = functions._pool.submit(
        functions.prompts.deliver_record, lambda event: functions._process(event, None), record
    )
    model.says("Hel")
    functions.await_text(session_id, "Hel")
    model.says("lo")
    model.finishes()
    assert done(working)
    assert_whole(functions.frames(session_id))
    assert text(functions.frames(session_id)) == "Hello"
    assert functions.status(session_id) == "complete"


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "given up"])
@pytest.mark.usefixtures("no_pauses")
def test_a_message_that_could_not_be_hidden_comes_back_all_the_same(
    functions_with: FunctionsFactory, taken: bool
) -> None:
    functions = functions_with(BROKEN_OFF)
    session_id = functions.ask()
    if taken:
        functions.dies(session_id, lease_left=LEASE_SECONDS)
    record = functions.prompts.record()
    assert record is not None
    functions.sqs.unreachable = True
    assert not functions.prompts.deliver_record(lambda event: functions._process(event, None), record)


# The model fails

PASSING: dict[str, list[Any]] = {
    "throttled": [refused(429, "ThrottlingException")] * 3,
    "unavailable": [refused(503, "ServiceUnavailableException")] * 3,
    "hung up": [Exchange.hang_up] * 3,
    "in mid-stream": [BROKEN_OFF],
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.usefixtures("no_pauses")
def test_a_fault_of_the_models_that_passes_is_followed_by_an_attempt_that_has_the_whole_text(
    functions_with: FunctionsFactory, fault: list[Any]
) -> None:
    functions = functions_with(*fault, ANSWER)
    session_id = functions.ask()
    assert not functions.deliver()
    # Nobody was told of an end, and the next attempt follows soon.
    assert {"complete", "error"}.isdisjoint(frame["type"] for frame in functions.frames(session_id))
    assert functions.status(session_id) == "recovering"
    assert functions.sqs.hidden()[-1] == functions.appsync_process.NEXT_ATTEMPT_SECONDS
    functions.prompts.all_come_back()
    assert functions.deliver()
    frames = [frame for frame in functions.frames(session_id) if frame["attempt"] == 2]
    assert_whole(frames)
    assert text(frames) == TEXT
    assert functions.stored(session_id) == frames
    assert functions.status(session_id) == "complete"


@pytest.mark.usefixtures("no_pauses")
def test_a_fault_that_does_not_pass_is_left_to_the_recovery_once_the_prompts_deliveries_are_used_up(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(*[BROKEN_OFF] * MAX_RECEIVES)
    session_id = functions.ask()
    for _ in range(MAX_RECEIVES):
        assert not functions.deliver()
        functions.prompts.all_come_back()
    assert {"complete", "error"}.isdisjoint(frame["type"] for frame in functions.frames(session_id))
    session = functions.sessions.get(session_id, SUB)
    assert (session.status, session.failure, session.attempt) == ("recovering", "throttled", MAX_RECEIVES)
    functions.prompts.await_dead()
    assert functions.prompts.count() == 0


@pytest.mark.usefixtures("no_pauses")
def test_where_prompts_are_not_kept_a_fault_that_does_not_pass_ends_the_answer_at_the_last_delivery_with_one_error(
    functions_with: FunctionsFactory,
) -> None:
    """The recovery could make no attempt of its own."""
    functions = functions_with(*[BROKEN_OFF] * MAX_RECEIVES, STORE_ANSWERS="false")
    session_id = functions.ask()
    for _ in range(MAX_RECEIVES - 1):
        assert not functions.deliver()
        functions.prompts.all_come_back()
    assert functions.deliver()
    frames = [frame for frame in functions.frames(session_id) if frame["attempt"] == MAX_RECEIVES]
    assert_whole(frames)
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == ("throttled", True)
    terminal = [frame for frame in functions.frames(session_id) if frame["type"] in {"complete", "error"}]
    assert len(terminal) == 1
    assert functions.status(session_id) == "failed"
    assert (functions.prompts.count(), functions.prompts.count(dead=True)) == (0, 0)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refused(400, "ValidationException"), "model_error"),
        (refused(403, "AccessDeniedException"), "model_access"),
        (refused(404, "ResourceNotFoundException"), "model_error"),
    ],
    ids=["invalid", "no access", "no such model"],
)
def test_a_fault_of_the_models_that_lasts_ends_the_answer_at_once(
    functions_with: FunctionsFactory, fault: Any, code: str
) -> None:
    functions = functions_with(fault)
    session_id = functions.ask()
    assert functions.deliver()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == (code, False)
    assert functions.status(session_id) == "failed"
    assert functions.stored(session_id) == frames


@pytest.mark.usefixtures("no_pauses")
def test_an_attempt_that_could_not_be_released_is_followed_when_its_lease_has_run_out(
    functions_with: FunctionsFactory,
) -> None:
    """Followed at once, the next one would find it taken and stay away for as long as a function may take."""
    functions = functions_with(BROKEN_OFF)
    session_id = functions.ask()

    def out(operation: str) -> None:
        functions.table.unreachable = operation == "update_item" and functions.status(session_id) == "running"

    functions.table.before = out
    assert not functions.deliver()
    functions.table.before = lambda operation: None
    functions.table.unreachable = False
    assert functions.status(session_id) == "running"
    assert functions.sqs.hidden()[-1] == HOLD_SECONDS > LEASE_SECONDS


# The client stops it


def test_a_cancel_before_the_start_calls_no_model_and_tells_so(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    functions.cancel(session_id)
    assert functions.deliver()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert [frame["type"] for frame in frames] == ["start", "complete"]
    assert frames[-1]["stopReason"] == "cancelled"
    assert functions.model.requests == []
    assert functions.status(session_id) == "cancelled"
    # The next answer is none the worse for it.
    other = functions.ask()
    assert functions.deliver()
    assert text(functions.frames(other)) == TEXT


@pytest.mark.usefixtures("no_pauses")
def test_a_cancel_between_two_attempts_calls_no_model_again(functions_with: FunctionsFactory) -> None:
    functions = functions_with(BROKEN_OFF)
    session_id = functions.ask()
    assert not functions.deliver()
    functions.cancel(session_id)
    functions.prompts.all_come_back()
    assert functions.deliver()
    frames = [frame for frame in functions.frames(session_id) if frame["attempt"] == 2]
    assert_whole(frames)
    assert frames[-1]["stopReason"] == "cancelled"
    assert len(functions.model.requests) == 1
    assert functions.status(session_id) == "cancelled"


def test_a_cancel_of_an_answer_whose_worker_died_calls_no_model_again(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.dies(session_id, "Hel")
    functions.cancel(session_id)
    assert functions.deliver()
    assert functions.frames(session_id)[-1]["stopReason"] == "cancelled"
    assert functions.status(session_id) == "cancelled"


def test_a_cancel_closes_the_models_stream_and_ends_the_answer(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("Hel")
    model.awaits_leaving()
    functions.await_text(session_id, "Hel")
    functions.cancel(session_id)
    assert done(working)
    assert model.left.wait(PATIENCE_SECONDS)
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert frames[-1]["stopReason"] == "cancelled"
    assert text(frames) == "Hel"
    assert functions.status(session_id) == "cancelled"


def test_the_end_of_the_functions_time_ends_the_answer_in_order(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clock = Talker(), FakeClock()
    functions = functions_with(model)
    monkeypatch.setattr(functions.appsync_process, "monotonic", clock)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("Hel")
    model.awaits_leaving()
    functions.await_text(session_id, "Hel")
    clock.advance(FUNCTION_SECONDS - functions.appsync_process.ENDING_SECONDS)
    assert done(working)
    assert model.left.wait(PATIENCE_SECONDS)
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert frames[-1]["stopReason"] == "deadline"
    assert functions.status(session_id) == "complete"


# The way to the subscribers fails


@pytest.mark.parametrize(
    "faults",
    [[THROTTLED], [BROKEN, THROTTLED, NO_ANSWER], [failing("ThrottlingException", 429)] * 4],
    ids=["once", "again and again", "for a while"],
)
def test_what_does_not_get_through_at_once_gets_through_in_order(
    functions_with: FunctionsFactory, faults: list[Any]
) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    functions.api.fails(*faults)
    assert functions.deliver()
    assert_whole(functions.frames(session_id))
    assert text(functions.frames(session_id)) == TEXT


def test_a_frame_whose_answer_was_lost_is_repeated_with_its_bytes(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    functions.api.fails(LOST_ANSWER, LOST_ANSWER)
    assert functions.deliver()
    frames = [event["frame"] for event in functions.api.published(session_id)]
    assert len([first for first, second in pairwise(frames) if first == second]) == 2
    once_each = [json.loads(frame) for frame in dict.fromkeys(frames)]
    assert_whole(once_each)
    assert text(once_each) == TEXT


@pytest.mark.parametrize("fault", [BROKEN, UNAUTHORIZED], ids=["out", "refused"])
def test_a_direct_way_that_fails_in_mid_stream_costs_no_character_and_counts_once(
    functions_with: FunctionsFactory, capsys: pytest.CaptureFixture[str], fault: Any
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("one ")
    functions.await_text(session_id, "one ")
    functions.api.always(fault)
    model.says("two ")
    functions.topics.await_queued(lambda messages: len(messages) == 1)
    model.says("three")
    model.finishes()
    assert done(working)
    frames = functions.frames(session_id) + functions.queued(session_id)
    assert_whole(frames)
    assert text(frames) == "one two three"
    assert functions.stored(session_id) == frames
    assert functions.status(session_id) == "complete"
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    [failover] = [metric for metric in metrics if "Failovers" in metric]
    assert (failover["Failovers"], failover["path"], failover["session_id"]) == ([1.0], "appsync", session_id)


def test_while_the_direct_way_is_broken_the_next_streams_are_queued_at_once_and_later_ones_try_again(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(*[ANSWER] * 3)
    functions.ask()
    functions.api.always(UNAUTHORIZED)
    assert functions.deliver()
    tries = len(functions.api.endpoint.requests)
    # The pauses between messages take from it as well.
    functions.clock.advance(CIRCUIT_SECONDS / 2)
    queued = functions.ask()
    assert functions.deliver()
    assert len(functions.api.endpoint.requests) == tries
    assert text(functions.queued(queued)) == TEXT
    functions.api.always(None)
    functions.clock.advance(CIRCUIT_SECONDS / 2)
    direct = functions.ask()
    assert functions.deliver()
    assert functions.queued(direct) == []
    assert text(functions.frames(direct)) == TEXT


@pytest.mark.parametrize(
    ("environment", "asked"),
    [({"DIRECT_SEND": "false", "GRAPHQL_ENDPOINT": ""}, None), ({}, "queued")],
    ids=["by the switch, without an endpoint", "by the request"],
)
def test_an_answer_that_is_to_be_queued_leaves_by_the_topic_as_a_whole(
    functions_with: FunctionsFactory, environment: dict[str, str], asked: str | None
) -> None:
    functions = functions_with(ANSWER, **environment)
    session_id = functions.ask(delivery=asked)
    assert functions.deliver()
    frames = functions.queued(session_id)
    assert_whole(frames)
    assert text(frames) == TEXT
    assert (frames[0]["path"], frames[0]["delivery"]) == ("appsync", "queued")
    assert functions.stored(session_id) == frames
    assert {message.group for message in functions.topics.queued} == {session_id}
    assert functions.api.endpoint.requests == []
    assert functions.status(session_id) == "complete"


@pytest.mark.parametrize("fault", [BROKEN, UNAUTHORIZED], ids=["out", "refused"])
def test_an_answer_that_nobody_can_get_is_stopped_and_kept_for_whoever_asks(
    functions_with: FunctionsFactory, fault: Any
) -> None:
    model = Talker()
    functions = functions_with(model, grace=0.05)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("Hel")
    functions.await_text(session_id, "Hel")
    functions.api.always(fault)
    functions.topics.always(topics_api.BROKEN)
    model.says("lo")
    model.awaits_leaving()
    assert done(working)
    assert model.left.wait(PATIENCE_SECONDS)
    assert text(functions.frames(session_id)) == "Hel"
    assert functions.status(session_id) == "cancelled"
    stored = functions.stored(session_id)
    assert_whole(stored)
    assert text(stored) == "Hello"
    assert stored[-1]["stopReason"] == "cancelled"


def test_an_answer_that_gets_through_again_within_its_grace_goes_on_and_is_whole(
    functions_with: FunctionsFactory,
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    working = functions.delivering()
    model.says("a")
    functions.await_text(session_id, "a")
    functions.api.always(BROKEN)
    functions.topics.always(topics_api.BROKEN)
    model.says("b")
    functions.topics.wait_until(lambda: bool(functions.topics.tries))
    functions.topics.always(None)
    model.says("c")
    model.finishes()
    assert done(working)
    frames = functions.frames(session_id) + functions.queued(session_id)
    assert_whole(frames)
    assert text(frames) == "abc"
    assert frames[-1]["stopReason"] == "end_turn"


def test_an_answer_that_ends_while_its_subscribers_cannot_be_reached_is_not_generated_again(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    functions.api.always(BROKEN)
    functions.topics.always(topics_api.BROKEN)
    assert functions.deliver()
    assert functions.frames(session_id) == functions.queued(session_id) == []
    assert functions.status(session_id) == "complete"
    assert text(functions.stored(session_id)) == TEXT
    assert functions.prompts.count() == 0


def test_where_answers_are_not_stored_they_are_published_all_the_same(functions_with: FunctionsFactory) -> None:
    functions = functions_with(BROKEN_OFF, ANSWER, STORE_ANSWERS="false")
    session_id = functions.ask()
    assert not functions.deliver()
    functions.prompts.all_come_back()
    assert functions.deliver()
    frames = [frame for frame in functions.frames(session_id) if frame["attempt"] == 2]
    assert_whole(frames)
    assert text(frames) == TEXT
    stored = [item for item in functions.table.items() if item["sessionId"]["S"] == session_id]
    assert [item["item"]["S"] for item in stored] == ["session"]
    assert TEXTS[0] not in str(stored)


# What should not be in the queue

NO_PROMPTS = ["no JSON", "[]", "{}", '{"sessionId": "mark", "request": {}}', '{"sessionId": 7, "request": {}}']


@pytest.mark.parametrize("body", NO_PROMPTS)
def test_a_message_that_is_no_prompt_is_done_with_and_wedges_nothing(
    functions_with: FunctionsFactory, body: str
) -> None:
    functions = functions_with(ANSWER)
    functions.prompts.put(body)
    session_id = functions.ask()
    assert [functions.deliver(), functions.deliver()] == [True, True]
    assert text(functions.frames(session_id)) == TEXT
    assert (functions.prompts.count(), functions.prompts.count(dead=True)) == (0, 0)


def test_in_a_batch_each_message_stands_for_itself(functions_with: FunctionsFactory) -> None:
    """The template has batches of one; nothing here depends on it."""
    functions = functions_with(ANSWER)
    functions.prompts.put("no JSON")
    answered, taken = functions.ask(), functions.ask()
    functions.dies(taken, lease_left=LEASE_SECONDS)
    records = [functions.prompts.record() for _ in range(3)]
    [back] = [record for record in records if record is not None and taken in record["body"]]
    result = functions._process({"Records": records}, None)
    assert result == {"batchItemFailures": [{"itemIdentifier": back["messageId"]}]}
    assert text(functions.frames(answered)) == TEXT


@pytest.mark.parametrize(
    ("body", "field"),
    [({"prompt": "Hi", "model": "gone.model"}, "model"), ({}, "prompt"), ({"prompt": "Hi", "new": 1}, "new")],
    ids=["model", "nothing", "unknown"],
)
def test_a_prompt_that_is_not_allowed_any_more_ends_with_one_error_at_once(
    functions_with: FunctionsFactory, body: dict[str, Any], field: str
) -> None:
    """The stack was deployed with other limits while it was queued."""
    functions = functions_with()
    session_id = functions.ask()
    functions.prompts.deliver(lambda event: {"batchItemFailures": []})
    functions.prompts.put(json.dumps({"sessionId": session_id, "request": body}))
    assert functions.deliver()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["field"]) == ("invalid_request", field)
    assert functions.status(session_id) == "failed"
    assert functions.stored(session_id) == frames
    assert functions.prompts.count() == 0


def test_a_prompt_that_is_not_allowed_any_more_ends_though_nobody_can_be_told(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.prompts.deliver(lambda event: {"batchItemFailures": []})
    functions.prompts.put(json.dumps({"sessionId": session_id, "request": {}}))
    functions.api.always(BROKEN)
    functions.topics.always(topics_api.BROKEN)
    assert functions.deliver()
    assert functions.status(session_id) == "failed"
