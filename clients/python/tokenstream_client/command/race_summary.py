"""What a contestant's rounds come to: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenstream_client.command.contestant import Contestant, Run
from tokenstream_client.figures import Figures, median, median_figures


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians, over the rounds with a whole answer where there is one, and below `messages` sums over all rounds.

    A message that came twice is counted once.
    """

    figures: Figures
    messages: float | None
    duplicates: int
    reordered: int
    resumes: int


def summary_of(runs: Sequence[Run]) -> Summary:
    """Summarize a contestant's rounds."""
    best = [run for run in runs if run.whole] or runs
    return Summary(
        figures=median_figures([run.figures for run in best]),
        messages=median(messages_of(run) for run in best),
        duplicates=sum(run.arrivals.duplicates for run in runs),
        reordered=sum(run.arrivals.reordered for run in runs),
        resumes=sum(run.resumes for run in runs),
    )


def messages_of(run: Run) -> int:
    """Return the frames that came, each counted once."""
    return run.arrivals.received - run.arrivals.duplicates


def delivery_of(contestant: Contestant) -> str | None:
    """Return the delivery that the stack named last, or the one that was asked for."""
    named = [run.delivery for run in contestant.runs if run.delivery is not None]
    return named[-1] if named else contestant.entry.delivery


def common_text(contestants: Sequence[Contestant]) -> str | None:
    """Return the text that all whole answers have; `None` if there are no two, or they differ."""
    texts = [run.text for contestant in contestants for run in contestant.runs if run.whole]
    return texts[0] if len(texts) > 1 and len(set(texts)) == 1 else None
