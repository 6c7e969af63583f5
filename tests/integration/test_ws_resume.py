from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.frames import Attempt
from tests.fakes.observed import PATIENCE_SECONDS
from tests.function_module import Context
from tests.integration.scripted_endpoint import (
    streamed,
)
from tests.integration.websocket_functions import (
    ANOTHER,
    CLAUDE,
    CLIENT,
    MINE,
    SUB,
    FunctionsFactory,
    Tables,
    Talker,
    assert_whole,
    text,
    websocket_functions,
    websocket_tables,
)
from tests.unit.bedrock_messages import TEXTS, anthropic_answer
from tokenstream.replay import HEARTBEAT_SECONDS
from tokenstream.session import LEASE_SECONDS, NewSession

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


# Resuming what runs


def test_a_client_gets_what_it_lacks_and_then_the_live_rest_from_wherever_it_stands(
    functions_with: FunctionsFactory,
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event)
    for number in range(1, 6):
        model.says(f"{number} ")
        known = functions.await_frames(CLIENT, number + 1)
    # A frame for the start, one for each word; a client may stand behind any of them, or behind none.
    assert [frame["sequence"] for frame in known] == [1, 2, 3, 4, 5, 6]
    for sequence in range(7):
        connection_id = f"connection-{sequence}"
        assert functions.resume(connection_id, session_id, (1, sequence)) is None
        missed = known[sequence:]
        assert functions.await_frames(connection_id, len(missed)) == missed
        model.says(f"{sequence + 6} ")
        known += functions.await_frames(connection_id, len(missed) + 1)[len(missed) :]
        assert functions.api.messages(connection_id)[0]["type"] == "accepted"
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    known += functions.frames("connection-6")[-1:]
    assert_whole(known)
    assert text(known) == "".join(f"{number} " for number in range(1, 13))
    # Each connection got its share and nothing more once the next one had come.
    assert [len(functions.frames(f"connection-{sequence}")) for sequence in range(7)] == [7, 7, 7, 7, 7, 7, 8]
    assert functions.frames(CLIENT) == known[:6]


def test_a_gap_is_closed_on_the_connection_that_there_is(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event)
    model.says("a")
    functions.await_text(CLIENT, "a")
    for count in (2, 3):
        assert functions.resume(CLIENT, session_id, (1, 1)) is None
        functions.await_text(CLIENT, "a" * count)
    model.says("b")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    assert [frame["sequence"] for frame in functions.frames(CLIENT)] == [1, 2, 2, 2, 3, 4]


