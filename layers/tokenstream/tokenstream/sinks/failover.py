"""The direct way as long as it works, the queued one from there on."""

from collections.abc import Callable, Sequence

from tokenstream.frames import Sealed
from tokenstream.sinks import DeliveryFailed, Sink

CIRCUIT_SECONDS = 30.0
"""How long a function that stays warm sends new streams the queued way, once the direct one has failed."""


class Circuit:
    """Whether new streams of a function try the direct way. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open_until = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether the direct way has failed a short while ago."""
        return self._clock() < self._open_until

    def open(self) -> None:
        """Note that the direct way has failed."""
        self._open_until = self._clock() + CIRCUIT_SECONDS


class FailoverSink:
    """Sends one stream: directly up to the first failure that the direct sink's own tries couldn't mend.

    From there on, and from the beginning while the circuit is open, everything goes the queued way: first what the
    direct sink has not delivered. `failed_over` is called with the reason when the way changes.
    """

    starts_early = True

    def __init__(self, direct: Sink, queued: Sink, circuit: Circuit, failed_over: Callable[[str], None]) -> None:
        self.max_frame_bytes = min(direct.max_frame_bytes, queued.max_frame_bytes)
        self._direct = direct
        self._queued = queued
        self._circuit = circuit
        self._failed_over = failed_over
        self._broken = circuit.is_open

    @property
    def interval(self) -> float:
        """The interval of the way that is taken."""
        return self._queued.interval if self._broken else self._direct.interval

    def send(self, frames: Sequence[Sealed]) -> None:
        """Send frames; raises `ClientGone` where the client is, or where the queued way fails as well."""
        if not self._broken:
            try:
                return self._direct.send(frames)
            except DeliveryFailed as failure:
                self._turn(failure)
                frames = frames if failure.undelivered is None else failure.undelivered
        return self._queued.send(frames)

    def heartbeat(self, session_id: str) -> None:
        """Send a heartbeat; raises as `send` does."""
        if not self._broken:
            try:
                return self._direct.heartbeat(session_id)
            except DeliveryFailed as failure:
                self._turn(failure)
        return self._queued.heartbeat(session_id)

    def _turn(self, failure: DeliveryFailed) -> None:
        self._broken = True
        self._circuit.open()
        self._failed_over(str(failure))
