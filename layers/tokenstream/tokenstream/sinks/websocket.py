"""Frames to a WebSocket connection, one a message."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from tokenstream.frames import Sealed, encode_heartbeat
from tokenstream.post_to_connection import MAX_MESSAGE_BYTES
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.backlog import Backlog


class Post(Protocol):
    """`tokenstream.post_to_connection.PostToConnection`."""

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        """Send a message."""
        ...


class WebSocketSink:
    """Sends to one connection at a time. `post` takes its id and a message, and raises as `PostToConnection` does.

    Once the connection is closed nothing waits for it any more: the frames are stored, and a client that comes back on
    another one asks for them.
    """

    max_frame_bytes = MAX_MESSAGE_BYTES

    def __init__(self, post: Post, connection_id: str) -> None:
        self._connection_id = connection_id
        self._gone = False
        self._backlog: Backlog[bytes] = Backlog(
            lambda message, patient: post(self._connection_id, message, patient=patient)
        )

    def move(self, connection_id: str) -> None:
        """Send to another connection from now on; what waits for the old one is forgotten."""
        self._connection_id = connection_id
        self._gone = False
        self._backlog.clear()

    def send(self, frames: Sequence[Sealed]) -> None:
        """Send frames; raises `ClientGone`."""
        self._deliver(frame.json for frame in frames)

    def heartbeat(self, session_id: str) -> None:
        """Send a heartbeat; raises as `send` does."""
        # Behind frames that wait it would say nothing new.
        self._deliver([] if self._backlog else [encode_heartbeat(session_id)])

    def _deliver(self, messages: Iterable[bytes]) -> None:
        if self._gone:
            raise ClientGone
        try:
            self._backlog.deliver(messages)
        except DeliveryFailed:
            raise
        except ClientGone:
            self._gone = True
            self._backlog.clear()
            raise
