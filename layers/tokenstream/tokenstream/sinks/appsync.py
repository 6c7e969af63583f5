"""Frames to the subscribers of an AppSync API, one a mutation."""

from collections.abc import Sequence
from typing import Protocol

from tokenstream.frames import Sealed
from tokenstream.sinks import send_each

MAX_FRAME_BYTES = 64 * 1024
"""A subscriber's message may have 240 KB, and has the text twice: as a field, and in the frame, which as a JSON string
within JSON takes up to twice its bytes."""


class Publish(Protocol):
    """`tokenstream.publish_token.PublishToken`."""

    def __call__(self, owner: str, sealed: Sealed, *, patient: bool = True) -> None:
        """Publish a frame."""
        ...


class AppSyncSink:
    """Publishes for one user. Nobody tells whether somebody listens: `ClientGone` comes as `DeliveryFailed` alone."""

    max_frame_bytes = MAX_FRAME_BYTES
    starts_early = True
    interval = 0.0

    def __init__(self, publish: Publish, owner: str) -> None:
        self._publish = publish
        self._owner = owner

    def send(self, frames: Sequence[Sealed]) -> None:
        """Publish frames; raises `DeliveryFailed`."""
        send_each(frames, lambda frame: self._publish(self._owner, frame))

    def heartbeat(self, session_id: str) -> None:
        """Do nothing: AppSync keeps its connections open by itself."""
