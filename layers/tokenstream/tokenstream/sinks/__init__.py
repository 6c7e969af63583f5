"""Where frames go: the interface of a way out."""

from collections.abc import Sequence
from typing import Protocol

from tokenstream.frames import Sealed


class ClientGone(Exception):
    """Nobody is there to take the frames; they are stored, and whoever comes back asks for them."""


class DeliveryFailed(ClientGone):
    """The way to the client fails, the client may still be there; what it says is for the log."""


class Sink(Protocol):
    """One client's way out. Both calls block until the frames have left and raise `ClientGone`.

    `max_frame_bytes` is the longest JSON of a frame that it takes.
    """

    max_frame_bytes: int

    def send(self, frames: Sequence[Sealed]) -> None:
        """Send frames, in this order."""
        ...

    def heartbeat(self, session_id: str) -> None:
        """Keep the connection open."""
        ...
