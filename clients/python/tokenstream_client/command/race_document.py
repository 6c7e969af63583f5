"""How a race ended, as one JSON document: pure."""

from collections.abc import Sequence
from typing import Any

from tokenstream_client.command.contestant import Contestant, Run
from tokenstream_client.command.race_summary import common_text, delivery_of, messages_of, summary_of
from tokenstream_client.figures import Figures


def document(contestants: Sequence[Contestant], *, interrupted: bool) -> dict[str, Any]:
    """Return it; names that end in `Ms` are milliseconds, `null` is what there is no figure for."""
    text = common_text(contestants)
    return {
        "interrupted": interrupted,
        "sameText": text is not None,
        "contestants": [_contestant(contestant) for contestant in contestants],
    }


def _contestant(contestant: Contestant) -> dict[str, Any]:
    summary = summary_of(contestant.runs)
    return {
        "path": contestant.entry.path,
        "delivery": delivery_of(contestant),
        "deployed": contestant.deployed,
        "medians": {**_figures(summary.figures), "messages": summary.messages},
        "rounds": [_run(run) for run in contestant.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "outcome": run.outcome,
        "error": None if run.message is None else {"code": run.outcome, "message": run.message},
        "delivery": run.delivery,
        "attempt": run.attempt,
        "connectMs": _rounded(run.connect_ms),
        **_figures(run.figures),
        "messages": messages_of(run),
        "duplicates": run.arrivals.duplicates,
        "reordered": run.arrivals.reordered,
        "void": run.arrivals.void,
        "resumes": run.resumes,
        "characters": len(run.text),
    }


def _figures(figures: Figures) -> dict[str, float | None]:
    return {
        "firstTokenMs": _rounded(figures.time_to_first_token_ms),
        "medianGapMs": _rounded(figures.median_gap_ms),
        "p95GapMs": _rounded(figures.p95_gap_ms),
        "totalMs": _rounded(figures.total_ms),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
