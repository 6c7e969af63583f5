import json
from collections.abc import Iterator
from itertools import pairwise
from threading import Event
from typing import Any

import pytest

from tests.fakes import topics_api
from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import BROKEN, FORBIDDEN, LOST_ANSWER, THROTTLED
from tests.fakes.observed import PATIENCE_SECONDS
from tests.function_module import Context
from tests.integration.scripted_endpoint import (
    Exchange,
    refused,
    streamed,
)
from tests.integration.websocket_functions import (
    ANOTHER,
    CLAUDE,
    CLIENT,
    STRANGER,
    SUB,
    FunctionsFactory,
    Tables,
    Talker,
    assert_whole,
    text,
    websocket_functions,
    websocket_tables,
)
from tests.unit.bedrock_messages import TEXTS, anthropic_answer, exception
from tokenstream.frames import BEGINNING
from tokenstream.lease import Lease, Verdict
from tokenstream.session import Recipient
from tokenstream.sinks.failover import CIRCUIT_SECONDS

TEXT = "".join(TEXTS)
ANSWER = streamed(anthropic_answer())
BROKEN_OFF = streamed([*anthropic_answer()[:4], exception("throttlingException")])
"""Some text, and then a fault that may pass."""


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    with websocket_functions(tables) as start:
        yield start


# One answer


def test_an_answer_arrives_to_the_character_frame_by_frame(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert text(frames) == TEXT
    first, *_, last = frames
    assert first == {
        "type": "start",
        "sessionId": session_id,
        "attempt": 1,
        "sequence": 1,
        "model": CLAUDE,
        "path": "websocket",
        "delivery": "direct",
    }
    assert (last["type"], last["stopReason"]) == ("complete", "end_turn")
    assert last["usage"] == {"inputTokens": 11, "outputTokens": 22}
    assert functions.status(session_id) == "complete"


def test_the_first_token_arrives_while_the_model_still_thinks(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    _, event = functions.ask(CLIENT)
    worker = functions.working(event)
    model.says("Hel")
    functions.await_text(CLIENT, "Hel")
    model.says("lo")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    assert text(functions.frames(CLIENT)) == "Hello"


def test_many_answers_of_one_warm_worker_need_one_connection_each_way(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER, ANSWER, ANSWER)
    for _ in range(3):
        functions.work(functions.ask(CLIENT)[1])
    assert functions.model.connections == 1
    # The route's, and the worker's.
    assert functions.api.endpoint.connections == 2


@pytest.mark.parametrize("name", ["same", "another"])
def test_an_event_that_is_delivered_twice_generates_once(functions_with: FunctionsFactory, name: str) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event, Context(aws_request_id="same"))
    functions.work(event, Context(aws_request_id=name))
    assert_whole(functions.frames(CLIENT))
    assert len(functions.model.requests) == 1
    assert functions.status(session_id) == "complete"


@pytest.mark.parametrize("name", ["same", "another"])
def test_an_event_that_comes_again_while_it_is_worked_off_generates_once(
    functions_with: FunctionsFactory, name: str
) -> None:
    model = Talker()
    functions = functions_with(model)
    _, event = functions.ask(CLIENT)
    worker = functions.working(event, Context(aws_request_id="same"))
    assert model.called.wait(PATIENCE_SECONDS)
    functions.work(event, Context(aws_request_id=name))
    model.says("Hello")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    assert_whole(functions.frames(CLIENT))
    assert text(functions.frames(CLIENT)) == "Hello"
    assert len(functions.model.requests) == 1


def test_a_cancel_before_the_start_calls_no_model_and_tells_so(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.send(CLIENT, {"action": "cancel", "sessionId": session_id})
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert [frame["type"] for frame in frames] == ["start", "complete"]
    assert frames[-1]["stopReason"] == "cancelled"
    assert functions.model.requests == []
    assert functions.status(session_id) == "cancelled"
    # The next answer is none the worse for it.
    functions.work(functions.ask(ANOTHER)[1])
    assert text(functions.frames(ANOTHER)) == TEXT


def test_a_cancel_closes_the_models_stream_and_ends_the_answer(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event)
    model.says("Hel")
    model.awaits_leaving()
    functions.await_text(CLIENT, "Hel")
    functions.send(ANOTHER, {"action": "cancel", "sessionId": session_id})
    worker.result(PATIENCE_SECONDS)
    assert model.left.wait(PATIENCE_SECONDS)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert frames[-1]["stopReason"] == "cancelled"
    assert functions.status(session_id) == "cancelled"


def test_a_stranger_stops_nothing(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event)
    model.says("Hel")
    functions.await_text(CLIENT, "Hel")
    for action in ("cancel", "resume"):
        functions.send(ANOTHER, {"action": action, "sessionId": session_id}, sub=STRANGER)
    model.says("lo")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    assert functions.frames(CLIENT)[-1]["stopReason"] == "end_turn"
    assert text(functions.frames(CLIENT)) == "Hello"
    assert functions.frames(ANOTHER) == []


def test_the_end_of_the_functions_time_ends_the_answer_in_order(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clock = Talker(), FakeClock()
    functions = functions_with(model)
    monkeypatch.setattr(functions.ws_stream, "monotonic", clock)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event, Context(seconds_left=600))
    model.says("Hel")
    model.awaits_leaving()
    functions.await_text(CLIENT, "Hel")
    clock.advance(600 - functions.ws_stream.ENDING_SECONDS)
    worker.result(PATIENCE_SECONDS)
    assert model.left.wait(PATIENCE_SECONDS)
    assert_whole(functions.frames(CLIENT))
    assert functions.frames(CLIENT)[-1]["stopReason"] == "deadline"
    assert functions.status(session_id) == "complete"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refused(400, "ValidationException"), "model_error"),
        (refused(403, "AccessDeniedException"), "model_access"),
    ],
    ids=["invalid", "no access"],
)
def test_a_model_that_fails_for_good_ends_the_answer_with_one_error(
    functions_with: FunctionsFactory, fault: Any, code: str
) -> None:
    functions = functions_with(fault)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert (frames[-1]["type"], frames[-1]["error"]["code"]) == ("error", code)
    assert functions.status(session_id) == "failed"


