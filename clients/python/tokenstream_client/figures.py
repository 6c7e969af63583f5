"""How an answer came, in figures: pure.

A frame counts from the moment at which it can be read: its own arrival, or that of the last one before it where frames
overtook each other. Attempts that were given up count as well: a reader has seen them, and waited between them.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tokenstream_client.frames import Frame, Token, is_terminal

_SLOW_PERCENT = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Milliseconds, the first and the last since the request was sent; `None` is what there is no figure for.

    A gap is the time between a frame with text and the next one: one such frame has none.
    """

    time_to_first_token_ms: float | None = None
    median_gap_ms: float | None = None
    p95_gap_ms: float | None = None
    total_ms: float | None = None


def figures_of(frames: Sequence[Frame]) -> Figures:
    """Return the figures of frames in their order. There is a total only if the last one is terminal."""
    readable = list(accumulate((frame.received_at_ms for frame in frames), max))
    with_text = [
        moment for moment, frame in zip(readable, frames, strict=True) if isinstance(frame, Token) and frame.token
    ]
    gaps = [later - earlier for earlier, later in pairwise(with_text)]
    return Figures(
        time_to_first_token_ms=with_text[0] if with_text else None,
        median_gap_ms=median(gaps),
        p95_gap_ms=nearest_rank(gaps, _SLOW_PERCENT),
        total_ms=readable[-1] if frames and is_terminal(frames[-1]) else None,
    )


def median_figures(several: Sequence[Figures]) -> Figures:
    """Return the median of each figure over those answers that have it."""

    def of(figure: Callable[[Figures], float | None]) -> float | None:
        return median(value for value in map(figure, several) if value is not None)

    return Figures(
        time_to_first_token_ms=of(lambda figures: figures.time_to_first_token_ms),
        median_gap_ms=of(lambda figures: figures.median_gap_ms),
        p95_gap_ms=of(lambda figures: figures.p95_gap_ms),
        total_ms=of(lambda figures: figures.total_ms),
    )


def median(values: Iterable[float]) -> float | None:
    """Return the middle value, or the mean of the two in the middle; `None` of nothing."""
    values = list(values)
    return statistics.median(values) if values else None


def nearest_rank(values: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that at least so many percent of the values don't exceed; `None` of nothing."""
    if not values:
        return None
    rank = max(1, -(-percent * len(values) // 100))
    return sorted(values)[rank - 1]
