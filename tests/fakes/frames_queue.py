"""What comes out of the queued way, as whoever takes it out of the queue reads it."""

from collections.abc import Iterable

from tests.fakes.topics_api import Published
from tokenstream.frames import Sealed, encode_heartbeat
from tokenstream.queued_frames import QueuedFrames, read_record


def read(message: Published) -> QueuedFrames:
    """Read a message that has frames, or is a heartbeat."""
    queued = read_record(message.record())
    assert isinstance(queued, QueuedFrames)
    return queued


def frames_of(messages: Iterable[Published]) -> list[Sealed]:
    """Return the frames of messages, one after the other."""
    return [sealed for message in messages for sealed in read(message).frames]


def delivered(messages: Iterable[Published]) -> list[bytes]:
    """Return the JSON that a WebSocket client gets of messages, heartbeats included."""
    jsons: list[bytes] = []
    for message in messages:
        queued = read(message)
        jsons += [sealed.json for sealed in queued.frames] or [encode_heartbeat(queued.session_id)]
    return jsons