PASSING: dict[str, tuple[list[Any], str]] = {
    "throttled": ([refused(429, "ThrottlingException")] * 3, "throttled"),
    "broken off": ([Exchange.hang_up] * 3, "model_error"),
    "in mid-stream": ([BROKEN_OFF], "throttled"),
}


@pytest.mark.parametrize(("faults", "code"), PASSING.values(), ids=PASSING)
def test_a_fault_of_the_models_that_passes_is_left_to_the_recovery_and_the_client_hears_of_no_end(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch, faults: list[Any], code: str
) -> None:
    monkeypatch.setattr("tokenstream.sources.bedrock.random", lambda: -1.0)
    functions = functions_with(*faults)
    session_id, event = functions.ask(CLIENT)
    # The failure destination hears of what is raised.
    with pytest.raises(functions.ws_stream.AttemptGivenUp):
        functions.work(event)
    frames = functions.frames(CLIENT)
    assert {"complete", "error"}.isdisjoint(frame["type"] for frame in frames)
    assert TEXT.startswith(text(frames))
    session = functions.sessions.get(session_id, SUB)
    assert (session.status, session.failure, session.terminal) == ("recovering", code, None)


def test_where_prompts_are_not_kept_a_fault_that_passes_ends_the_answer_with_one_error(
    functions_with: FunctionsFactory,
) -> None:
    """There is nothing that another attempt could be made of."""
    functions = functions_with(BROKEN_OFF, STORE_ANSWERS="false")
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == ("throttled", True)
    assert TEXT.startswith(text(frames))
    assert functions.status(session_id) == "failed"


