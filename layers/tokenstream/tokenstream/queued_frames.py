"""The messages of the queued way, to `deliver`: a batch of one session's frames, a heartbeat, or a reply.

Frames say what is to be delivered, and seldom to whom: that is looked up with the session's record at the last moment,
so that a client which has come back on another connection gets what was queued before. A reply is for one connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder, Encoder

from tokenstream.errors import InvalidRequest
from tokenstream.frames import Sealed, unseal
from tokenstream.message_queue import message_text
from tokenstream.request import parse_session_id


class NoMessage(Exception):
    """The message is none of the queued way's, whoever has put it there; no other try would change that."""


class _Frames(Struct, frozen=True, rename="camel", tag_field="type", tag="frames"):
    session_id: str
    frames: list[Raw]
    connection_id: str | UnsetType = UNSET


class _Reply(Struct, frozen=True, rename="camel", tag_field="type", tag="reply"):
    connection_id: str
    reply: Raw


_encoder = Encoder()
_decoder: Decoder[_Frames | _Reply] = Decoder(_Frames | _Reply)


def encode_frames(session_id: str, frames: Iterable[bytes], connection_id: str | None) -> str:
    """Write a message; `frames` are JSON, and pass unchanged but for two characters that SQS wants escaped."""
    body = _Frames(session_id, [Raw(json) for json in frames], UNSET if connection_id is None else connection_id)
    return message_text(_encoder.encode(body))


def encode_reply(connection_id: str, reply: bytes) -> str:
    """Write a message with a reply's JSON."""
    return message_text(_encoder.encode(_Reply(connection_id, Raw(reply))))


@dataclass(frozen=True, slots=True)
class QueuedFrames:
    """A message as it was received; without frames it is a heartbeat.

    `connection_id` is the one WebSocket connection that a replay is for. `receives` counts this time too, `sent_at` is
    when it was put into the queue, in epoch seconds.
    """

    session_id: str
    frames: tuple[Sealed, ...]
    connection_id: str | None
    receives: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class QueuedReply:
    """What answers a message of a WebSocket client's, as JSON."""

    connection_id: str
    reply: bytes
    receives: int


def read_record(record: Mapping[str, Any]) -> QueuedFrames | QueuedReply:
    """Read a record of Lambda's event; raises `NoMessage`."""
    receives = int(record["attributes"]["ApproximateReceiveCount"])
    try:
        match _decoder.decode(record["body"]):
            case _Reply(connection_id, reply):
                return QueuedReply(connection_id, bytes(reply), receives)
            case _Frames(session_id, raw, connection_id):
                frames = tuple(unseal(bytes(json)) for json in raw)
                session_id = parse_session_id(session_id)
            case other:
                assert_never(other)
    except (DecodeError, InvalidRequest, RecursionError, UnicodeEncodeError):
        raise NoMessage from None
    if any(sealed.frame.session_id != session_id for sealed in frames):
        raise NoMessage
    sent_at = int(record["attributes"]["SentTimestamp"]) / 1000
    return QueuedFrames(session_id, frames, connection_id or None, receives, sent_at)
