"""Where deltas come from: the events of a model's stream and the interface of a source."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tokenstream.frames import Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer's text, as the model sent it."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The model ended its answer: the last event. `stop_reason` in our words, or the model's own where we have none."""

    stop_reason: str
    usage: Usage


SourceEvent = Delta | ReasoningDelta | Finished


class Source(Protocol):
    """One answer of one model.

    `events` blocks while the model is silent and ends with `Finished`; a stream that ends without raises. It closes
    what it opened, whichever way it is left. `abort` may be called from any thread, any number of times: `events` then
    ends soon, with any error or with none, and the model's stream is closed. `usage` is what the model has counted up
    to now.
    """

    @property
    def usage(self) -> Usage:
        """What the model has generated so far, as far as it is known."""
        ...

    def events(self) -> Iterator[SourceEvent]:
        """Yield the answer; raises `TokenstreamError`."""
        ...

    def abort(self) -> None:
        """Close the model's stream now."""
        ...
