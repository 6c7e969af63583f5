"""A client's way out that a test can block, break and look into."""

from collections.abc import Callable, Sequence

from tests.fakes.observed import PATIENCE_SECONDS, Observed
from tokenstream.frames import Sealed
from tokenstream.sinks import ClientGone

HEARTBEAT = "heartbeat"


class FakeSink(Observed):
    """Keeps what reached the client: a list of frames for each call of `send`, `HEARTBEAT` for a heartbeat."""

    max_frame_bytes = 64 * 1024
    starts_early = False
    interval = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Sealed] | str] = []
        self.gone = False
        self.broken: Exception | None = None
        self.blocked = False
        self.busy = False
        self.refused = 0
        self.before_send: Callable[[], None] = lambda: None

    @property
    def sends(self) -> list[list[Sealed]]:
        return [call for call in self.calls if not isinstance(call, str)]

    @property
    def frames(self) -> list[Sealed]:
        return [sealed for send in self.sends for sealed in send]

    @property
    def heartbeats(self) -> int:
        return self.calls.count(HEARTBEAT)

    def block(self) -> None:
        """Hold every call from now on, until `unblock`."""
        with self.changed:
            self.blocked = True

    def unblock(self) -> None:
        with self.changed:
            self.blocked = False
            self.changed.notify_all()

    def leave(self) -> None:
        """The client goes away."""
        with self.changed:
            self.gone = True

    def come_back(self) -> None:
        with self.changed:
            self.gone = False

    def send(self, frames: Sequence[Sealed]) -> None:
        self.before_send()
        self._take(list(frames))

    def heartbeat(self, session_id: str) -> None:
        self._take(HEARTBEAT)

    def _take(self, call: list[Sealed] | str) -> None:
        with self.changed:
            self.busy = True
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: not self.blocked, PATIENCE_SECONDS), "never unblocked"
            self.busy = False
            if self.broken is not None:
                raise self.broken
            if self.gone:
                self.refused += 1
                self.changed.notify_all()
                raise ClientGone
            self.calls.append(call)
            self.changed.notify_all()
