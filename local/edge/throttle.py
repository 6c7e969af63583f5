"""A stage's throttling."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Throttle:
    """Requests a second, and at once."""

    rate: float
    burst: int


class TokenBucket:
    """Admits `rate` requests a second and `burst` at once, as API Gateway. The caller tells the time, in seconds."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._level = float(throttle.burst)
        self._last: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more request is admitted now."""
        if self._last is not None:
            self._level = min(self._throttle.burst, self._level + (now - self._last) * self._throttle.rate)
        self._last = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
