"""Posts to the services of the direct ways out, and tries again what they didn't take for as long as it is worth it."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from random import random

from tokenstream.http1 import Response
from tokenstream.signing import ConnectionFailed, ReadTimedOut, SignedConnection
from tokenstream.sinks import DeliveryFailed

TIMEOUT_SECONDS = 3.0
"""How long a service may be silent."""

BUDGET_SECONDS = 2.0
"""How long one message is tried; what is left of the function's time at a deadline has to do for it."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0

_logger = logging.getLogger(__name__)


class TryAgain(Exception):
    """The message may not have been taken; the reason is for the log."""


def post(http: SignedConnection, path: str, body: bytes, content_type: str) -> tuple[Response, bytes]:
    """Send a request once; returns the response with its whole body. Raises `TryAgain` where another try may help."""
    try:
        response, answer = http.exchange("POST", path, body, {"Content-Type": content_type})
    except ConnectionFailed as error:
        raise TryAgain("connection failed") from error
    except ReadTimedOut as error:
        raise TryAgain("timed out") from error
    if response.status == HTTPStatus.TOO_MANY_REQUESTS or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TryAgain(f"status {response.status}")
    return response, answer


class Retries:
    """Times are seconds of `clock`; `wait` lets some pass, `jitter` gives a number from 0 to 1."""

    def __init__(
        self, *, clock: Callable[[], float], wait: Callable[[float], None], jitter: Callable[[], float] = random
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._jitter = jitter

    def run(self, attempt: Callable[[], None], budget: float, ids: Mapping[str, str]) -> None:
        """Call `attempt` until it no longer raises `TryAgain`; raises `DeliveryFailed` when the budget is used up.

        `ids` go into the log line that then tells why.
        """
        give_up_at = self._clock() + budget
        delay = _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except TryAgain as reason:
                pause = delay * (0.5 + self._jitter() / 2)
                if self._clock() + pause >= give_up_at:
                    _logger.warning("message not delivered", extra={**ids, "reason": str(reason)})
                    raise DeliveryFailed(str(reason)) from reason
                self._wait(pause)
                delay = min(2 * delay, _LONGEST_PAUSE)
