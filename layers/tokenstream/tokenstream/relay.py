"""Numbers and joins the model's deltas, and ends a stream exactly once. Pure: no I/O, no clock, no threads.

    OPEN ──complete, fail──▶ ENDING ──take_terminal──▶ ENDED
     └───────────abandon───────┴───────────────────────▶ ABANDONED

Deltas that are added while the caller is busy sending pile up and leave joined with the next `take`: the lag is one
request to the sink at most, whatever the model's speed. The terminal frame is taken apart from the rest, because the
caller settles the session in between. An attempt that is given up ends without a terminal frame.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from itertools import groupby
from typing import cast

from msgspec import UNSET

from tokenstream.errors import TokenstreamError
from tokenstream.frames import (
    STOP_REASONS,
    Complete,
    Delivery,
    Error,
    ErrorDetail,
    Frame,
    Path,
    Reasoning,
    Sealed,
    Start,
    StopReason,
    Timings,
    Token,
    Usage,
    encode,
    seal,
)
from tokenstream.sources import Delta, ReasoningDelta

ENVELOPE_BYTES = 256
"""Room for all of a token frame's JSON but its text."""

MAX_REASON_CHARACTERS = 64
"""What is passed on of a model's own word for why it stopped."""


class State(Enum):
    """Where a stream stands."""

    OPEN = "open"
    ENDING = "ending"
    ENDED = "ended"
    ABANDONED = "abandoned"


class _Move(Enum):
    ADD = "add"
    END = "end"
    TAKE_TERMINAL = "take_terminal"
    ABANDON = "abandon"


_TRANSITIONS: dict[tuple[State, _Move], State] = {
    (State.OPEN, _Move.ADD): State.OPEN,
    (State.OPEN, _Move.END): State.ENDING,
    (State.OPEN, _Move.ABANDON): State.ABANDONED,
    (State.ENDING, _Move.ABANDON): State.ABANDONED,
    (State.ENDING, _Move.TAKE_TERMINAL): State.ENDED,
}


class IllegalTransition(RuntimeError):
    """The caller asked for a move that the stream's state has no place for."""


class Relay:
    """One attempt at one answer.

    Times are seconds on one clock of the caller's choice. `max_frame_bytes` bounds the JSON of a frame; text that is
    longer leaves as several frames, divided between characters.
    """

    def __init__(
        self,
        *,
        session_id: str,
        attempt: int,
        model: str,
        path: Path,
        delivery: Delivery,
        started_at: float,
        max_frame_bytes: int,
    ) -> None:
        if max_frame_bytes < 2 * ENVELOPE_BYTES:
            raise ValueError(f"max_frame_bytes must be {2 * ENVELOPE_BYTES} or more")
        self.session_id = session_id
        self.attempt = attempt
        self.state = State.OPEN
        self.first_token_at: float | None = None
        self._start = partial(Start, model=model, path=path, delivery=delivery)
        self._started_at = started_at
        self._max_text_bytes = max_frame_bytes - ENVELOPE_BYTES
        self._sequence = 0
        self._pending: list[Delta | ReasoningDelta] = []
        self._terminal: Callable[..., Complete | Error] | None = None

    @property
    def pending(self) -> bool:
        """Whether deltas wait to be taken."""
        return bool(self._pending)

    def add(self, delta: Delta | ReasoningDelta, now: float) -> None:
        """Accept a delta of the model's; an empty one is no delta."""
        if self.state is not State.OPEN:
            self._move(_Move.ADD)  # which has no place there; what happens for every token is spared the table
        if not delta.text:
            return
        if self.first_token_at is None:
            self.first_token_at = now
        self._pending.append(delta)

    def complete(self, stop_reason: str, usage: Usage, now: float) -> None:
        """End well. A reason outside the closed set becomes `other`, with the model's word for it beside."""
        self._move(_Move.END)
        known = stop_reason in STOP_REASONS
        first = None if self.first_token_at is None else _milliseconds(self.first_token_at - self._started_at)
        self._terminal = partial(
            Complete,
            stop_reason=cast("StopReason", stop_reason) if known else "other",
            usage=usage,
            timings=Timings(first, _milliseconds(now - self._started_at)),
            model_stop_reason=UNSET if known else stop_reason[:MAX_REASON_CHARACTERS],
        )

    def fail(self, error: TokenstreamError) -> None:
        """End badly."""
        self._move(_Move.END)
        self._terminal = partial(Error, error=ErrorDetail.of(error))

    def abandon(self) -> None:
        """Give the attempt up: nothing more leaves, no terminal frame either."""
        self._move(_Move.ABANDON)
        self._pending.clear()
        self._terminal = None

    def take(self) -> list[Sealed]:
        """Hand over all that waits, joined and numbered, preceded by `start` the first time; never the terminal frame.

        Called with nothing pending it gives `start` alone, or nothing.
        """
        if self.state is State.ABANDONED:
            return []
        sealed = [] if self._sequence else [self._seal(self._start)]
        pending, self._pending = self._pending, []
        for kind, deltas in groupby(pending, type):
            frame = Token if kind is Delta else Reasoning
            text = "".join(delta.text for delta in deltas)
            sealed += [self._seal(partial(frame, token=piece)) for piece in _divided(text, self._max_text_bytes)]
        return sealed

    def take_terminal(self) -> Sealed:
        """Hand over the terminal frame, the last of all; everything else must have been taken."""
        if self._pending or not self._sequence:
            raise IllegalTransition("frames wait to be taken before the terminal one")
        self._move(_Move.TAKE_TERMINAL)
        assert self._terminal is not None  # noqa: S101 - ENDING is entered with it
        return self._seal(self._terminal)

    def _seal(self, frame: Callable[..., Frame]) -> Sealed:
        self._sequence += 1
        return seal(frame(session_id=self.session_id, attempt=self.attempt, sequence=self._sequence))

    def _move(self, move: _Move) -> None:
        try:
            self.state = _TRANSITIONS[self.state, move]
        except KeyError:
            raise IllegalTransition(f"{move.value} while {self.state.value}") from None


def _divided(text: str, max_bytes: int) -> Iterator[str]:
    # A character has six bytes at most: most texts are short enough without being measured.
    if 6 * len(text) + 2 <= max_bytes or len(encode(text)) <= max_bytes:
        yield text
    else:
        middle = len(text) // 2
        yield from _divided(text[:middle], max_bytes)
        yield from _divided(text[middle:], max_bytes)


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
