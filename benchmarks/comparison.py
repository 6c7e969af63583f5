"""Two results side by side, so that a regression is seen: pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.result import Result, Row

NOISE = 1.15
"""Medians that are no further apart than by this factor are the same."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure in both results."""

    before: Row
    after: Row

    @property
    def factor(self) -> float:
        """How many times the earlier figure the later one is."""
        if not self.before.figure:
            return 1.0 if not self.after.figure else float("inf")
        return self.after.figure / self.before.figure

    @property
    def worse(self) -> bool:
        """Whether the figure has grown by more than noise explains: no round of the one is among those of the other."""
        return self.factor > NOISE and self.after.spread[0] > self.before.spread[1]

    @property
    def better(self) -> bool:
        """The same, the other way round."""
        return self.factor < 1 / NOISE and self.after.spread[1] < self.before.spread[0]


def changes(before: Result, after: Result) -> Iterator[Change]:
    """Pair the figures that both results have."""
    earlier = {(row.what, row.case): row for row in before.rows}
    for row in after.rows:
        found = earlier.get((row.what, row.case))
        if found is not None and found.unit == row.unit:
            yield Change(found, row)


def report(before: Result, after: Result) -> tuple[list[str], bool]:
    """Tell in lines what has changed, and whether anything that tokenstream answers for has become worse.

    Raises `ValueError` for results that can't be compared.
    """
    pairs = list(changes(before, after))
    if not pairs:
        raise ValueError("the two results have no figure in common")
    # How the naive way fares is not ours to mend.
    worse = [change for change in pairs if change.worse and not change.after.what.startswith("naive")]
    better = [change for change in pairs if change.better]
    lines = [f"{before.date} {before.commit}  ->  {after.date} {after.commit}: {len(pairs)} figures in both"]
    if before.machine != after.machine:
        lines.append(f"two machines ({before.machine} | {after.machine}): only ratios can be compared")
    for title, found in (("worse", worse), ("better", better)):
        for change in sorted(found, key=lambda change: change.factor, reverse=title == "worse"):
            row = change.after
            lines.append(
                f"{title:<8}{change.factor:6.2f} x  {row.what}, {row.case}: "
                f"{change.before.figure:.3g} -> {row.figure:.3g} {row.unit}"
            )
    if not worse and not better:
        lines.append("nothing has changed beyond noise")
    return lines, bool(worse)
