"""How long to wait between tries, and when to give up: pure, time is an argument."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Times in seconds. The delays double from `first_delay` to `longest_delay`, half of each at random.

    `start_budget` bounds the time spent on tries to send the request, `resume_budget` the time without a new frame
    after a broken connection.
    """

    first_delay: float = 0.25
    longest_delay: float = 8.0
    start_budget: float = 5.0
    resume_budget: float = 60.0


class Backoff:
    """The delays of one stream. `jitter` gives numbers from 0 to 1."""

    def __init__(self, policy: RetryPolicy, jitter: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._failures = 0
        self._failing_since = 0.0

    def next_delay(self, now: float, *, budget: float, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait after a failure, at least `retry_after`; `None` when that exceeds the budget."""
        if self._failures == 0:
            self._failing_since = now
        full = min(self._policy.longest_delay, self._policy.first_delay * 2**self._failures)
        self._failures += 1
        delay = max(full * (0.5 + self._jitter() / 2), retry_after or 0.0)
        return delay if now + delay - self._failing_since <= budget else None

    def progress(self) -> None:
        """Start over: something arrived."""
        self._failures = 0
