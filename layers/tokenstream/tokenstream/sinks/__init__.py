"""Where frames go: the interface of a way out."""

from collections.abc import Callable, Sequence
from typing import Protocol

from tokenstream.frames import Sealed


class ClientGone(Exception):
    """Nobody is there to take the frames; they are stored, and whoever comes back asks for them."""


class DeliveryFailed(ClientGone):
    """The way to the client fails, the client may still be there; what it says is for the log.

    `undelivered` are the frames that it may not have, None where all of them are meant.
    """

    def __init__(self, reason: str, undelivered: Sequence[Sealed] | None = None) -> None:
        super().__init__(reason)
        self.undelivered = undelivered


class Refused(DeliveryFailed):
    """The service takes the message as wrong or not allowed: another try would hardly help."""


class Sink(Protocol):
    """One client's way out. Both calls block until the frames have left and raise `ClientGone`.

    `max_frame_bytes` is the longest JSON of a frame that it takes. `starts_early` says that `start` is to be sent by
    itself, while the model thinks; else it leaves with whatever comes first.
    """

    max_frame_bytes: int
    starts_early: bool

    @property
    def interval(self) -> float:
        """How many seconds there are to be from one send of a stream to the next, as of now."""
        ...

    def send(self, frames: Sequence[Sealed]) -> None:
        """Send frames, in this order."""
        ...

    def heartbeat(self, session_id: str) -> None:
        """Keep the connection open."""
        ...


def send_each(frames: Sequence[Sealed], send: Callable[[Sealed], None]) -> None:
    """Send frames one by one; a `DeliveryFailed` tells which of them are left."""
    for index, frame in enumerate(frames):
        try:
            send(frame)
        except DeliveryFailed as failure:
            raise DeliveryFailed(str(failure), frames[index:]) from failure
