"""Frames to send and store."""

from typing import Any

from tokenstream.errors import TokenstreamError
from tokenstream.frames import (
    Complete,
    Error,
    ErrorDetail,
    Reasoning,
    Sealed,
    Start,
    Timings,
    Token,
    Usage,
    seal,
)

SESSION = "6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3a"
MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"


class Attempt:
    """Makes the frames of one attempt, numbered in the order in which they are asked for."""

    def __init__(self, session_id: str = SESSION, attempt: int = 1) -> None:
        self.session_id = session_id
        self.attempt = attempt
        self.sequence = 0

    def start(self) -> Sealed:
        return seal(Start(**self._next(), model=MODEL, path="url", delivery="direct"))

    def token(self, text: str) -> Sealed:
        return seal(Token(**self._next(), token=text))

    def reasoning(self, text: str) -> Sealed:
        return seal(Reasoning(**self._next(), token=text))

    def complete(self) -> Sealed:
        return seal(Complete(**self._next(), stop_reason="end_turn", usage=Usage(3, 5), timings=Timings(20, 100)))

    def error(self, error: TokenstreamError) -> Sealed:
        return seal(Error(**self._next(), error=ErrorDetail.of(error)))

    def answer(self, *texts: str) -> list[Sealed]:
        """Make a whole answer."""
        return [self.start(), *map(self.token, texts), self.complete()]

    def _next(self) -> dict[str, Any]:
        self.sequence += 1
        return {"session_id": self.session_id, "attempt": self.attempt, "sequence": self.sequence}