def test_no_frame_is_longer_than_a_message_and_none_ends_within_a_character(
    functions_with: FunctionsFactory,
) -> None:
    long = '👩‍👩‍👧é\x00"\u2028' * 8000 + "!"
    functions = functions_with(streamed(anthropic_answer(["Long: ", long])))
    _, event = functions.ask(CLIENT)
    functions.work(event)
    raw = functions.api.raw(CLIENT)
    assert max(map(len, raw)) <= 32 * 1024
    assert sum(map(len, raw)) > 5 * 32 * 1024
    assert_whole(functions.frames(CLIENT))  # each decodes: none was cut within a character
    assert text(functions.frames(CLIENT)) == "Long: " + long


# The way to the client fails


def test_a_client_that_is_gone_for_long_stops_the_model(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model, grace=0.05)
    session_id, event = functions.ask("leaving")
    worker = functions.working(event)
    model.says("Hel")
    functions.await_text("leaving", "Hel")
    functions.api.close("leaving")
    model.says("lo")
    model.awaits_leaving()
    worker.result(PATIENCE_SECONDS)
    assert model.left.wait(PATIENCE_SECONDS)
    assert functions.status(session_id) == "cancelled"
    # What it lacks is there for a client that comes back all the same.
    replay = functions.resume(ANOTHER, session_id)
    assert replay is not None
    functions.work(replay)
    assert_whole(functions.frames(ANOTHER))
    assert text(functions.frames(ANOTHER)) == "Hello"
    assert functions.frames(ANOTHER)[-1]["stopReason"] == "cancelled"


