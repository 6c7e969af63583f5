"""What API Gateway tells a client itself: why its handshake is refused, or what became of a message."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from websockets.http11 import Response

INTEGRATION_FAILED = "Internal server error"
INTEGRATION_TIMED_OUT = "Endpoint request timed out"


class RefusedError(Exception):
    """The client isn't let in."""

    def __init__(self, status: HTTPStatus, body: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def own_message(message: str, connection_id: str | None, request_id: str | None = None) -> str:
    """Write a message in API Gateway's own shape."""
    return json.dumps({"message": message, "connectionId": connection_id, "requestId": request_id or str(uuid4())})


def refused(status: HTTPStatus, connection_id: str | None = None) -> RefusedError:
    """Refuse with this status, in the words that go with it."""
    match status:
        case HTTPStatus.GATEWAY_TIMEOUT:
            message = INTEGRATION_TIMED_OUT
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            message = INTEGRATION_FAILED
        case _:
            message = status.phrase
    return RefusedError(status, own_message(message, connection_id))


def refused_by_emulator(response: Response, connection_id: str | None, connect_status: int | None) -> RefusedError:
    """Refuse as the emulator did. It says 403 whatever `$connect` answered, if that was invoked: so that goes first."""
    status = _error_status(connect_status or response.status_code)
    given = _document(response.body)
    return RefusedError(status, json.dumps(given)) if given.get("message") else refused(status, connection_id)


def _error_status(code: int) -> HTTPStatus:
    try:
        status = HTTPStatus(code)
    except ValueError:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return status if status >= HTTPStatus.BAD_REQUEST else HTTPStatus.INTERNAL_SERVER_ERROR


def _document(body: bytes | bytearray | None) -> Mapping[str, Any]:
    try:
        document = json.loads(body or b"")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
