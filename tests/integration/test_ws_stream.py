import json
from collections.abc import Iterator
from itertools import pairwise
from threading import Event
from typing import Any

import pytest

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
        (refused(429, "ThrottlingException"), "throttled"),
        (Exchange.hang_up, "model_error"),
    ],
    ids=["invalid", "no access", "throttled", "broken off"],
)
def test_a_model_that_fails_ends_the_answer_with_one_error(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch, fault: Any, code: str
) -> None:
    monkeypatch.setattr("tokenstream.sources.bedrock.random", lambda: -1.0)
    functions = functions_with(*[fault] * 3)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert (frames[-1]["type"], frames[-1]["error"]["code"]) == ("error", code)
    assert functions.status(session_id) == "failed"


def test_a_model_that_fails_in_mid_stream_ends_the_answer_with_one_error(functions_with: FunctionsFactory) -> None:
    functions = functions_with(streamed([*anthropic_answer()[:4], exception("throttlingException")]))
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


def test_a_message_that_is_refused_costs_the_client_frames_but_not_the_session(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.api.always(CLIENT, FORBIDDEN)
    functions.work(event)
    assert functions.frames(CLIENT) == []
    assert functions.status(session_id) == "complete"
    functions.work(functions.resume(ANOTHER, session_id) or {})
    assert_whole(functions.frames(ANOTHER))
    assert text(functions.frames(ANOTHER)) == TEXT
