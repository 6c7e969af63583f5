"""What has failed, and which sessions are recovered for it."""

import json
from collections.abc import Iterator
from itertools import count
from time import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.fakes.log_lines import log_lines
from tests.function_module import Context
from tests.integration.background_functions import (
    SAMPLE_SESSION,
    Functions,
    FunctionsFactory,
    background_functions,
    sample,
)
from tests.integration.websocket_functions import Tables, websocket_tables
from tokenstream.session import LEASE_SECONDS

MARK = "mark-7f3a9c"
OUT: dict[str, Exception] = {
    "refused": ClientError({"Error": {"Code": "ThrottlingException", "Message": "words of theirs"}}, "StartExecution"),
    "unreachable": EndpointConnectionError(endpoint_url="https://states.us-east-1.amazonaws.com"),
}

_numbers = count(1)


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    with background_functions(tables) as start:
        yield start


def call(functions: Functions, event: dict[str, Any]) -> Any:
    return functions.recovery_start.handler(json.loads(json.dumps(event)), Context(f"start-{next(_numbers)}"))


def dead_letter(body: str) -> dict[str, Any]:
    [record] = sample("recovery_start", "dead_letter")["Records"]
    return {**record, "messageId": f"message-{next(_numbers)}", "body": body}


def prompt(session_id: str) -> dict[str, Any]:
    return dead_letter(json.dumps({"sessionId": session_id, "request": {"prompt": MARK}}))


def failed(payload: dict[str, Any], worker: str, condition: str = "RetriesExhausted") -> dict[str, Any]:
    """Return Lambda's record of an invocation that has failed."""
    record = sample("recovery_start", "timed_out")
    record["requestContext"] |= {"requestId": worker, "condition": condition}
    return {**record, "requestPayload": payload}


def started(functions: Functions) -> list[str]:
    """Return the sessions whose recovery was started; nothing but their ids is told."""
    for name, text in functions.executions.inputs.items():
        document = json.loads(text)
        assert document.keys() == {"sessionId"}
        assert name.startswith(document["sessionId"])
    return functions.executions.sessions()


