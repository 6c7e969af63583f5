"""A model that says what a test makes it say."""

from collections.abc import Callable, Iterator
from enum import Enum
from queue import SimpleQueue

from tests.fakes.observed import Observed
from tokenstream.frames import Usage
from tokenstream.sources import SourceEvent


class Break(Enum):
    """The stream ends without a word."""

    OFF = "off"


Step = SourceEvent | Exception | Break | Callable[[], object]
_ABORT = object()


class FakeSource(Observed):
    """Takes the steps it was made with, then those that `says` adds, and is silent in between.

    A step is yielded, raised, or called on the reader's thread. As a socket's reader would, it ends soon when it is
    aborted: quietly, or with `when_aborted`.
    """

    def __init__(self, *steps: Step, when_aborted: Exception | None = None) -> None:
        super().__init__()
        self.usage = Usage()
        self.aborted = False
        self.closed = False
        self._when_aborted = when_aborted
        self._steps: SimpleQueue[object] = SimpleQueue()
        self._said = 0
        self._heard = 0
        self.says(*steps)

    def says(self, *steps: Step) -> None:
        self._said += len(steps)
        for step in steps:
            self._steps.put(step)

    def wait_until_heard(self, count: int | None = None) -> None:
        """Wait until the reader has worked through so many steps, or through all that were said."""
        target = self._said if count is None else count
        self.wait_until(lambda: self._heard >= target)

    def events(self) -> Iterator[SourceEvent]:
        try:
            yield from self._events()
        finally:
            with self.changed:
                self.closed = True
                self.changed.notify_all()

    def abort(self) -> None:
        with self.changed:
            self.aborted = True
            self.changed.notify_all()
        self._steps.put(_ABORT)

    def _events(self) -> Iterator[SourceEvent]:
        while True:
            step = self._steps.get()
            if self.aborted:
                if self._when_aborted is not None:
                    raise self._when_aborted
                return
            if isinstance(step, Exception):
                raise step
            if step is Break.OFF:
                return
            if callable(step):
                step()
            else:
                yield step  # type: ignore[misc] # the steps that are left are events
            with self.changed:
                self._heard += 1
                self.changed.notify_all()
