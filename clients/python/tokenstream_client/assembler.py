"""Puts the frames of one answer in order: pure, no I/O, no clock.

Delivery is at least once and, on some paths, out of order. The assembler releases the frames of an attempt by
sequence, each once, from 1 without a gap. A frame of a higher attempt makes everything of lower attempts void:
what is still held is dropped, later arrivals of theirs are ignored, and the consumer learns of it by the next frame
released, the `Start` of the higher attempt. After a terminal frame nothing is released.
"""

from tokenstream_client.frames import BEGINNING, Frame, Position, Unknown, is_terminal

HELD_LIMIT = 1000
"""Frames held while an earlier one is missing; frames beyond are dropped, the resume that fills the gap brings them."""


class Assembler:
    """Orders and de-duplicates what `add` is given, behind a position."""

    def __init__(self, after: Position = BEGINNING, *, held_limit: int = HELD_LIMIT) -> None:
        self._held: dict[int, Frame | Unknown] = {}
        self._held_limit = held_limit
        self._position = after
        self._ended = False

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
        if self._ended or frame.position <= self._position:
            return []
        if frame.attempt > self._position.attempt:
            self._held.clear()
            self._position = Position(frame.attempt, 0)
        if frame.sequence != self._position.sequence + 1:
            if len(self._held) < self._held_limit:
                self._held.setdefault(frame.sequence, frame)
            return []
        return self._release(frame)

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
