"""What a model is to the local stack: it answers a typed request with typed events, as they are generated.

A model knows nothing of Bedrock's wire formats; `local.model.bedrock` translates. It raises `ModelError` where Bedrock
would answer with an exception: before its first event that becomes an HTTP status, afterwards an exception in the
stream.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

Role: TypeAlias = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A conversation to be answered; its first turn is the user's. None and empty: not said.

    `guardrail` is `id:version`.
    """

    turns: tuple[Turn, ...]
    model: str = ""
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] = ()
    guardrail: str | None = None

    @property
    def prompt(self) -> str:
        """Last thing that the user said."""
        return next(turn.text for turn in reversed(self.turns) if turn.role == "user")


@dataclass(frozen=True, slots=True)
class MessageStart:
    """The answer begins. `input_tokens` is None for a model that counts them only at the end."""

    input_tokens: int | None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """One token of the model's thinking; all of them come before the text."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """One token of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class MessageStop:
    """The answer is whole; the last event.

    `reason` is in Converse's words (`end_turn`, `max_tokens`, `stop_sequence`, `guardrail_intervened`, …).
    """

    reason: str
    input_tokens: int
    output_tokens: int
    stop_sequence: str | None = None


ModelEvent: TypeAlias = MessageStart | ReasoningDelta | TextDelta | MessageStop
Batch: TypeAlias = Sequence[ModelEvent]


class Model(Protocol):
    """Answers requests."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Batch, None]:
        """Yield each batch of events as soon as it is due: one `MessageStart`, deltas, one `MessageStop`.

        A batch is what became due at the same moment; it may leave in one write. Closing or cancelling the generator
        stops the generation at once.
        """
        ...

    async def close(self) -> None:
        """Release what the model holds."""
        ...


class ErrorType(StrEnum):
    """Bedrock Runtime's exceptions, by their names in its service model."""

    ACCESS_DENIED = "AccessDeniedException"
    INTERNAL = "InternalServerException"
    MODEL_ERROR = "ModelErrorException"
    MODEL_NOT_READY = "ModelNotReadyException"
    MODEL_STREAM_ERROR = "ModelStreamErrorException"
    MODEL_TIMEOUT = "ModelTimeoutException"
    RESOURCE_NOT_FOUND = "ResourceNotFoundException"
    SERVICE_QUOTA_EXCEEDED = "ServiceQuotaExceededException"
    SERVICE_UNAVAILABLE = "ServiceUnavailableException"
    THROTTLING = "ThrottlingException"
    VALIDATION = "ValidationException"


class ModelError(Exception):
    """The model refuses or breaks off, in the way that Bedrock reports to its caller."""

    def __init__(self, type_: ErrorType, message: str) -> None:
        super().__init__(message)
        self.type = type_
        self.message = message


class WireFaultKind(StrEnum):
    """How a stream breaks below the level of events."""

    BREAK = "break"
    DROP = "drop"
    TRUNCATE = "truncate"
    CORRUPT = "corrupt"


class WireFaultError(Exception):
    """Asks whoever writes the stream to break it off here."""

    def __init__(self, kind: WireFaultKind) -> None:
        super().__init__(kind)
        self.kind = kind
