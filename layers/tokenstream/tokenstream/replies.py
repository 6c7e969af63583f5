"""What a WebSocket connection is told besides frames. `requestId` comes back where the client's message had one."""

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Encoder

from tokenstream.frames import ErrorDetail


class Accepted(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="accepted"):
    """What was asked of a session is under way."""

    session_id: str
    request_id: str | UnsetType = UNSET


class Pong(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="pong"):
    """The connection lives."""

    request_id: str | UnsetType = UNSET


class Rejected(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="rejected"):
    """Nothing was done; `sessionId` is there where the message named one."""

    error: ErrorDetail
    session_id: str | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


Reply = Accepted | Pong | Rejected

_encoder = Encoder()


def encode_reply(reply: Reply) -> bytes:
    """Encode a reply as a message."""
    return _encoder.encode(reply)
