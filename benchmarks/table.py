"""A result in lines: pure."""

from collections.abc import Iterable, Sequence

from benchmarks.result import Result, Row

_HEAD = ("", "figure", "case", "median", "lowest", "highest", "to reach")
_NUMBERS = range(_HEAD.index("median"), len(_HEAD))


def full(result: Result) -> list[str]:
    """Give every row."""
    return _aligned([_HEAD, *map(_cells, result.rows)])


def summary(result: Result) -> list[str]:
    """Give what has a limit: of each figure and subject, which is a case's first word, the row nearest to its limit.

    In the end it says how many there are, and how many reach it.
    """
    limited = [row for row in result.rows if row.reach is not None]
    nearest = list(_nearest(limited))
    reached = sum(row.reached for row in limited)
    return [*_aligned([_HEAD, *map(_cells, nearest)]), "", f"{reached} of {len(limited)} figures reach their limit."]


def share_of_limit(row: Row) -> float:
    """Return how much of its limit a row takes: up to 1 it reaches it."""
    if row.reach is None:
        return 0.0
    return row.figure / row.reach


def _nearest(rows: Iterable[Row]) -> Iterable[Row]:
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row.what, row.case.partition(",")[0])
        if key not in found or share_of_limit(row) > share_of_limit(found[key]):
            found[key] = row
    return found.values()


def _cells(row: Row) -> tuple[str, ...]:
    mark = "" if row.reach is None else "reached" if row.reached else "MISSED"
    lowest, highest = row.spread
    limit = "" if row.reach is None else f"{_number(row.reach)} {row.unit}"
    return (mark, row.what, row.case, f"{_number(row.figure)} {row.unit}", _number(lowest), _number(highest), limit)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits tell enough


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in _NUMBERS else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
