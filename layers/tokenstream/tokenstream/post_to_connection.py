"""Sends messages to clients of a WebSocket API, by API Gateway's `@connections`.

Source: API Gateway developer guide, "Use @connections commands in your backend service"; its errors are those of
`PostToConnection` in the service model of `apigatewaymanagementapi`.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from random import random
from urllib.parse import quote, urlsplit

from tokenstream.signing import ConnectionFailed, ReadTimedOut, SignedConnection
from tokenstream.sinks import ClientGone, DeliveryFailed

MAX_MESSAGE_BYTES = 32 * 1024
"""What API Gateway sends in one WebSocket frame, and meters as one message."""

TIMEOUT_SECONDS = 3.0
BUDGET_SECONDS = 4.0
"""How long one message is tried; what is left of the function's time at a deadline has to do for it."""

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0

_logger = logging.getLogger(__name__)


class _TryAgain(Exception):
    """The message may not have been taken; the reason is for the log."""


class PostToConnection:
    """Posts over one kept-alive connection to a stage, `https://<host>/<stage>`.

    `connect` gives the signed connection to its host. Times are seconds; `wait` lets some pass, `jitter` gives a number
    from 0 to 1.
    """

    def __init__(
        self,
        connect: Callable[[], SignedConnection],
        endpoint: str,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], None],
        jitter: Callable[[], float] = random,
    ) -> None:
        self._http = connect()
        self._stage = urlsplit(endpoint).path
        self._clock = clock
        self._wait = wait
        self._jitter = jitter

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        """Send a message; it has arrived at API Gateway when this returns, perhaps twice if an answer was lost.

        Raises `ClientGone` where the connection is closed, and `DeliveryFailed` when the message could not be sent:
        within its budget of time where the caller is patient, else with the first try.
        """
        give_up_at = self._clock() + (BUDGET_SECONDS if patient else 0)
        delay = _FIRST_DELAY
        while True:
            try:
                self._post(connection_id, message)
            except _TryAgain as reason:
                pause = delay * (0.5 + self._jitter() / 2)
                if self._clock() + pause >= give_up_at:
                    _logger.warning("message not delivered", extra=_ids(connection_id) | {"reason": str(reason)})
                    raise DeliveryFailed(str(reason)) from reason
                self._wait(pause)
                delay = min(2 * delay, _LONGEST_DELAY)
            else:
                return

    def close(self) -> None:
        """Close the connection to API Gateway."""
        self._http.close()

    def _post(self, connection_id: str, message: bytes) -> None:
        # `@` and what a connection id ends with, `=`, are encoded as the SDKs do.
        path = f"{self._stage}/%40connections/{quote(connection_id, safe='')}"
        try:
            response = self._http.request("POST", path, message, {"Content-Type": "application/octet-stream"})
            while self._http.read():
                pass
        except ConnectionFailed as error:
            raise _TryAgain("connection failed") from error
        except ReadTimedOut as error:
            raise _TryAgain("timed out") from error
        match response.status:
            case HTTPStatus.OK:
                return
            case HTTPStatus.GONE:
                raise ClientGone
            case HTTPStatus.TOO_MANY_REQUESTS:
                # The rate is exceeded, or the client is slow and its buffer full.
                raise _TryAgain("throttled")
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _TryAgain(f"status {status}")
            case status:
                error_type = response.headers.get("x-amzn-ErrorType", "").partition(":")[0]
                _logger.error("message refused", extra=_ids(connection_id) | {"status": status, "reason": error_type})
                raise DeliveryFailed(f"status {status}")


def _ids(connection_id: str) -> dict[str, object]:
    return {"connection_id": connection_id}
