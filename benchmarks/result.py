"""What a benchmark has found: rows of figures, a round each, with what they have to reach; as JSON and read back."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from msgspec import DecodeError, Struct
from msgspec.json import decode, encode
from msgspec.json import format as pretty


class Row(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One figure, in every round that was measured.

    `what` names the figure and `case` what it was measured on; the two together are unique in a result. `reach` is the
    most that it may be, None where the figure is only reported.
    """

    what: str
    case: str
    unit: str
    rounds: tuple[float, ...]
    reach: float | None = None

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest round."""
        return min(self.rounds), max(self.rounds)

    @property
    def reached(self) -> bool:
        """Whether the figure is what it has to be."""
        return self.reach is None or self.figure <= self.reach


class Result(Struct, frozen=True, rename="camel"):
    """A run: when (ISO 8601), on which machine, of which commit, and what it found."""

    date: str
    machine: str
    commit: str
    rows: tuple[Row, ...]


def write(result: Result, path: Path) -> None:
    """Write a result as JSON."""
    path.write_bytes(pretty(encode(result), indent=1) + b"\n")


def read(path: Path) -> Result:
    """Read a result; raises `OSError`, and `ValueError` for a file that is none."""
    try:
        result = decode(path.read_bytes(), type=Result)
    except DecodeError as error:
        raise ValueError(f"{path} is no result: {error}") from error
    if any(not row.rounds for row in result.rows) or len({(row.what, row.case) for row in result.rows}) < len(
        result.rows
    ):
        raise ValueError(f"{path} is no result: a figure without rounds, or one that is there twice")
    return result


def merged(rounds: Iterable[Iterable[Row]]) -> list[Row]:
    """Put the rows of several rounds together, in the order in which they first came; four digits of each figure."""
    rows: dict[tuple[str, str], Row] = {}
    for row in (row for one in rounds for row in one):
        earlier = rows.get((row.what, row.case))
        figures = tuple(float(f"{figure:.4g}") for figure in row.rounds)
        figures = (*earlier.rounds, *figures) if earlier else figures
        rows[row.what, row.case] = Row(row.what, row.case, row.unit, figures, row.reach)
    return list(rows.values())
