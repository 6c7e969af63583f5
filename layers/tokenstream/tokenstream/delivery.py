"""The ways to the clients of the paths that push: directly with the queued way to fall back on, or queued alone."""

from collections.abc import Callable
from dataclasses import dataclass

from tokenstream import telemetry
from tokenstream.frames import Delivery, Path, Sealed
from tokenstream.lease import Lease
from tokenstream.queued_frames import encode_reply
from tokenstream.sinks import DeliveryFailed, Sink
from tokenstream.sinks.appsync import AppSyncSink
from tokenstream.sinks.appsync import Publish as PublishToken
from tokenstream.sinks.failover import Circuit, FailoverSink
from tokenstream.sinks.sns import Publish as PublishToTopic
from tokenstream.sinks.sns import SnsSink
from tokenstream.sinks.websocket import Post, WebSocketSink


@dataclass(frozen=True, slots=True)
class WayOut:
    """Where a stream's frames go; `rejoin` is the pump's, for a client that waits on another connection."""

    sink: Sink
    rejoin: Callable[[], None] = lambda: None


class WebSocketDelivery:
    """To WebSocket connections. Without `post` there is no direct way; `clock` gives seconds."""

    def __init__(
        self,
        topic: PublishToTopic,
        post: Post | None,
        clock: Callable[[], float],
    ) -> None:
        self._topic = topic
        self._post = post
        self._circuit = Circuit(clock)

    def stream(self, lease: Lease, session_id: str, connection_id: str, delivery: Delivery) -> WayOut:
        """Make the way for a worker's stream, that follows its client from connection to connection."""
        queued = SnsSink(
            self._topic,
            session_id,
            max_frame_bytes=WebSocketSink.max_frame_bytes,
            heartbeats=True,
            client_gone=lambda: lease.client_gone,
            behind=lambda: lease.behind,
        )
        direct = self._direct(connection_id, delivery)
        sink = _sink(direct, queued, self._circuit, session_id, "websocket")

        def rejoin() -> None:
            frames: list[Sealed] = []
            if (missed := lease.missed()) is not None:
                recipient, frames = missed
                queued.move(recipient.ticket)
                if direct is not None:
                    direct.move(recipient.connection_id)
            # Without frames too: it raises while the client is gone.
            sink.send(frames)

        return WayOut(sink, rejoin)

    def replay(self, session_id: str, connection_id: str, ticket: str, delivery: Delivery) -> Sink:
        """Make the way for frames that this connection alone asked for; `ticket` tells one replay from another."""
        queued = SnsSink(
            self._topic,
            session_id,
            max_frame_bytes=WebSocketSink.max_frame_bytes,
            heartbeats=True,
            connection_id=connection_id,
            ticket=ticket,
        )
        return _sink(self._direct(connection_id, delivery), queued, self._circuit, session_id, "websocket")

    def reply(self, connection_id: str, reply: bytes, *, group: str, ticket: str) -> Delivery:
        """Answer a message of a client's; tells which way. Raises `ClientGone`.

        What is queued later for the same group, a session as a rule, stays behind it; `ticket` is the message's own.
        """
        if self._post is not None and not self._circuit.is_open:
            try:
                self._post(connection_id, reply)
            except DeliveryFailed as failure:
                self._circuit.open()
                telemetry.failed_over(session_id=group, path="websocket", reason=str(failure))
            else:
                return "direct"
        self._topic(group, f"{group}-{ticket}", encode_reply(connection_id, reply))
        return "queued"

    def _direct(self, connection_id: str, delivery: Delivery) -> WebSocketSink | None:
        return None if self._post is None or delivery == "queued" else WebSocketSink(self._post, connection_id)


class AppSyncDelivery:
    """To AppSync's subscribers. Without `publish` there is no direct way; `clock` gives seconds."""

    def __init__(
        self,
        topic: PublishToTopic,
        publish: PublishToken | None,
        clock: Callable[[], float],
    ) -> None:
        self._topic = topic
        self._publish = publish
        self._circuit = Circuit(clock)

    def stream(self, lease: Lease, session_id: str, owner: str, delivery: Delivery) -> WayOut:
        """Make the way for a worker's stream."""
        direct = None if self._publish is None or delivery == "queued" else AppSyncSink(self._publish, owner)
        queued = SnsSink(
            self._topic,
            session_id,
            max_frame_bytes=AppSyncSink.max_frame_bytes,
            heartbeats=False,
            behind=lambda: lease.behind,
        )
        return WayOut(_sink(direct, queued, self._circuit, session_id, "appsync"))


def _sink(direct: Sink | None, queued: SnsSink, circuit: Circuit, session_id: str, path: Path) -> Sink:
    if direct is None:
        return queued
    return FailoverSink(
        direct, queued, circuit, lambda reason: telemetry.failed_over(session_id=session_id, path=path, reason=reason)
    )
