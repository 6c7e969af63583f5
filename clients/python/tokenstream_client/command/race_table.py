"""How a race stands, and how it ended, in lines: pure."""

from collections import Counter
from collections.abc import Sequence

from tokenstream_client.command.contestant import NOT_DEPLOYED, Contestant, Run
from tokenstream_client.command.race_summary import common_text, delivery_of, summary_of

_NONE = "–"  # noqa: RUF001 - where a figure would stand, a dash isn't a minus
_FEW_MS = 10
_HEAD = (
    "path",
    "delivery",
    "first token",
    "median gap",
    "p95 gap",
    "total",
    "messages",
    "duplicates",
    "order",
    "outcome",
)
_PROGRESS_HEAD = ("path", "state", "first token", "characters", "messages")
_PROGRESS = "{:<16}  {:<18}{:>12}{:>12}{:>10}"
_NUMBERS = range(_HEAD.index("first token"), _HEAD.index("order"))


def progress_lines(contestants: Sequence[Contestant]) -> list[str]:
    """Give a head and a line a contestant; the places of the figures don't change."""
    return [_PROGRESS.format(*row).rstrip() for row in (_PROGRESS_HEAD, *map(_progress_row, contestants))]


def table(contestants: Sequence[Contestant]) -> list[str]:
    """Give the results: a head, a line a contestant, and what is to be said of all."""
    rows = [_HEAD, *(_row(contestant) for contestant in contestants)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_cell(row, index, width) for index, width in enumerate(widths)).rstrip() for row in rows]
    rounds = max(len(contestant.runs) for contestant in contestants)
    if rounds > 1:
        lines.append(f"Times and messages are medians of {rounds} rounds; duplicates and order are of all of them.")
    if (text := common_text(contestants)) is not None:
        lines.append(f"All texts are the same: {len(text):,} characters.")
    return lines


def _progress_row(contestant: Contestant) -> tuple[str, ...]:
    progress = contestant.progress
    figures = (_ms(progress.first_token_ms), f"{progress.characters:,}", f"{progress.messages:,}")
    return (str(contestant.entry), progress.state, *(figures if progress.messages else ("", "", "")))


def _row(contestant: Contestant) -> tuple[str, ...]:
    summary = summary_of(contestant.runs)
    figures = summary.figures
    return (
        contestant.entry.path,
        delivery_of(contestant) or _NONE,
        _ms(figures.time_to_first_token_ms),
        _ms(figures.median_gap_ms),
        _ms(figures.p95_gap_ms),
        _ms(figures.total_ms),
        _NONE if not summary.messages else f"{summary.messages:,g}",
        _NONE if not summary.messages else f"{summary.duplicates:,}",
        _NONE if not summary.messages else _order(summary.reordered, summary.resumes),
        _outcome(contestant),
    )


def _cell(row: Sequence[str], index: int, width: int) -> str:
    return row[index].rjust(width) if index in _NUMBERS else row[index].ljust(width)


def _order(reordered: int, resumes: int) -> str:
    repairs = [f"{word} {count}" for word, count in (("repaired", reordered), ("resumed", resumes)) if count]
    return ", ".join(repairs) or "kept"


def _outcome(contestant: Contestant) -> str:
    if not contestant.deployed:
        return NOT_DEPLOYED
    outcomes = Counter(map(_told, contestant.runs))
    if len(contestant.runs) > 1:
        return ", ".join(f"{count}x {outcome}" for outcome, count in outcomes.items())
    return next(iter(outcomes), "not started")


def _told(run: Run) -> str:
    parts = [run.outcome if run.message is None else f"{run.outcome}: {run.message}"]
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    return ", ".join(parts)


def _ms(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.1f} ms" if value < _FEW_MS else f"{value:,.0f} ms"
