"""A token bucket, as API Gateway throttles a stage."""


class TokenBucket:
    """Admits `rate` requests a second and `burst` at once. The caller tells the time, in seconds."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._last: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more request is admitted now."""
        if self._last is not None:
            self._level = min(self._burst, self._level + (now - self._last) * self._rate)
        self._last = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
