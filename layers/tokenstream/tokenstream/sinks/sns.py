"""Frames to an SNS FIFO topic, a batch a message: the queued way, behind which `deliver` takes them to the client."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tokenstream.frames import Sealed
from tokenstream.message_queue import message_text
from tokenstream.publish_to_topic import MAX_MESSAGE_BYTES
from tokenstream.queued_frames import encode_frames
from tokenstream.sinks import ClientGone
from tokenstream.sinks.backlog import Backlog

MAX_BATCH_BYTES = MAX_MESSAGE_BYTES - 16 * 1024
"""What a message may hold of frames; the rest is for its envelope."""

MAX_BATCH_FRAMES = 50
"""As many as `deliver` sends within a second or two: what it doesn't get done in its time comes again as a whole."""

INTERVAL_SECONDS = 0.1
"""How far apart a stream's messages are once `deliver` has fallen behind: it sends frames on one by one, SNS may take
them faster. Frames would pile up in the queue then, instead of deltas in the worker, where they are joined."""


class Publish(Protocol):
    """`tokenstream.publish_to_topic.PublishToTopic`."""

    def __call__(self, group: str, deduplication_id: str, message: str, *, patient: bool = True) -> None:
        """Publish a message."""
        ...


class _Message(NamedTuple):
    deduplication_id: str
    text: str


class SnsSink:
    """Publishes one session's frames, to the connection with this id alone where there is one.

    A message once made keeps its bytes and its de-duplication id, `<session>-<attempt>-<first sequence>`, however often
    it is tried. `ticket` sets apart what is sent again on purpose: to a client on another connection, or as a replay.
    `client_gone` and `behind` tell what `deliver` has found out: that the client has left, for whom nothing waits, its
    frames being stored; and that messages had to wait.
    """

    starts_early = True

    def __init__(
        self,
        publish: Publish,
        session_id: str,
        *,
        max_frame_bytes: int,
        heartbeats: bool,
        client_gone: Callable[[], bool] = lambda: False,
        behind: Callable[[], bool] = lambda: False,
        connection_id: str | None = None,
        ticket: str = "",
    ) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._session_id = session_id
        self._heartbeats = heartbeats
        self._client_gone = client_gone
        self._connection_id = connection_id
        self._ticket = ticket
        self._behind = behind
        self._last = ""
        self._beats = 0
        self._backlog: Backlog[_Message] = Backlog(
            lambda message, patient: publish(session_id, message.deduplication_id, message.text, patient=patient)
        )

    @property
    def interval(self) -> float:
        """`INTERVAL_SECONDS` where messages had to wait, else none."""
        return INTERVAL_SECONDS if self._behind() else 0.0

    def move(self, ticket: str) -> None:
        """Send to a client that waits on another connection from now on; what waits for the old one is forgotten."""
        self._ticket = ticket
        self._backlog.clear()

    def send(self, frames: Sequence[Sealed]) -> None:
        """Publish frames; raises `ClientGone`."""
        self._deliver(self._message(batch) for batch in _batches(frames))

    def heartbeat(self, session_id: str) -> None:  # noqa: ARG002 - the session is the sink's own
        """Publish a heartbeat, where the way behind the queue has any; raises as `send` does."""
        # Behind frames that wait it would say nothing new.
        if self._backlog or not self._heartbeats:
            self._deliver([])
        else:
            self._beats += 1
            self._deliver([self._sealed(f"{self._last}-beat{self._beats}", [])])

    def _deliver(self, messages: Iterable[_Message]) -> None:
        if self._client_gone():
            self._backlog.clear()
            raise ClientGone
        self._backlog.deliver(messages)

    def _message(self, batch: Sequence[Sealed]) -> _Message:
        attempt, sequence = batch[0].frame.position
        self._last = f"-{attempt}-{sequence}"
        return self._sealed(self._last, [frame.json for frame in batch])

    def _sealed(self, place: str, frames: list[bytes]) -> _Message:
        ticket = self._ticket and f"-{self._ticket}"
        return _Message(
            f"{self._session_id}{place}{ticket}", encode_frames(self._session_id, frames, self._connection_id)
        )


def _batches(frames: Sequence[Sealed]) -> Iterator[list[Sealed]]:
    batch: list[Sealed] = []
    size = 0
    for frame in frames:
        # With the comma behind it. What is escaped in a message takes up to twice its bytes.
        length = len(message_text(frame.json).encode()) + 1
        if batch and (len(batch) == MAX_BATCH_FRAMES or size + length > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(frame)
        size += length
    if batch:
        yield batch
