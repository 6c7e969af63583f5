import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from tests.fakes.frames import SESSION
from tokenstream.recoveries import SAME_SECONDS, Recoveries, RecoveryUnavailable

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:recovery"
NOW = 1_763_668_800.25
EXECUTION = f"arn:aws:states:us-east-1:123456789012:execution:recovery:{SESSION}-1"


class StepFunctions:
    """A client with the SDK's own checks of what is sent, between a test and nobody."""

    def __init__(self) -> None:
        self.client: Any = botocore.session.Session().create_client(
            "stepfunctions", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        )
        self.stub = Stubber(self.client)
        self.exceptions = self.client.exceptions
        self.calls: list[dict[str, Any]] = []
        self.fails: Exception | None = None

    def start_execution(self, **parameters: Any) -> Any:
        self.calls.append(parameters)
        if self.fails is not None:
            raise self.fails
        return self.client.start_execution(**parameters)

    def answers(self, times: int = 1) -> None:
        for _ in range(times):
            self.stub.add_response("start_execution", {"executionArn": EXECUTION, "startDate": 0})


@pytest.fixture
def service() -> Iterator[StepFunctions]:
    service = StepFunctions()
    with service.stub:
        yield service
    service.client.close()


@pytest.fixture
def recoveries(service: StepFunctions) -> Recoveries:
    return Recoveries(service, MACHINE)


def test_a_recovery_knows_the_sessions_id_and_nothing_else(service: StepFunctions, recoveries: Recoveries) -> None:
    """An execution's history can be read by whoever may look at the state machine."""
    service.answers()
    assert recoveries.start(SESSION, NOW) is True
    [call] = service.calls
    assert call["stateMachineArn"] == MACHINE
    assert json.loads(call["input"]) == {"sessionId": SESSION}


def test_a_failure_that_several_report_starts_one_recovery_and_a_later_one_another(
    service: StepFunctions, recoveries: Recoveries
) -> None:
    service.answers(4)
    minute = NOW - NOW % SAME_SECONDS
    for now in (minute, minute + 59.9, minute + 60):
        recoveries.start(SESSION, now)
    recoveries.start(f"7{SESSION[1:]}", minute)
    names = [call["name"] for call in service.calls]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    # What Step Functions allows (API reference, StartExecution).
    assert all(len(name) <= 80 and not set(name) & set(' <>{}[]?*"#%\\^|~`$&,;:/') for name in names)


def test_a_recovery_that_was_started_a_moment_ago_is_not_started_again(
    service: StepFunctions, recoveries: Recoveries
) -> None:
    service.stub.add_client_error("start_execution", "ExecutionAlreadyExists", "words of theirs", 400)
    assert recoveries.start(SESSION, NOW) is False


@pytest.mark.parametrize(
    "fault",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "words of theirs"}}, "StartExecution"),
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "words of theirs"}}, "StartExecution"),
        EndpointConnectionError(endpoint_url="https://states.us-east-1.amazonaws.com"),
    ],
    ids=["throttled", "not allowed", "out of reach"],
)
def test_a_recovery_that_could_not_be_started_is_reported(
    service: StepFunctions, recoveries: Recoveries, fault: Exception
) -> None:
    service.fails = fault
    with pytest.raises(RecoveryUnavailable) as raised:
        recoveries.start(SESSION, NOW)
    assert raised.value.retryable
    assert "theirs" not in raised.value.message
