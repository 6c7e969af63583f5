"""A session that a test decides about."""

from collections.abc import Callable, Iterable

from tests.fakes.observed import Observed
from tokenstream.errors import ErrorCode
from tokenstream.frames import Sealed
from tokenstream.lease import Verdict
from tokenstream.session import Status


class FakeKeeper(Observed):
    """Gives the verdict it is told to give, or raises; remembers what it was asked."""

    def __init__(self, verdict: Verdict = Verdict.GO_ON, *, settles: bool = True) -> None:
        super().__init__()
        self.verdict = verdict
        self.settles = settles
        self.before_look: Callable[[], object] = lambda: None
        self.look_fails: Exception | None = None
        self.settle_fails: Exception | None = None
        self.kept: list[Sealed] = []
        self.settled: list[tuple[Status, Sealed]] = []
        self.releases = True
        self.released = False
        self.failure: ErrorCode | None = None
        self._looks = 0

    def keep(self, frames: Iterable[Sealed]) -> None:
        self.kept.extend(frames)

    def look(self) -> Verdict:
        self.before_look()
        with self.changed:
            self._looks += 1
            self.changed.notify_all()
        if self.look_fails is not None:
            raise self.look_fails
        return self.verdict

    def settle(self, status: Status, terminal: Sealed) -> bool:
        if self.settle_fails is not None:
            raise self.settle_fails
        self.settled.append((status, terminal))
        return self.settles

    def release(self, failure: ErrorCode | None) -> bool:
        self.released = True
        self.failure = failure
        return self.releases

    def wait_for_looks(self) -> None:
        """Wait until at least one look has begun and ended since the call."""
        target = self._looks + 3
        self.wait_until(lambda: self._looks >= target)
