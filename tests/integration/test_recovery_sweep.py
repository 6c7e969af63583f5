"""Sessions that nobody looks after any more."""

import json
from collections.abc import Iterator
from time import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.function_module import Context
from tests.integration.background_functions import Functions, FunctionsFactory, background_functions, sample
from tests.integration.websocket_functions import Tables, websocket_tables
from tokenstream.errors import ErrorCode
from tokenstream.session import LEASE_SECONDS, NEXT_ATTEMPT_SECONDS
from tokenstream.sessions import SessionsUnavailable

OUT = ClientError({"Error": {"Code": "ThrottlingException", "Message": "words of theirs"}}, "StartExecution")
LONG_AGO = 1000.0


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    # A sweep sees every session that there is.
    for item in tables.sessions.items():
        tables.sessions.delete_item(TableName="sessions", Key={name: item[name] for name in ("sessionId", "item")})
    with background_functions(tables) as start:
        yield start


def sweep(functions: Functions, seconds_left: float = 55.0) -> dict[str, int]:
    context = Context(aws_request_id="sweep", seconds_left=seconds_left)
    result: dict[str, int] = functions.recovery_sweep.handler(sample("recovery_sweep", "schedule"), context)
    return result


def running(functions: Functions, path: Any, lease_left: float) -> str:
    session_id = functions.accepted(path, ago=LONG_AGO)
    functions.taken(session_id, lease_left=lease_left)
    return session_id


def recovering(functions: Functions, ago: float) -> str:
    session_id = functions.accepted(ago=LONG_AGO)
    claim, _ = functions.taken(session_id)
    functions.sessions.release(claim, ErrorCode.THROTTLED, time() - ago)
    return session_id


def test_sessions_that_everybody_has_left_are_recovered_and_no_others(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    # Whoever was told of the failure has its minute.
    left = 65.0
    orphans = {
        running(functions, "websocket", -left),
        running(functions, "appsync", -left),
        functions.accepted("url", ago=LEASE_SECONDS + left),
        functions.accepted("rest", ago=LEASE_SECONDS + left),
        functions.accepted(ago=90 + left, begin_within=90),
        functions.accepted("appsync", ago=900 + left, begin_within=900),
        recovering(functions, NEXT_ATTEMPT_SECONDS + left),
    }
    living = {
        running(functions, "websocket", 5),
        running(functions, "appsync", -5),
        functions.accepted("url", ago=LEASE_SECONDS - 5),
        functions.accepted("rest", ago=LEASE_SECONDS + 5),
        functions.accepted(ago=85, begin_within=90),
        functions.accepted("appsync", ago=890, begin_within=900),
        recovering(functions, NEXT_ATTEMPT_SECONDS - 5),
        functions.accepted(),
    }
    ended = functions.accepted("url", ago=LONG_AGO)
    functions.give_up(ended)
    result = sweep(functions)
    assert sorted(functions.executions.sessions()) == sorted(orphans)
    assert result["orphaned"] == len(orphans)
    # What is younger than a lease is not even looked at.
    assert len(orphans) < result["sessions"] < len(orphans | living)
    for name, text in functions.executions.inputs.items():
        assert name.startswith(json.loads(text)["sessionId"])
        assert json.loads(text).keys() == {"sessionId"}


def test_somebody_can_see_how_many_sessions_were_found(
    functions_with: FunctionsFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = functions_with()
    session_id = running(functions, "appsync", -100)
    sweep(functions)
    [metric] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "OrphanedSessions" in line]
    assert (metric["OrphanedSessions"], metric["path"], metric["session_id"]) == ([1.0], "appsync", session_id)


def test_a_session_whose_recovery_could_not_be_started_is_found_again_and_keeps_none_of_the_others(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    orphans = [running(functions, "websocket", -100) for _ in range(3)]
    assert functions.recovery_sweep
    functions.executions.fails = OUT
    assert sweep(functions) == {"sessions": 3, "orphaned": 3}
    functions.executions.fails = None
    assert sweep(functions) == {"sessions": 3, "orphaned": 3}
    assert sorted(functions.executions.sessions()) == sorted(orphans)


def test_a_session_that_ends_or_expires_while_it_is_looked_at_is_left_alone(functions_with: FunctionsFactory) -> None:
    """The index tells the truth of a moment ago."""
    functions = functions_with()
    ended, expired = running(functions, "websocket", -100), running(functions, "websocket", -100)

    def meanwhile(operation: str) -> None:
        if operation == "get_item":
            functions.table.before = lambda operation: None
            functions.give_up(ended)
            functions.forget(expired)

    functions.table.before = meanwhile
    assert sweep(functions)["orphaned"] == 0
    assert functions.executions.sessions() == []


def test_a_sweep_that_has_too_much_to_do_stops_in_time_and_leaves_the_rest_to_the_next(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    for _ in range(3):
        running(functions, "websocket", -100)
    assert sweep(functions, functions.recovery_sweep.LEFT_SECONDS - 0.1) == {"sessions": 0, "orphaned": 0}
    assert functions.executions.sessions() == []
    assert sweep(functions, functions.recovery_sweep.LEFT_SECONDS + 0.1)["orphaned"] == 3


def test_while_the_table_is_out_somebody_hears_of_it(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    running(functions, "websocket", -100)
    functions.table.unreachable = True
    with pytest.raises(SessionsUnavailable):
        sweep(functions)
