"""The steps of the state machine `recovery`."""

import json
from collections.abc import Iterator
from time import time
from typing import Any

import pytest

from tests.fakes import topics_api
from tests.fakes.connections_api import BROKEN, FORBIDDEN
from tests.fakes.graphql_api import UNAUTHORIZED
from tests.fakes.log_lines import log_lines
from tests.fakes.observed import PATIENCE_SECONDS
from tests.integration.background_functions import (
    SAMPLE_SESSION,
    Functions,
    FunctionsFactory,
    background_functions,
    sample,
)
from tests.integration.scripted_endpoint import Exchange, refused, streamed
from tests.integration.websocket_functions import (
    ANOTHER,
    CLAUDE,
    CLIENT,
    SUB,
    Tables,
    Talker,
    assert_whole,
    queued_frames,
    text,
    websocket_tables,
)
from tests.unit.bedrock_messages import TEXTS, anthropic_answer, exception
from tokenstream.errors import ErrorCode
from tokenstream.session import LEASE_SECONDS

FALLBACK = "anthropic.claude-haiku-4-5-20251001-v1:0"
MARK = "mark-7f3a9c"
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
    with background_functions(tables) as start:
        yield start


def given_up(functions: Functions, path: Any = "websocket", failure: str | None = "model_error", **fields: Any) -> str:
    """Record a session whose worker has given its attempt up behind some text; gives the session's id."""
    session_id = functions.accepted(path, **fields)
    claim, _ = functions.taken(session_id, "Hel")
    functions.sessions.release(claim, ErrorCode(failure) if failure else None, time())
    return session_id


def lost(functions: Functions, path: Any = "websocket", **fields: Any) -> str:
    """Record a session whose worker is gone, and its lease has run out; gives the session's id."""
    session_id = functions.accepted(path, ago=100, **fields)
    if path in {"websocket", "appsync"}:
        functions.taken(session_id, "Hel", lease_left=-1)
    return session_id


def received(functions: Functions, session_id: str) -> list[dict[str, Any]]:
    """Return what the session's client has got directly, on whichever path."""
    return functions.frames(CLIENT) + functions.published(session_id)


# A look


