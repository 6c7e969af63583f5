"""Clients of the services that are called now and then, over the connections that the tokens go over.

An SDK's client costs a cold start a tenth of a second and several megabytes before its first call, and each call a
millisecond. These have its face: the same names and parameters, `ClientError` for what a service refuses and
`BotoCoreError` where none answers. See docs/adr/0011.

Sources: API references of DynamoDB, SQS, Step Functions (AWS JSON 1.0) and Lambda (REST, Invoke).
"""

from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from random import random
from time import sleep
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import DecodeError
from msgspec.json import decode, encode

from tokenstream.signing import ConnectionFailed, ReadTimedOut, SignedConnection

TRIES = 2
CONNECT_TIMEOUT_SECONDS = 1.0
READ_TIMEOUT_SECONDS = 2.0
"""These services answer in milliseconds. What takes longer is tried again rather than waited for, within a lease's
time."""

_LONGEST_PAUSE = 0.2

# What passes by itself, beside what the status tells (5xx). Source: botocore's standard retry mode.
_PASSING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


class NoAnswer(BotoCoreError):
    """A service did not answer, or not in its protocol."""

    fmt = "{operation}: {reason}"


class _Service:
    """Calls of a service, from any thread. `connect` gives a signed connection to its host, `wait` lets seconds pass.

    A connection serves one call at a time and is kept for the next one.
    """

    def __init__(self, connect: Callable[[], SignedConnection], wait: Callable[[float], None] = sleep) -> None:
        self._connect = connect
        self._wait = wait
        # Nothing is opened yet, but a wrong endpoint fails here and the certificates are read: at the cold start.
        self._idle = deque([connect()])

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _post(self, operation: str, path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        for _ in range(TRIES - 1):
            try:
                return self._try(operation, path, body, headers)
            except NoAnswer:
                pass
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status < HTTPStatus.INTERNAL_SERVER_ERROR and error.response["Error"]["Code"] not in _PASSING:
                    raise
            self._wait(_LONGEST_PAUSE * random())  # noqa: S311 - jitter
        return self._try(operation, path, body, headers)

    def _try(self, operation: str, path: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            response, answer = connection.exchange("POST", path, body, headers)
        except (ConnectionFailed, ReadTimedOut) as error:
            raise NoAnswer(operation=operation, reason=type(error).__name__) from error
        finally:
            # After a failure it is closed, and opens again when it is used.
            self._idle.append(connection)
        return _result(operation, response.status, response.getheader("x-amzn-ErrorType"), answer)


class _JsonService(_Service):
    """A service of the protocol AWS JSON 1.0, in which the operation is a header."""

    _TARGET: str

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{self._TARGET}.{operation}"}
        return self._post(operation, "/", encode(parameters), headers)


class DynamoDB(_JsonService):
    """Amazon DynamoDB; attribute values as its API has them, none of them binary."""

    _TARGET = "DynamoDB_20120810"

    def get_item(self, **parameters: Any) -> dict[str, Any]:
        """Read an item."""
        return self._call("GetItem", parameters)

    def put_item(self, **parameters: Any) -> dict[str, Any]:
        """Write an item."""
        return self._call("PutItem", parameters)

    def update_item(self, **parameters: Any) -> dict[str, Any]:
        """Change an item."""
        return self._call("UpdateItem", parameters)

    def delete_item(self, **parameters: Any) -> dict[str, Any]:
        """Take an item away."""
        return self._call("DeleteItem", parameters)

    def query(self, **parameters: Any) -> dict[str, Any]:
        """Read a page of the items under a key."""
        return self._call("Query", parameters)

    def transact_write_items(self, **parameters: Any) -> dict[str, Any]:
        """Write several items or none. Repeated because its answer was lost, it succeeds again: the token says so."""
        return self._call("TransactWriteItems", {"ClientRequestToken": str(uuid4()), **parameters})


class Sqs(_JsonService):
    """Amazon SQS."""

    _TARGET = "AmazonSQS"

    def send_message(self, **parameters: Any) -> dict[str, Any]:
        """Put a message into a queue."""
        return self._call("SendMessage", parameters)

    def change_message_visibility(self, **parameters: Any) -> dict[str, Any]:
        """Say when a message that was received comes back."""
        return self._call("ChangeMessageVisibility", parameters)


class StepFunctions(_JsonService):
    """AWS Step Functions."""

    _TARGET = "AWSStepFunctions"

    def start_execution(self, **parameters: Any) -> dict[str, Any]:
        """Start a state machine."""
        return self._call("StartExecution", parameters)


class Lambda(_Service):
    """AWS Lambda."""

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - the API's names
        """Have a function invoked."""
        path = f"/2015-03-31/functions/{quote(FunctionName, safe='')}/invocations"
        return self._post("Invoke", path, Payload, {"X-Amz-Invocation-Type": InvocationType})


def _result(operation: str, status: int, error_type: str, answer: bytes) -> dict[str, Any]:
    try:
        document = decode(answer) if answer else {}
    except (DecodeError, RecursionError, ValueError):
        document = None
    if status < HTTPStatus.MULTIPLE_CHOICES and isinstance(document, dict):
        return document
    if status < HTTPStatus.BAD_REQUEST:
        raise NoAnswer(operation=operation, reason=f"not the protocol's answer, status {status}")
    fields = document if isinstance(document, dict) else {}
    # As in `com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException`, and `…Exception:http://…` in a header.
    code = str(error_type or fields.get("__type") or fields.get("Type") or status)
    code = code.partition(":")[0].rpartition("#")[2]
    message = str(fields.get("message") or fields.get("Message") or "")
    metadata = {"HTTPStatusCode": status}
    response: Any = {**fields, "Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    raise ClientError(response, operation)
