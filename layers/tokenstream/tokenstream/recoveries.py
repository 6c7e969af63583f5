"""The executions of the state machine that recovers sessions. They know a session's id and nothing else of it."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from msgspec.json import encode

from tokenstream.errors import Internal

SAME_SECONDS = 60
"""Within the same span of so many seconds several calls for one session start one recovery. More would do no harm, but
for their price: a session is claimed by one of them at a time."""


class RecoveryUnavailable(Internal):
    """The state machine did not answer as it should; another try may work."""


class Recoveries:
    """Starts them. `client` is a Step Functions client of boto3's, botocore's or `aws_clients`'."""

    def __init__(self, client: Any, state_machine: str) -> None:
        self._client = client
        self._state_machine = state_machine

    def start(self, session_id: str, now: float) -> bool:
        """Have a session recovered; False where that was asked for a moment ago. Raises `RecoveryUnavailable`."""
        try:
            self._client.start_execution(
                stateMachineArn=self._state_machine,
                name=f"{session_id}-{int(now // SAME_SECONDS)}",
                input=encode({"sessionId": session_id}).decode(),
            )
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ExecutionAlreadyExists":
                return False
            raise RecoveryUnavailable from error
        return True