def test_an_answer_whose_worker_has_failed_is_generated_again_after_a_short_while(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    for session_id in (given_up(functions), lost(functions), lost(functions, "appsync"), functions.accepted()):
        result = functions.step(step="look", sessionId=session_id, tries=0, lingered=False)
        assert result.keys() == {"next", "seconds"}
        assert result["next"] == "generate"
        assert 1 <= result["seconds"] <= 3


def test_an_answer_that_has_ended_or_expired_is_left_alone(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = lost(functions)
    functions.give_up(session_id)
    assert functions.look(session_id) == "end"
    assert functions.look("9f0b2c4e-0000-4000-8000-000000000000") == "end"


def test_a_worker_that_lives_is_waited_for_until_its_lease_must_have_run_out(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id, lease_left=20)
    before = time()
    result = functions.step(step="look", sessionId=session_id, tries=0, lingered=False)
    assert result["next"] == "wait"
    assert before + result["seconds"] > claim.lease_until
    assert result["seconds"] <= LEASE_SECONDS


@pytest.mark.parametrize(
    ("environment", "tries"),
    [({}, 2), ({"RECOVERY_ATTEMPTS": "0"}, 0), ({"STORE_ANSWERS": "false"}, 0)],
    ids=["used up", "none wanted", "prompt not kept"],
)
def test_an_answer_without_another_try_is_given_up(
    functions_with: FunctionsFactory, environment: dict[str, str], tries: int
) -> None:
    functions = functions_with(**environment)
    assert functions.look(given_up(functions), tries) == "give_up"


@pytest.mark.parametrize("path", ["url", "rest"])
def test_an_answer_over_http_is_given_up_for_its_response_is_gone(functions_with: FunctionsFactory, path: Any) -> None:
    functions = functions_with()
    assert functions.look(lost(functions, path)) == "give_up"


def test_an_answer_that_was_to_be_stopped_is_given_up(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.sessions.request_cancel(session_id, SUB)
    assert functions.look(session_id) == "give_up"


def test_a_client_that_is_gone_has_time_to_come_back(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.disconnect(CLIENT)
    result = functions.step(step="look", sessionId=session_id, tries=0, lingered=False)
    assert result == {"next": "linger", "seconds": 30}
    assert functions.look(session_id, lingered=True) == "give_up"
    functions.moved(session_id, ANOTHER)
    assert functions.look(session_id, lingered=True) == "generate"


# Another attempt


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_the_whole_answer_follows_as_an_attempt_of_its_own_and_is_kept(
    functions_with: FunctionsFactory, path: Any
) -> None:
    functions = functions_with(ANSWER)
    session_id = given_up(functions, path, prompt="Why?", system="Brief.", options={"maxTokens": 7})
    assert functions.generate(session_id) == "ended"
    frames = received(functions, session_id)
    assert_whole(frames)
    assert text(frames) == TEXT
    assert (frames[0]["attempt"], frames[0]["model"], frames[0]["delivery"]) == (2, CLAUDE, "direct")
    assert functions.stored(session_id) == frames
    assert functions.status(session_id) == "complete"
    asked = json.loads(functions.model.requests[0].body)
    assert asked["messages"] == [{"role": "user", "content": "Why?"}]
    assert (asked["system"], asked["max_tokens"]) == ("Brief.", 7)


def test_the_answer_of_a_fallback_model_says_so_and_only_later_attempts_ask_it(
    functions_with: FunctionsFactory,
) -> None:
    """A request may not name it, and need not."""
    functions = functions_with(ANSWER, FALLBACK_MODEL=FALLBACK)
    session_id = given_up(functions, model=CLAUDE)
    assert functions.generate(session_id) == "ended"
    assert functions.frames(CLIENT)[0]["model"] == FALLBACK
    assert FALLBACK in functions.model.requests[0].target.replace("%3A", ":")
    assert functions.sessions.get(session_id, SUB).model == CLAUDE


@pytest.mark.parametrize("path", ["websocket", "appsync"])
@pytest.mark.parametrize(
    ("environment", "asked"),
    [({"DIRECT_SEND": "false", "WEBSOCKET_ENDPOINT": "", "GRAPHQL_ENDPOINT": ""}, "direct"), ({}, "queued")],
    ids=["by the switch", "by the request"],
)
def test_an_answer_that_was_queued_is_queued_again(
    functions_with: FunctionsFactory,
    path: Any,
    environment: dict[str, str],
    asked: Any,
) -> None:
    functions = functions_with(ANSWER, **environment)
    session_id = given_up(functions, path, delivery=asked)
    assert functions.generate(session_id) == "ended"
    frames = queued_frames(functions.topics, session_id)
    assert_whole(frames)
    assert text(frames) == TEXT
    assert frames[0]["delivery"] == "queued"
    assert received(functions, session_id) == []


@pytest.mark.parametrize(("path", "fault"), [("websocket", FORBIDDEN), ("appsync", UNAUTHORIZED)])
def test_a_direct_way_that_is_broken_costs_the_recovery_nothing(
    functions_with: FunctionsFactory, path: Any, fault: Any
) -> None:
    functions = functions_with(ANSWER)
    functions.api.always(CLIENT, fault)
    functions.graphql.always(fault)
    session_id = given_up(functions, path)
    assert functions.generate(session_id) == "ended"
    assert_whole(queued_frames(functions.topics, session_id))


def test_the_next_attempt_reaches_a_client_that_has_come_back_elsewhere(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    session_id = given_up(functions)
    functions.moved(session_id, ANOTHER)
    assert functions.generate(session_id) == "ended"
    assert functions.frames(CLIENT) == []
    assert_whole(functions.frames(ANOTHER))


FAULTS: dict[str, tuple[list[Any], str]] = {
    "throttled": ([refused(429, "ThrottlingException")] * 3, "throttled"),
    "broken off": ([Exchange.hang_up] * 3, "model_error"),
    "in mid-stream": ([BROKEN_OFF], "throttled"),
}


@pytest.mark.parametrize(("faults", "code"), FAULTS.values(), ids=FAULTS)
def test_a_model_that_fails_again_for_a_moment_uses_up_a_try_and_ends_nothing(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch, faults: list[Any], code: str
) -> None:
    monkeypatch.setattr("tokenstream.sources.bedrock.random", lambda: -1.0)
    functions = functions_with(*faults)
    session_id = given_up(functions, failure="model_timeout")
    assert functions.generate(session_id) == "given_up"
    session = functions.sessions.get(session_id, SUB)
    assert (session.status, session.attempt, session.failure) == ("recovering", 2, code)
    assert {"complete", "error"}.isdisjoint(frame["type"] for frame in functions.frames(CLIENT))
    assert functions.look(session_id, 1) == "generate"
    assert functions.look(session_id, 2) == "give_up"


def test_a_model_that_fails_for_good_ends_the_answer_at_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with(refused(403, "AccessDeniedException"))
    session_id = given_up(functions)
    assert functions.generate(session_id) == "ended"
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert frames[-1]["error"]["code"] == "model_access"
    assert functions.status(session_id) == "failed"


def test_an_answer_that_another_worker_has_is_not_generated_twice(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.taken(session_id)
    assert functions.generate(session_id) == "taken"
    assert functions.model.requests == []
    assert functions.table.record(session_id)["attempt"]["N"] == "2"


def test_an_answer_that_has_ended_or_expired_is_not_generated(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = lost(functions)
    functions.give_up(session_id)
    assert functions.generate(session_id) == "ended"
    assert functions.generate("9f0b2c4e-0000-4000-8000-000000000000") == "ended"
    assert functions.model.requests == []


def test_an_answer_without_a_prompt_is_not_left_open(functions_with: FunctionsFactory) -> None:
    """It was asked for while the stack kept none."""
    functions = functions_with(STORE_ANSWERS="false")
    session_id = given_up(functions)
    functions.recovery.sessions.store_answers = True
    assert functions.generate(session_id) == "given_up"
    assert functions.look(session_id, 2) == "give_up"


def test_an_answer_that_is_stopped_meanwhile_calls_no_model_and_tells_so(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.sessions.request_cancel(session_id, SUB)
    assert functions.generate(session_id) == "ended"
    assert functions.frames(CLIENT)[-1]["stopReason"] == "cancelled"
    assert functions.status(session_id) == "cancelled"
    assert functions.model.requests == []


def test_a_request_that_is_not_allowed_any_more_ends_with_one_error(functions_with: FunctionsFactory) -> None:
    """The stack was deployed with other limits meanwhile."""
    functions = functions_with()
    session_id = given_up(functions, model="gone.model")
    assert functions.generate(session_id) == "ended"
    frames = functions.frames(CLIENT)
    assert_whole(frames)
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["field"]) == ("invalid_request", "model")
    assert functions.status(session_id) == "failed"


# The end


@pytest.mark.parametrize("path", ["websocket", "appsync"])
@pytest.mark.parametrize("failure", ["throttled", "model_timeout", "model_error", None])
def test_an_answer_that_is_given_up_ends_with_one_error_that_says_why(
    functions_with: FunctionsFactory, capsys: pytest.CaptureFixture[str], path: Any, failure: str | None
) -> None:
    functions = functions_with()
    session_id = given_up(functions, path, failure)
    assert functions.give_up(session_id) == "ended"
    frames = received(functions, session_id)
    assert_whole(frames)
    assert [frame["attempt"] for frame in frames] == [2, 2]
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == (failure or "internal", True)
    assert functions.status(session_id) == "failed"
    assert functions.stored(session_id) == frames
    [metric] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "RecoveriesGivenUp" in line]
    assert (metric["RecoveriesGivenUp"], metric["path"], metric["session_id"]) == ([1.0], path, session_id)


def test_an_answer_is_given_up_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    assert [functions.give_up(session_id), functions.give_up(session_id)] == ["ended", "ended"]
    assert_whole(functions.frames(CLIENT))
    assert functions.give_up("9f0b2c4e-0000-4000-8000-000000000000") == "ended"


def test_an_answer_that_another_worker_has_is_not_given_up(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.taken(session_id)
    assert functions.give_up(session_id) == "taken"
    assert functions.status(session_id) == "running"


@pytest.mark.parametrize("unwanted", [True, False], ids=["gone for long", "stopped"])
def test_an_answer_that_nobody_wants_is_cancelled_and_not_failed(
    functions_with: FunctionsFactory, unwanted: bool
) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    if unwanted:
        functions.disconnect(CLIENT)
    else:
        functions.sessions.request_cancel(session_id, SUB)
    assert functions.give_up(session_id, lingered=unwanted) == "ended"
    assert functions.status(session_id) == "cancelled"
    assert functions.stored(session_id)[-1]["stopReason"] == "cancelled"


def test_a_client_that_came_back_at_the_last_moment_is_told_of_the_failure(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.disconnect(CLIENT)
    functions.moved(session_id, ANOTHER)
    assert functions.give_up(session_id, lingered=True) == "ended"
    assert functions.frames(ANOTHER)[-1]["error"]["code"] == "model_error"
    assert functions.status(session_id) == "failed"


def test_an_answer_over_http_ends_without_being_sent_anywhere(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = lost(functions, "url")
    assert functions.give_up(session_id) == "ended"
    assert functions.status(session_id) == "failed"
    assert_whole(functions.stored(session_id))
    assert functions.api.endpoint.requests == functions.topics.endpoint.requests == []


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_an_end_is_queued_where_the_answer_was(functions_with: FunctionsFactory, path: Any) -> None:
    functions = functions_with()
    session_id = given_up(functions, path, delivery="queued")
    assert functions.give_up(session_id) == "ended"
    assert_whole(queued_frames(functions.topics, session_id))
    assert received(functions, session_id) == []


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_an_end_that_nobody_can_get_is_there_for_whoever_asks(functions_with: FunctionsFactory, path: Any) -> None:
    functions = functions_with()
    functions.api.always(CLIENT, BROKEN)
    functions.graphql.always(BROKEN)
    functions.topics.always(topics_api.BROKEN)
    session_id = given_up(functions, path)
    assert functions.give_up(session_id) == "ended"
    assert functions.status(session_id) == "failed"
    assert_whole(functions.stored(session_id))


def test_while_the_table_is_out_no_try_is_used_up(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.table.unreachable = True
    assert functions.generate(session_id) == "taken"
    functions.table.unreachable = False
    assert functions.status(session_id) == "recovering"


@pytest.mark.parametrize("step", ["look", "give_up"])
def test_while_the_table_is_out_the_state_machine_has_to_try_again(functions_with: FunctionsFactory, step: str) -> None:
    functions = functions_with()
    session_id = given_up(functions)
    functions.table.unreachable = True
    with pytest.raises(Exception):  # noqa: B017, PT011 - the state machine retries whatever it is
        getattr(functions, step)(session_id)
    functions.table.unreachable = False
    assert functions.status(session_id) == "recovering"


# The interface


@pytest.mark.parametrize(
    "event",
    [{}, {"step": "look"}, {"step": "odd", "sessionId": SAMPLE_SESSION}, {"sessionId": SAMPLE_SESSION}],
    ids=repr,
)
def test_an_event_that_is_no_step_is_a_fault(functions_with: FunctionsFactory, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no step"):
        functions_with().step(**event)


def test_the_sample_events_are_steps(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    functions.forget(SAMPLE_SESSION)
    given_up(functions, session_id=SAMPLE_SESSION)
    assert functions.step(**sample("recovery", "look"))["next"] == "generate"
    assert functions.step(**sample("recovery", "generate")) == {"result": "ended"}
    assert functions.step(**sample("recovery", "give_up")) == {"result": "ended"}
    assert functions.status(SAMPLE_SESSION) == "complete"


def test_neither_prompts_nor_answers_get_into_results_or_log_lines(
    functions_with: FunctionsFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    """Results are in the execution's history."""
    answer = anthropic_answer([MARK])
    functions = functions_with(
        streamed(answer), streamed([*answer[:3], exception("throttlingException")]), refused(400, "ValidationException")
    )
    results: list[Any] = []
    with log_lines() as lines:
        for model in (CLAUDE, CLAUDE, CLAUDE, "gone.model"):
            session_id = given_up(functions, prompt=MARK, system=MARK, model=model)
            results.append(functions.step(step="look", sessionId=session_id, tries=0, lingered=False))
            results.append(functions.step(step="generate", sessionId=session_id))
            results.append(functions.step(step="give_up", sessionId=session_id, lingered=False))
        functions.api.always(CLIENT, FORBIDDEN)
        functions.topics.always(topics_api.FORBIDDEN)
        results.append(functions.give_up(given_up(functions, prompt=MARK)))
    logged = "\n".join([*lines, *capfd.readouterr()])
    for said in ("looked", "stream ended", "session ended in its worker's place", "end not delivered"):
        assert f'"message":"{said}"' in logged
    assert MARK not in logged + json.dumps(results)


def test_a_worker_that_was_overtaken_says_no_more(functions_with: FunctionsFactory) -> None:
    model = Talker()
    functions = functions_with(model)
    session_id = given_up(functions)
    model.says("Hel")
    model.then(lambda: functions.sessions.claim(session_id, "another", time() + LEASE_SECONDS + 1))
    model.awaits_leaving()
    assert functions.generate(session_id) == "taken"
    assert model.left.wait(PATIENCE_SECONDS)
    assert "complete" not in {frame["type"] for frame in functions.frames(CLIENT)}