def test_a_client_that_is_gone_is_not_taken_for_one_that_is_back_by_any_look(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nervous(Lease):
        """Two looks may both find a client that has moved, of which the first one's is served already."""

        def look(self) -> Verdict:
            verdict = super().look()
            return Verdict.MOVED if verdict is Verdict.GO_ON else verdict

    model = Talker()
    functions = functions_with(model, grace=0.05)
    monkeypatch.setattr(functions.ws_stream, "Lease", Nervous)
    functions.api.close("gone")
    session_id, event = functions.ask(CLIENT)
    functions.sessions.redirect(session_id, SUB, Recipient("gone", BEGINNING, "ticket"))
    worker = functions.working(event)
    model.says("Hello")
    model.awaits_leaving()
    worker.result(PATIENCE_SECONDS)
    assert functions.status(session_id) == "cancelled"


def test_a_client_that_comes_back_within_its_grace_keeps_its_answer_going(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask("leaving")
    worker = functions.working(event)
    model.says("a")
    functions.await_text("leaving", "a")
    functions.api.close("leaving")
    requests = len(functions.api.endpoint.requests)
    model.says("b")
    functions.api.await_requests(requests + 1)
    assert functions.resume(ANOTHER, session_id, (1, 2)) is None
    model.says("c")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    frames = functions.frames("leaving") + functions.frames(ANOTHER)
    assert_whole(frames)
    assert text(frames) == "abc"
    assert frames[-1]["stopReason"] == "end_turn"


def test_a_client_that_is_throttled_for_a_while_gets_fewer_frames_and_the_whole_text(
    functions_with: FunctionsFactory,
) -> None:
    model, said = Talker(), Event()
    functions = functions_with(model)
    _, event = functions.ask(CLIENT)
    functions.api.fails(CLIENT, *[THROTTLED] * 4)
    # What is held up is the first try of the first frame.
    functions.api.before = lambda connection_id, message: said.wait(PATIENCE_SECONDS)
    words = [f"{number} " for number in range(50)]
    model.says("first ", *words)
    model.then(said.set)
    model.finishes()
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert text(frames) == "first " + "".join(words)
    assert len(frames) < len(words)


@pytest.mark.parametrize("faults", [[BROKEN], [THROTTLED, BROKEN, THROTTLED]], ids=["once", "again and again"])
def test_what_does_not_get_through_at_once_gets_through_in_order(
    functions_with: FunctionsFactory, faults: list[Any]
) -> None:
    functions = functions_with(ANSWER)
    _, event = functions.ask(CLIENT)
    functions.api.fails(CLIENT, *faults)
    functions.work(event)
    assert_whole(functions.frames(CLIENT))
    assert text(functions.frames(CLIENT)) == TEXT


def test_a_frame_whose_answer_was_lost_is_repeated_with_its_bytes(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    _, event = functions.ask(CLIENT)
    functions.api.fails(CLIENT, LOST_ANSWER, LOST_ANSWER)
    functions.work(event)
    frames = functions.api.raw(CLIENT)[1:]
    repeated = [message for message, following in pairwise(frames) if message == following]
    assert len(repeated) == 2
    assert len(frames) - len(set(frames)) == 2
    once_each = [json.loads(message) for message in dict.fromkeys(frames)]
    assert_whole(once_each)
    assert text(once_each) == TEXT


def test_frames_that_are_refused_on_both_ways_cost_the_client_frames_but_not_the_session(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.api.always(CLIENT, FORBIDDEN)
    functions.topics.always(topics_api.FORBIDDEN)
    functions.work(event)
    assert functions.frames(CLIENT) == functions.queued(session_id) == []
    assert functions.status(session_id) == "complete"
    functions.clock.advance(CIRCUIT_SECONDS)
    functions.work(functions.resume(ANOTHER, session_id) or {})
    assert_whole(functions.frames(ANOTHER))
    assert text(functions.frames(ANOTHER)) == TEXT


# The queued way


def test_where_nothing_is_sent_directly_a_whole_answer_leaves_by_the_topic(functions_with: FunctionsFactory) -> None:
    """And nothing of the direct way is needed in the environment."""
    functions = functions_with(ANSWER, DIRECT_SEND="false", WEBSOCKET_ENDPOINT="")
    functions.send(CLIENT, {"action": "stream", "prompt": "Hi"})
    event = functions.invokes.payloads.pop()
    functions.work(event)
    frames = functions.queued(event["sessionId"])
    assert_whole(frames)
    assert text(frames) == TEXT
    assert (frames[0]["path"], frames[0]["delivery"]) == ("websocket", "queued")
    assert functions.status(event["sessionId"]) == "complete"
    # What says that it was accepted is ahead of it.
    [reply, *batches] = [json.loads(message.text) for message in functions.topics.queued]
    assert (reply["connectionId"], reply["reply"]["type"]) == (CLIENT, "accepted")
    assert "connectionId" not in batches[0], "a client that comes back elsewhere gets what was queued before"
    assert {message.group for message in functions.topics.queued} == {event["sessionId"]}
    assert functions.api.endpoint.requests == []


def test_a_stream_that_asks_for_the_queue_takes_it_and_the_next_one_does_not(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER, ANSWER)
    queued, event = functions.ask(CLIENT, delivery="queued")
    functions.work(event)
    assert functions.frames(CLIENT) == []
    assert_whole(functions.queued(queued))
    assert text(functions.queued(queued)) == TEXT
    assert functions.queued(queued)[0]["delivery"] == "queued"
    direct, event = functions.ask(CLIENT)
    functions.work(event)
    assert_whole(functions.frames(CLIENT))
    assert functions.frames(CLIENT)[0]["delivery"] == "direct"
    assert functions.queued(direct) == []


@pytest.mark.parametrize("fault", [FORBIDDEN, BROKEN], ids=["refused", "out"])
def test_a_direct_way_that_fails_in_mid_stream_costs_no_character_and_counts_once(
    functions_with: FunctionsFactory, capsys: pytest.CaptureFixture[str], fault: Any
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event)
    model.says("one ")
    functions.await_text(CLIENT, "one ")
    functions.api.always(CLIENT, fault)
    model.says("two ")
    functions.topics.await_queued(lambda messages: len(messages) == 1)
    model.says("three")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    frames = functions.frames(CLIENT) + functions.queued(session_id)
    assert_whole(frames)
    assert text(frames) == "one two three"
    assert text(functions.frames(CLIENT)) == "one "
    assert functions.status(session_id) == "complete"
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    [failover] = [metric for metric in metrics if "Failovers" in metric]
    assert (failover["Failovers"], failover["path"], failover["session_id"]) == ([1.0], "websocket", session_id)


def test_while_the_direct_way_is_broken_the_next_streams_are_queued_at_once_and_later_ones_try_again(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(*[ANSWER] * 3)
    _, event = functions.ask(CLIENT)
    functions.api.always(CLIENT, FORBIDDEN)
    functions.work(event)
    tries = len(functions.api.endpoint.requests)
    # The pauses between messages take from it as well.
    functions.clock.advance(CIRCUIT_SECONDS / 2)
    _, event = functions.ask(ANOTHER)
    functions.work(event)
    # But for the reply, by a function that knows of nothing.
    assert len(functions.api.endpoint.requests) == tries + 1
    assert text(functions.queued(event["sessionId"])) == TEXT
    functions.clock.advance(CIRCUIT_SECONDS / 2)
    _, event = functions.ask(ANOTHER)
    functions.work(event)
    assert functions.queued(event["sessionId"]) == []
    assert text(functions.frames(ANOTHER)) == TEXT


def test_while_both_ways_are_broken_the_answer_goes_on_and_arrives_when_one_heals(
    functions_with: FunctionsFactory,
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    functions.api.always(CLIENT, FORBIDDEN)
    functions.topics.always(topics_api.BROKEN)
    worker = functions.working(event)
    model.says("one ")
    functions.topics.wait_until(lambda: bool(functions.topics.tries))
    functions.topics.always(None)
    model.says("two")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    assert_whole(functions.queued(session_id))
    assert text(functions.queued(session_id)) == "one two"


def test_a_client_that_was_found_gone_behind_the_queue_stops_the_model_after_its_grace(
    functions_with: FunctionsFactory,
) -> None:
    model = Talker()
    functions = functions_with(model, grace=0.05)
    session_id, event = functions.ask(CLIENT, delivery="queued")
    worker = functions.working(event)
    model.says("Hel")
    functions.topics.await_queued(bool)
    recipient = functions.sessions.get(session_id, SUB).recipient
    assert recipient is not None
    functions.sessions.client_gone(session_id, recipient)
    # With the second look from here on the first one is over.
    looks = iter((Event(), looked := Event()))
    functions.table.before = lambda operation: next(looks, looked).set() if operation == "get_item" else None
    assert looked.wait(PATIENCE_SECONDS)
    model.says("lo")
    model.awaits_leaving()
    worker.result(PATIENCE_SECONDS)
    assert model.left.wait(PATIENCE_SECONDS)
    assert functions.status(session_id) == "cancelled"
    assert text(functions.queued(session_id)) == "Hel", "nothing is queued for nobody"


def test_a_replay_of_a_queued_answer_is_queued_for_the_connection_that_asked_and_no_other(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT, delivery="queued")
    functions.work(event)
    first = list(functions.topics.queued)
    for _ in range(2):  # asked for twice, it is sent twice: no message is taken for one of before
        replay = functions.resume(ANOTHER, session_id, (1, 1))
        functions.work(replay or {})
    replayed = [json.loads(message.text) for message in functions.topics.queued[len(first) :]]
    assert {body["connectionId"] for body in replayed} == {ANOTHER}
    frames = [frame for body in replayed for frame in body["frames"]]
    assert frames == functions.queued(session_id)[1 : len(frames) // 2 + 1] * 2
    assert text(frames) == TEXT * 2
