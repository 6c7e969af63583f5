"""Puts the frames of one answer in order: pure, no I/O, no clock.

Delivery is at least once and, on some paths, out of order. The assembler releases the frames of an attempt by
sequence, each once, from 1 without a gap. A frame of a higher attempt makes everything of lower attempts void:
what is still held is dropped, later arrivals of theirs are ignored, and the consumer learns of it by the next frame
released, the `Start` of the higher attempt. After a terminal frame nothing is released.
"""

from dataclasses import dataclass

from tokenstream_client.frames import BEGINNING, Frame, Position, Unknown, is_terminal

HELD_LIMIT = 1000
"""Frames held while an earlier one is missing; frames beyond are dropped, the resume that fills the gap brings them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Frames counted as they came, before they were put in order.

    `received` are all of them. `duplicates` had come before; `reordered` came after one of a higher sequence of their
    attempt (as in RFC 4737); `void` are those of an attempt given up that came after a later one had begun.
    """

    received: int = 0
    duplicates: int = 0
    reordered: int = 0
    void: int = 0


class Assembler:
    """Orders and de-duplicates what `add` is given, behind a position."""

    def __init__(self, after: Position = BEGINNING, *, held_limit: int = HELD_LIMIT) -> None:
        self._held: dict[int, Frame | Unknown] = {}
        self._held_limit = held_limit
        self._position = after
        self._ended = False
        self._highest = after.sequence
        self._received = self._duplicates = self._reordered = self._void = 0

    @property
    def arrivals(self) -> Arrivals:
        """What has been taken in so far."""
        return Arrivals(
            received=self._received, duplicates=self._duplicates, reordered=self._reordered, void=self._void
        )

    @property
    def position(self) -> Position:
        """The last frame released; resuming asks for what comes after it."""
        return self._position

    @property
    def gap(self) -> bool:
        """Whether frames are held because one before them hasn't come."""
        return bool(self._held)

    @property
    def ended(self) -> bool:
        """Whether the terminal frame was released."""
        return self._ended

    def add(self, frame: Frame | Unknown) -> list[Frame]:
        """Take a frame in; return those that it makes ready, in order."""
        self._received += 1
        if self._ended or frame.position <= self._position:
            self._count_void_or_duplicate(frame)
            return []
        if frame.attempt > self._position.attempt:
            self._held.clear()
            self._position = Position(frame.attempt, 0)
            self._highest = 0
        self._count_order(frame)
        if frame.sequence != self._position.sequence + 1:
            if len(self._held) < self._held_limit:
                self._held.setdefault(frame.sequence, frame)
            return []
        return self._release(frame)

    def _count_void_or_duplicate(self, frame: Frame | Unknown) -> None:
        if frame.attempt == self._position.attempt:
            self._duplicates += 1
        else:
            self._void += 1

    def _count_order(self, frame: Frame | Unknown) -> None:
        self._duplicates += frame.sequence in self._held
        self._reordered += frame.sequence < self._highest and frame.sequence not in self._held
        self._highest = max(self._highest, frame.sequence)

    def _release(self, frame: Frame | Unknown | None) -> list[Frame]:
        released: list[Frame] = []
        while frame is not None and not self._ended:
            self._position = frame.position
            self._ended = is_terminal(frame)
            if not isinstance(frame, Unknown):
                released.append(frame)
            frame = self._held.pop(self._position.sequence + 1, None)
        if self._ended:
            self._held.clear()
        return released
