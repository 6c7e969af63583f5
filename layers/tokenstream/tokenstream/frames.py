"""The closed set of frames: what a client receives, the same JSON on every path.

A session is one answer. Its frames carry `(attempt, sequence)`: `sequence` counts the frames of an attempt from 1
without a gap; generating again is a new attempt. Field names are camelCase on the wire.
"""

from typing import Annotated, Literal, NamedTuple, assert_never, get_args

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.json import Decoder, Encoder

from tokenstream.errors import ErrorCode, TokenstreamError

Path = Literal["url", "rest", "websocket", "appsync"]
Delivery = Literal["direct", "queued"]
StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "refusal",
    "guardrail",
    "content_filtered",
    "cancelled",
    "deadline",
    "other",
]
STOP_REASONS: frozenset[str] = frozenset(get_args(StopReason))

Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]


class Position(NamedTuple):
    """Where a client stands in a session: the last frame that it has. Positions order as frames do."""

    attempt: int
    sequence: int


BEGINNING = Position(0, 0)


class Usage(Struct, frozen=True, rename="camel"):
    """Tokens that the model has counted; of a stream that was stopped, those that are known: at least so many."""

    input_tokens: Count = 0
    output_tokens: Count = 0


class Timings(Struct, frozen=True, rename="camel"):
    """Milliseconds since the worker took the request; no first token, no time to it."""

    time_to_first_token_ms: Count | None
    duration_ms: Count


class ErrorDetail(Struct, frozen=True, rename="camel"):
    """The error object, in a frame and in a rejection alike."""

    code: ErrorCode
    message: str
    retryable: bool
    field: str | UnsetType = UNSET

    @classmethod
    def of(cls, error: TokenstreamError) -> "ErrorDetail":
        """Describe an error to the client."""
        return cls(error.code, error.message, error.retryable, UNSET if error.field is None else error.field)


class _Numbered(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    session_id: str
    attempt: Positive
    sequence: Positive

    @property
    def position(self) -> Position:
        return Position(self.attempt, self.sequence)


class Start(_Numbered, frozen=True, kw_only=True, tag="start"):
    """The first frame of an attempt."""

    model: str
    path: Path
    delivery: Delivery


class Token(_Numbered, frozen=True, kw_only=True, tag="token"):
    """Text of the answer: one or more of the model's deltas, joined."""

    token: str


class Reasoning(_Numbered, frozen=True, kw_only=True, tag="reasoning"):
    """The model's thinking aloud, joined in the same way."""

    token: str


class Complete(_Numbered, frozen=True, kw_only=True, tag="complete"):
    """Terminal: the answer ended, for the reason given. `model_stop_reason` is there with `other` alone."""

    stop_reason: StopReason
    usage: Usage
    timings: Timings
    model_stop_reason: str | UnsetType = UNSET


class Error(_Numbered, frozen=True, kw_only=True, tag="error"):
    """Terminal: the answer failed."""

    error: ErrorDetail


Frame = Start | Token | Reasoning | Complete | Error


class Heartbeat(Struct, frozen=True, rename="camel", tag_field="type", tag="heartbeat"):
    """Keeps a connection open while the model is silent; outside the numbering."""

    session_id: str


class Sealed(NamedTuple):
    """A frame with its JSON in UTF-8. The bytes never change, whichever way and however often it is sent."""

    frame: Frame
    json: bytes


# JSON leaves them as they are, but Python's splitlines, and with it httpx's iter_lines, breaks lines at them.
_LINE_ENDS = tuple((character.encode(), f"\\u{ord(character):04x}".encode()) for character in "\x85\u2028\u2029")

_encoder = Encoder()
_decoder: Decoder[Frame] = Decoder(Frame)


def seal(frame: Frame) -> Sealed:
    """Encode a frame, once."""
    return Sealed(frame, encode(frame))


def encode(value: Frame | str) -> bytes:
    """Encode a frame, or a text of one, as JSON without a character that any reader takes for the end of a line."""
    json = _encoder.encode(value)
    for character, escaped in _LINE_ENDS:
        json = json.replace(character, escaped)
    return json


def unseal(json: bytes | str) -> Sealed:
    """Decode a stored frame; raises `msgspec.DecodeError` for anything else than a frame."""
    return Sealed(_decoder.decode(json), json.encode() if isinstance(json, str) else json)


def encode_heartbeat(session_id: str) -> bytes:
    """Encode the heartbeat of a session."""
    return _encoder.encode(Heartbeat(session_id))


def is_terminal(frame: Frame) -> bool:
    """Tell whether nothing comes after this frame within its attempt."""
    match frame:
        case Complete() | Error():
            return True
        case Start() | Token() | Reasoning():
            return False
        case _:
            assert_never(frame)
