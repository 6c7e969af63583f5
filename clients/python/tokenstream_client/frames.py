"""The frames of an answer, as typed values.

Parsing is tolerant, so that an older client outlives a newer server: unknown fields are ignored, and a frame of an
unknown type becomes `Unknown`, which holds its place in the numbering and is never handed to the caller.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from tokenstream_client.errors import ErrorDetail, ProtocolError

Message = Mapping[str, Any]
"""One JSON object as it arrived."""

T = TypeVar("T")


class Position(NamedTuple):
    """A place in an answer; `str()` gives what the server reads as `after`."""

    attempt: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.attempt}.{self.sequence}"


BEGINNING = Position(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbered:
    """What every frame has.

    `received_at_ms` counts from the moment the request was sent. `message` is the JSON object as it arrived, with
    the fields that this version doesn't know. Neither takes part in comparisons.
    """

    session_id: str
    attempt: int
    sequence: int
    received_at_ms: float = field(default=0.0, compare=False)
    message: Message = field(default_factory=dict, compare=False, repr=False)

    @property
    def position(self) -> Position:
        return Position(self.attempt, self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(_Numbered):
    """The first frame of an attempt. A `Start` after other frames means: drop those, the answer begins anew."""

    model: str
    path: str
    delivery: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(_Numbered):
    """Text of the answer."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning(_Numbered):
    """The model's reasoning, which isn't part of the answer's text."""

    token: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the model."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds as the server measured them; there is no time to the first token when none came."""

    time_to_first_token_ms: int | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(_Numbered):
    """Terminal: the answer ended. `model_stop_reason` is the model's own word when `stop_reason` is `other`."""

    stop_reason: str
    model_stop_reason: str | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFrame(_Numbered):
    """Terminal: the answer failed."""

    error: ErrorDetail


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(_Numbered):
    """A frame of a type that came into the protocol after this version."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sign of life while the model is silent; outside the numbering."""


Frame = Start | Token | Reasoning | Complete | ErrorFrame
Received = Frame | Unknown | Heartbeat


def parse(message: Message, received_at_ms: float = 0.0) -> Received:
    """Read a message; raises `ProtocolError` when a field that its type needs is missing or of the wrong type."""
    kind = _required(message, "type", str)
    if kind == "heartbeat":
        return Heartbeat()
    numbered: dict[str, Any] = {
        "session_id": _required(message, "sessionId", str),
        "attempt": _required(message, "attempt", int),
        "sequence": _required(message, "sequence", int),
        "received_at_ms": received_at_ms,
        "message": message,
    }
    return _PARSERS.get(kind, _unknown)(message, numbered)


def parse_error(error: object) -> ErrorDetail | None:
    """Read an error object; `None` when it isn't one."""
    if not isinstance(error, dict):
        return None
    code, text = _optional(error, "code", str), _optional(error, "message", str)
    if code is None or text is None:
        return None
    return ErrorDetail(code, text, error.get("retryable") is True, _optional(error, "field", str))


def is_terminal(frame: Frame | Unknown) -> bool:
    """Tell whether nothing comes after this frame."""
    return isinstance(frame, Complete | ErrorFrame)


def _start(message: Message, numbered: dict[str, Any]) -> Received:
    return Start(
        model=_required(message, "model", str),
        path=_required(message, "path", str),
        delivery=_required(message, "delivery", str),
        **numbered,
    )


def _token(message: Message, numbered: dict[str, Any]) -> Received:
    return Token(token=_required(message, "token", str), **numbered)


def _reasoning(message: Message, numbered: dict[str, Any]) -> Received:
    return Reasoning(token=_required(message, "token", str), **numbered)


def _complete(message: Message, numbered: dict[str, Any]) -> Received:
    usage: Message = _optional(message, "usage", dict) or {}
    timings: Message = _optional(message, "timings", dict) or {}
    return Complete(
        stop_reason=_required(message, "stopReason", str),
        model_stop_reason=_optional(message, "modelStopReason", str),
        usage=Usage(_optional(usage, "inputTokens", int) or 0, _optional(usage, "outputTokens", int) or 0),
        timings=Timings(_optional(timings, "timeToFirstTokenMs", int), _optional(timings, "durationMs", int)),
        **numbered,
    )


def _error(message: Message, numbered: dict[str, Any]) -> Received:
    error = parse_error(message.get("error"))
    if error is None:
        raise ProtocolError("An error frame arrived without an error object.")
    return ErrorFrame(error=error, **numbered)


def _unknown(_message: Message, numbered: dict[str, Any]) -> Received:
    return Unknown(**numbered)


_PARSERS: Mapping[str, Callable[[Message, dict[str, Any]], Received]] = {
    "start": _start,
    "token": _token,
    "reasoning": _reasoning,
    "complete": _complete,
    "error": _error,
}


def _required(message: Message, name: str, kind: type[T]) -> T:
    value = _optional(message, name, kind)
    if value is None:
        raise ProtocolError(f"A frame arrived without a valid `{name}`.")
    return value


def _optional(message: Message, name: str, kind: type[T]) -> T | None:
    value = message.get(name)
    return value if isinstance(value, kind) else None