def test_a_resume_before_the_worker_has_come_moves_the_whole_answer(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    assert functions.resume(ANOTHER, session_id) is None
    functions.work(event)
    assert functions.frames(CLIENT) == []
    assert_whole(functions.frames(ANOTHER))
    assert text(functions.frames(ANOTHER)) == TEXT


def once(call: Callable[[], object], *, when: Callable[..., bool]) -> Callable[..., None]:
    """Return a hook that makes one call, at the first moment that is wanted."""
    done: list[bool] = []

    def hook(*moment: Any) -> None:
        if not done and when(*moment):
            done.append(True)
            call()

    return hook


END = {
    # The last write of the worker's is the only one behind the claim.
    "before the session is settled": lambda functions, resume: setattr(
        functions.table, "before", once(resume, when=lambda operation: operation == "update_item")
    ),
    "behind that, before the end leaves": lambda functions, resume: setattr(
        functions.api, "before", once(resume, when=lambda _, message: b'"complete"' in message)
    ),
}


@pytest.mark.parametrize("moment", END)
@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_a_client_that_comes_back_at_the_very_end_gets_all_that_it_lacks(
    functions_with: FunctionsFactory, moment: str, sequence: int
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event)
    model.says("Hello")
    functions.await_text(CLIENT, "Hello")
    replays: list[dict[str, Any] | None] = []
    END[moment](functions, lambda: replays.append(functions.resume(ANOTHER, session_id, (1, sequence))))
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    for replay in replays:
        if replay is not None:
            functions.work(replay)
    frames = functions.frames(CLIENT)[:sequence] + functions.frames(ANOTHER)
    assert_whole(frames)
    assert text(frames) == "Hello"


def test_a_client_that_comes_and_goes_all_the_time_gets_the_answer_without_a_gap(
    functions_with: FunctionsFactory,
) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask("connection-0")
    worker = functions.working(event)
    received: dict[int, dict[str, Any]] = {}
    words = [f"{number} " for number in range(30)]
    for number, word in enumerate(words, 1):
        old, new = f"connection-{number - 1}", f"connection-{number}"
        model.says(word)
        # Sometimes before anything has come, sometimes behind the client's back.
        if number % 3 == 0:
            functions.api.close(old)
        received |= {frame["sequence"]: frame for frame in functions.frames(old)}
        contiguous = next(position for position in range(len(received) + 1) if position + 1 not in received)
        functions.resume(new, session_id, (1, contiguous))
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    received |= {frame["sequence"]: frame for frame in functions.frames(new)}
    frames = [received[sequence] for sequence in sorted(received)]
    assert_whole(frames)
    assert text(frames) == "".join(words)


# Resuming what has ended, or is another path's


def test_an_answer_that_has_ended_is_given_again_from_wherever_the_client_stands(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    frames = functions.frames(CLIENT)
    assert functions.replayed(session_id) == frames
    for frame in frames:
        position = (frame["attempt"], frame["sequence"])
        assert functions.replayed(session_id, position) == frames[frame["sequence"] :]
    assert len(functions.model.requests) == 1


def test_a_replay_reaches_its_client_in_the_bytes_of_the_first_time(functions_with: FunctionsFactory) -> None:
    functions = functions_with(streamed(anthropic_answer(['\u2028 "\\ é 👋'])))
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    functions.replayed(session_id)
    [replay] = [connection_id for connection_id in functions.api.connections() if connection_id != CLIENT]
    assert functions.api.raw(replay)[1:] == functions.api.raw(CLIENT)[1:]


def test_a_session_of_another_path_is_followed_while_it_runs(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    new, claim = functions.http_session()
    attempt = Attempt(new.session_id)
    start, token, complete = attempt.answer("Hello")
    functions.sessions.store(claim, [start], functions.ws_stream.time())
    replay = functions.resume(ANOTHER, new.session_id)
    assert replay is not None
    worker = functions.working(replay)
    functions.api.await_messages(ANOTHER, lambda messages: len(messages) == 2)
    functions.sessions.store(claim, [token], functions.ws_stream.time())
    functions.sessions.settle(claim, "complete", complete)
    worker.result(PATIENCE_SECONDS)
    assert functions.api.raw(ANOTHER)[1:] == [start.json, token.json, complete.json]


def test_an_http_answer_whose_worker_has_died_ends_with_an_error_for_who_comes_back(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    long_ago = functions.ws_stream.time() - LEASE_SECONDS - 1
    new = NewSession(str(uuid4()), SUB, "url", "direct", CLAUDE, b"{}")
    claim = functions.sessions.begin(new, "lost", long_ago)
    start = Attempt(new.session_id).start()
    functions.sessions.store(claim, [start], long_ago)
    frames = functions.replayed(new.session_id)
    assert [(frame["attempt"], frame["type"]) for frame in frames] == [(1, "start"), (2, "start"), (2, "error")]
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == ("internal", True)
    assert functions.status(new.session_id) == "failed"
    assert functions.replayed(new.session_id, (1, 1)) == frames[1:]


def test_a_client_that_comes_back_to_an_answer_whose_worker_has_died_waits_for_the_next_attempt(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id, _ = functions.ask(CLIENT)
    functions.sessions.claim(session_id, "lost", functions.ws_stream.time() - LEASE_SECONDS - 1)
    assert functions.resume(ANOTHER, session_id) is None, "a replay would send what the next attempt sends"
    recipient = functions.sessions.get(session_id, SUB).recipient
    assert recipient is not None
    assert recipient.connection_id == ANOTHER


def test_a_replay_whose_client_leaves_ends_in_peace(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event)
    replay = functions.resume("leaving", session_id)
    functions.api.close("leaving")
    functions.work(replay or {})
    assert functions.frames("leaving") == []
    assert functions.status(session_id) == "complete"


def test_a_replay_of_a_silent_answer_keeps_the_connection_open(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with()
    new, claim = functions.http_session()
    clock = FakeClock(claim.lease_until - LEASE_SECONDS)
    monkeypatch.setattr(functions.ws_stream, "time", clock)
    monkeypatch.setattr(functions.ws_stream, "sleep", clock.advance)
    replay = functions.resume(ANOTHER, new.session_id)
    functions.work(replay or {}, Context(seconds_left=functions.ws_stream.ENDING_SECONDS + HEARTBEAT_SECONDS + 5))
    assert functions.api.messages(ANOTHER)[1:] == [{"type": "heartbeat", "sessionId": new.session_id}]


def test_a_replay_ends_with_its_functions_time_and_ends_no_session(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    new, _ = functions.http_session()
    replay = functions.resume(ANOTHER, new.session_id)
    functions.work(replay or {}, Context(seconds_left=functions.ws_stream.ENDING_SECONDS))
    assert functions.frames(ANOTHER) == []
    assert functions.status(new.session_id) == "running"


@pytest.mark.parametrize("event", [{}, {"sessionId": MINE}, {"Records": []}], ids=repr)
def test_an_event_that_is_none_is_a_fault(functions_with: FunctionsFactory, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no event"):
        functions_with().work(event)
