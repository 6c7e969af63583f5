"""Frames to a WebSocket connection, one a message."""

from collections.abc import Callable, Sequence
from typing import Protocol

from tokenstream.frames import Sealed, encode_heartbeat
from tokenstream.post_to_connection import MAX_MESSAGE_BYTES
from tokenstream.sinks import ClientGone, DeliveryFailed, send_each


class Post(Protocol):
    """`tokenstream.post_to_connection.PostToConnection`."""

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        """Send a message."""
        ...


class WebSocketSink:
    """Sends to one connection at a time. `post` takes its id and a message, and raises as `PostToConnection` does.

    A connection once found closed is not tried again: the frames are stored, and a client that comes back on another
    one asks for them.
    """

    max_frame_bytes = MAX_MESSAGE_BYTES
    starts_early = True
    interval = 0.0

    def __init__(self, post: Post, connection_id: str) -> None:
        self._post = post
        self._connection_id = connection_id
        self._gone = False

    def move(self, connection_id: str) -> None:
        """Send to another connection from now on."""
        self._connection_id = connection_id
        self._gone = False

    def send(self, frames: Sequence[Sealed]) -> None:
        """Send frames; raises `ClientGone`."""
        self._reach(lambda: send_each(frames, lambda frame: self._post(self._connection_id, frame.json)))

    def heartbeat(self, session_id: str) -> None:
        """Send a heartbeat; raises as `send` does."""
        self._reach(lambda: self._post(self._connection_id, encode_heartbeat(session_id)))

    def _reach(self, send: Callable[[], None]) -> None:
        if self._gone:
            raise ClientGone
        try:
            send()
        except DeliveryFailed:
            raise
        except ClientGone:
            self._gone = True
            raise