def test_a_prompt_whose_deliveries_are_used_up_is_recovered(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted("appsync")
    assert call(functions, {"Records": [prompt(session_id)]}) == {"batchItemFailures": []}
    assert started(functions) == [session_id]


def test_a_stream_whose_worker_has_failed_is_recovered_without_waiting_for_its_lease(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id, "Hel")
    call(functions, failed({"sessionId": session_id, "request": {"prompt": MARK}}, claim.worker))
    assert started(functions) == [session_id]
    assert functions.status(session_id) == "recovering"
    assert functions.look(session_id) == "generate"


def test_a_worker_that_lives_keeps_its_answer_whatever_happened_to_another(functions_with: FunctionsFactory) -> None:
    """Of an event that was delivered twice one invocation may fail."""
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    call(functions, failed({"sessionId": session_id, "request": {"prompt": MARK}}, "another"))
    assert functions.status(session_id) == "running"
    functions.sessions.renew(claim, time())
    assert functions.look(session_id) == "wait"


def test_a_stream_that_never_started_is_recovered(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    call(functions, failed({"sessionId": session_id, "request": {"prompt": MARK}}, "never-ran", "EventAgeExceeded"))
    assert started(functions) == [session_id]
    assert functions.look(session_id) == "generate"


def test_a_replay_that_failed_starts_nothing_and_ends_nothing(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    call(functions, failed({**sample("ws_stream", "replay"), "sessionId": session_id}, claim.worker))
    assert started(functions) == []
    assert functions.status(session_id) == "running"


def test_an_answer_that_has_ended_is_left_as_it_is(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    functions.give_up(session_id)
    before = functions.table.record(session_id)
    call(functions, failed({"sessionId": session_id, "request": {"prompt": MARK}}, before["worker"]["S"]))
    assert functions.table.record(session_id) == before
    assert functions.look(session_id) == "end"


def test_what_is_told_twice_starts_one_recovery(
    functions_with: FunctionsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = functions_with()
    # Names of executions hold the minute.
    monkeypatch.setattr(functions.recovery_start, "time", lambda: 1_800_000_000.0)
    session_id = functions.accepted("appsync")
    records = [prompt(session_id), prompt(session_id)]
    assert call(functions, {"Records": records}) == {"batchItemFailures": []}
    assert started(functions) == [session_id]
    # Later something else may have happened to it.
    monkeypatch.setattr(functions.recovery_start, "time", lambda: 1_800_000_060.0)
    call(functions, {"Records": records})
    assert started(functions) == [session_id] * 2


@pytest.mark.parametrize("fault", OUT.values(), ids=OUT)
def test_while_the_state_machine_is_out_nothing_is_forgotten(
    functions_with: FunctionsFactory, fault: Exception
) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    record = prompt(session_id)
    assert functions.recovery_start
    functions.executions.fails = fault
    assert call(functions, {"Records": [record]}) == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    event = failed({"sessionId": session_id, "request": {"prompt": MARK}}, "worker")
    with pytest.raises(functions.recovery_start.RecoveryUnavailable):  # Lambda tries it again
        call(functions, event)
    functions.executions.fails = None
    assert call(functions, {"Records": [record]}) == {"batchItemFailures": []}
    assert started(functions) == [session_id]


def test_while_the_table_is_out_a_failed_worker_is_not_forgotten(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.accepted()
    claim, _ = functions.taken(session_id)
    functions.table.unreachable = True
    event = failed({"sessionId": session_id, "request": {"prompt": MARK}}, claim.worker)
    with pytest.raises(Exception):  # noqa: B017, PT011 - Lambda tries it again, whatever it is
        call(functions, event)
    functions.table.unreachable = False
    call(functions, event)
    assert started(functions) == [session_id]
    assert functions.status(session_id) == "recovering"


@pytest.mark.parametrize("body", ["no JSON", "[]", '{"sessionId": "mark", "request": {}}', '{"sessionId": null}'])
def test_a_message_that_is_no_prompt_is_done_with_and_wedges_nothing(
    functions_with: FunctionsFactory, body: str
) -> None:
    functions = functions_with()
    session_id = functions.accepted("appsync")
    assert call(functions, {"Records": [dead_letter(body), prompt(session_id)]}) == {"batchItemFailures": []}
    assert started(functions) == [session_id]


@pytest.mark.parametrize("event", [{}, {"requestPayload": {}}, {"sessionId": SAMPLE_SESSION}], ids=repr)
def test_an_event_of_nobodys_is_a_fault_and_starts_nothing(
    functions_with: FunctionsFactory, event: dict[str, Any]
) -> None:
    functions = functions_with()
    with pytest.raises(ValueError, match="neither a dead letter nor a failed invocation"):
        call(functions, event)
    assert started(functions) == []


@pytest.mark.parametrize("name", ["dead_letter", "timed_out", "given_up", "never_started"])
def test_the_sample_events_start_a_recovery(functions_with: FunctionsFactory, name: str) -> None:
    functions = functions_with()
    call(functions, sample("recovery_start", name))
    assert started(functions) == [SAMPLE_SESSION]


def test_no_log_line_has_a_prompt(functions_with: FunctionsFactory, capfd: pytest.CaptureFixture[str]) -> None:
    functions = functions_with()
    session_id = functions.accepted("appsync")
    event = failed({"sessionId": session_id, "request": {"prompt": MARK}}, "worker")
    with log_lines() as lines:
        call(functions, {"Records": [prompt(session_id), dead_letter(MARK)]})
        call(functions, event)
        call(functions, failed({"sessionId": session_id, "owner": MARK}, "worker"))
        functions.executions.fails = OUT["refused"]
        call(functions, {"Records": [prompt(session_id)]})
        with pytest.raises(functions.recovery_start.RecoveryUnavailable):
            call(functions, event)
        with pytest.raises(ValueError, match="neither"):
            call(functions, {"prompt": MARK})
    logged = "\n".join([*lines, *capfd.readouterr()])
    for said in ("recovery started", "message is no prompt", "a replay has failed", "recovery not started"):
        assert f'"message":"{said}"' in logged
    assert session_id in logged
    assert MARK not in logged


def test_a_failed_worker_is_waited_for_no_longer_than_that(functions_with: FunctionsFactory) -> None:
    """A worker whose failure nobody has told of is waited for until its lease has run out."""
    functions = functions_with()
    session_id = functions.accepted()
    functions.taken(session_id, lease_left=LEASE_SECONDS)
    call(functions, {"Records": [prompt(session_id)]})
    assert functions.look(session_id) == "wait"
