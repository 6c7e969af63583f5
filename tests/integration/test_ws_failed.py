from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.observed import PATIENCE_SECONDS
from tests.function_module import Context
from tests.integration.scripted_endpoint import (
    streamed,
)
from tests.integration.websocket_functions import (
    ANOTHER,
    CLIENT,
    MINE,
    Functions,
    FunctionsFactory,
    Tables,
    Talker,
    assert_whole,
    websocket_functions,
    websocket_tables,
)
from tests.unit.bedrock_messages import anthropic_answer

ANSWER = streamed(anthropic_answer())


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    with websocket_functions(tables) as start:
        yield start


# ws_failed: a worker that is gone


def claimed(functions: Functions, worker: str = "lost") -> tuple[str, dict[str, Any]]:
    """Let a worker take a session and be gone; gives the session's id and the worker's event."""
    session_id, event = functions.ask(CLIENT)
    functions.sessions.claim(session_id, worker, functions.ws_stream.time())
    return session_id, event


def test_an_answer_whose_worker_has_failed_ends_with_one_error_at_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, event = claimed(functions)
    functions.fail(event, "lost")
    frames = functions.frames(CLIENT)
    assert [(frame["attempt"], frame["sequence"], frame["type"]) for frame in frames] == [
        (2, 1, "start"),
        (2, 2, "error"),
    ]
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == ("internal", True)
    assert functions.status(session_id) == "failed"
    assert functions.replayed(session_id) == frames


def test_an_answer_that_never_started_ends_with_one_error(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, event = functions.ask(CLIENT)
    functions.fail(event, "never-ran", "EventAgeExceeded")
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert frames[-1]["type"] == "error"
    assert functions.status(session_id) == "failed"


def test_a_worker_that_raises_leaves_a_session_that_its_record_ends(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)

    def broken(*frames: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(functions.ws_stream.WebSocketSink, "send", broken)
        with pytest.raises(ZeroDivisionError):
            functions.work(event, Context(aws_request_id="broken"))
    functions.fail(event, "broken")
    frames = functions.frames(CLIENT)
    assert [frame["type"] for frame in frames] == ["start", "error"]
    assert functions.status(session_id) == "failed"


def test_a_record_that_comes_twice_ends_the_answer_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, event = claimed(functions)
    functions.fail(event, "lost")
    before = functions.table.record(session_id), functions.api.raw(CLIENT)
    functions.fail(event, "lost")
    assert (functions.table.record(session_id), functions.api.raw(CLIENT)) == before


def test_an_answer_that_has_ended_is_not_ended_again(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id, event = functions.ask(CLIENT)
    functions.work(event, Context(aws_request_id="worker"))
    before = functions.table.record(session_id), functions.api.raw(CLIENT)
    functions.fail(event, "worker")
    assert (functions.table.record(session_id), functions.api.raw(CLIENT)) == before


def test_a_worker_that_lives_keeps_its_answer_whatever_happened_to_another(functions_with: FunctionsFactory) -> None:
    """Of an event that was delivered twice one invocation may fail."""
    model = Talker()
    functions = functions_with(model)
    session_id, event = functions.ask(CLIENT)
    worker = functions.working(event, Context(aws_request_id="living"))
    assert model.called.wait(PATIENCE_SECONDS)
    functions.fail(event, "failed")
    model.says("Hello")
    model.finishes()
    worker.result(PATIENCE_SECONDS)
    assert_whole(functions.frames(CLIENT))
    assert functions.status(session_id) == "complete"


def test_a_replay_that_failed_ends_nothing(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    new, _ = functions.http_session()
    replay = functions.resume(ANOTHER, new.session_id)
    assert replay is not None
    functions.fail(replay, "http-worker")
    assert functions.status(new.session_id) == "running"
    assert functions.frames(ANOTHER) == []


def test_a_session_that_is_not_there_any_more_needs_no_end(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    functions.fail({"sessionId": MINE, "request": {"prompt": "Hi", "sessionId": MINE}}, "lost")
    assert functions.sessions.find(MINE) is None


def test_an_answer_that_was_stopped_when_its_worker_failed_is_cancelled(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, event = claimed(functions)
    functions.send(CLIENT, {"action": "cancel", "sessionId": session_id})
    functions.fail(event, "lost")
    assert functions.frames(CLIENT)[-1]["stopReason"] == "cancelled"
    assert functions.status(session_id) == "cancelled"


def test_a_client_that_is_gone_does_not_keep_a_session_from_its_end(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, event = claimed(functions)
    functions.api.close(CLIENT)
    functions.fail(event, "lost")
    assert functions.status(session_id) == "failed"


def test_the_end_reaches_a_client_that_has_come_back_elsewhere(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id, event = claimed(functions)
    assert functions.resume(ANOTHER, session_id) is None
    functions.fail(event, "lost")
    assert functions.frames(CLIENT) == []
    assert functions.frames(ANOTHER)[-1]["type"] == "error"
