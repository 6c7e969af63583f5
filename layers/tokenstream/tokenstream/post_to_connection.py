"""Sends messages to clients of a WebSocket API, by API Gateway's `@connections`.

Source: API Gateway developer guide, "Use @connections commands in your backend service"; its errors are those of
`PostToConnection` in the service model of `apigatewaymanagementapi`.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from random import random
from urllib.parse import quote, urlsplit

from tokenstream.retries import BUDGET_SECONDS, Retries, post
from tokenstream.signing import SignedConnection
from tokenstream.sinks import ClientGone, Refused

MAX_MESSAGE_BYTES = 32 * 1024
"""What API Gateway sends in one WebSocket frame, and meters as one message."""

_logger = logging.getLogger(__name__)


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
        self._retries = Retries(clock=clock, wait=wait, jitter=jitter)

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        """Send a message; it has arrived at API Gateway when this returns, perhaps twice if an answer was lost.

        Raises `ClientGone` where the connection is closed, and `DeliveryFailed` when the message could not be sent:
        within its budget of time where the caller is patient, else with the first try. `Refused` is one of these.
        """
        budget = BUDGET_SECONDS if patient else 0
        self._retries.run(lambda: self._post(connection_id, message), budget, _ids(connection_id))

    def close(self) -> None:
        """Close the connection to API Gateway."""
        self._http.close()

    def _post(self, connection_id: str, message: bytes) -> None:
        path = _path(self._stage, connection_id)
        # Throttled: the rate is exceeded, or the client is slow and its buffer full.
        response, _ = post(self._http, path, message, "application/octet-stream")
        match response.status:
            case HTTPStatus.OK:
                return
            case HTTPStatus.GONE:
                raise ClientGone
            case status:
                error_type = response.getheader("x-amzn-ErrorType").partition(":")[0]
                _logger.error("message refused", extra={**_ids(connection_id), "status": status, "reason": error_type})
                raise Refused(f"status {status}")


@lru_cache(64)
def _path(stage: str, connection_id: str) -> str:
    # As botocore has it: of the path the id alone is encoded, which ends with `=`.
    return f"{stage}/@connections/{quote(connection_id, safe='')}"


def _ids(connection_id: str) -> dict[str, str]:
    return {"connection_id": connection_id}
