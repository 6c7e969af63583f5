"""Publishes frames to the subscribers of an AppSync API, by its mutation `publishToken`."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from random import random
from typing import Any
from urllib.parse import urlsplit

from msgspec import DecodeError
from msgspec.json import decode, encode

from tokenstream.frames import Reasoning, Sealed, Token
from tokenstream.retries import BUDGET_SECONDS, Retries, TryAgain, post
from tokenstream.signing import SignedConnection
from tokenstream.sinks import Refused

# Subscribers get what is selected here and null for the rest: the filter's fields and every field of a TokenEvent.
# The text travels as variables, never in the query.
_MUTATION = """\
mutation PublishToken(
  $sessionId: ID!, $owner: ID!, $attempt: Int!, $sequence: Int!, $type: String!, $token: String, $frame: AWSJSON!
) {
  publishToken(
    sessionId: $sessionId, owner: $owner, attempt: $attempt, sequence: $sequence,
    type: $type, token: $token, frame: $frame
  ) { sessionId owner attempt sequence type token isComplete frame timestamp }
}
"""

_INVALID = "no type"
_PERMANENT = frozenset({"Unauthorized", "UnauthorizedException", "BadRequestException", "ValidationError", _INVALID})
"""Types of GraphQL errors that another try doesn't mend."""

_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "LimitExceededException"})
"""Types that AWS's services give the status 400 as well as 429."""

_logger = logging.getLogger(__name__)


class PublishToken:
    """Publishes over one kept-alive connection to an API, `https://<host>/graphql`.

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
        self._path = urlsplit(endpoint).path
        self._retries = Retries(clock=clock, wait=wait, jitter=jitter)

    def __call__(self, owner: str, sealed: Sealed, *, patient: bool = True) -> None:
        """Publish a frame of a user's session; it has reached AppSync when this returns, perhaps twice.

        Raises `DeliveryFailed`: within its budget of time where the caller is patient, else with the first try.
        `Refused` is one of these.
        """
        body = encode({"query": _MUTATION, "variables": _variables(owner, sealed)})
        ids = {"session_id": sealed.frame.session_id}
        self._retries.run(lambda: self._post(body, ids), BUDGET_SECONDS if patient else 0, ids)

    def close(self) -> None:
        """Close the connection to AppSync."""
        self._http.close()

    def _post(self, body: bytes, ids: Mapping[str, str]) -> None:
        response, answer = post(self._http, self._path, body, "application/json")
        failure = response.getheader("x-amzn-ErrorType").partition(":")[0] or _failure(answer)
        if failure is None and response.status == HTTPStatus.OK:
            return
        if failure in _THROTTLED or (response.status == HTTPStatus.OK and failure not in _PERMANENT):
            raise TryAgain(f"error {failure}")
        _logger.error("frame refused", extra={**ids, "status": response.status, "reason": failure})
        raise Refused(f"status {response.status}, error {failure}")


def _variables(owner: str, sealed: Sealed) -> dict[str, Any]:
    frame = sealed.frame
    return {
        "sessionId": frame.session_id,
        "owner": owner,
        "attempt": frame.attempt,
        "sequence": frame.sequence,
        "type": frame.__struct_config__.tag,
        "token": frame.token if isinstance(frame, Token | Reasoning) else None,
        "frame": sealed.json.decode(),
    }


def _failure(answer: bytes) -> str | None:
    """Return the type of the first GraphQL error, None where the mutation has succeeded."""
    try:
        document = decode(answer)
    except (DecodeError, UnicodeDecodeError):
        return "no JSON"
    match document:
        case {"errors": [{"errorType": str(error_type)}, *_]}:
            return error_type
        case {"errors": [{"path": [_, *_]}, *_]}:
            return "unknown"
        case {"errors": [_, *_]}:
            # GraphQL's own, of a request that doesn't fit the schema: it has neither a type nor a path.
            return _INVALID
        case {"data": {"publishToken": {}}}:
            return None
    return "no data"
