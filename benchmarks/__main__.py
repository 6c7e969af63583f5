"""`python -m benchmarks`: measures, prints what is reached and what is missed, writes the result as JSON."""

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path
from time import monotonic

from benchmarks import local_stack, memory, start_up
from benchmarks.comparison import report
from benchmarks.delivery import grid
from benchmarks.picture import draw
from benchmarks.result import Result, Row, merged, read, write
from benchmarks.table import full, summary

ROOT = Path(__file__).parents[1]
_RESULTS = ROOT / ".local"

Measure = Callable[[bool, Callable[[str], None]], Iterator[Row]]
# How often each is measured for a whole result; the rounds of all are interleaved.
_PARTS: dict[str, tuple[Measure, int]] = {
    "delivery": (grid.measure, 3),
    "start-up": (start_up.measure, 3),
    "memory": (memory.measure, 1),
    "local": (local_stack.measure, 2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit code: 1 for a regression, 2 for what can't be read, drawn or kept."""
    options = _parser().parse_args(arguments)
    try:
        if options.compare:
            lines, worse = report(*map(read, options.compare))
            print("\n".join(lines))
            return int(worse)
        if options.picture:
            options.picture.write_text(draw(read(options.json or _RESULTS / "bench.json")), encoding="utf-8")
            return 0
        path = options.json or _RESULTS / ("bench-quick.json" if options.quick else "bench.json")
        # Before anything is measured that could not be kept.
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except (OSError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    try:
        result = _measured(options.only or list(_PARTS), options.quick, options.rounds)
    except KeyboardInterrupt:
        print("benchmarks: stopped, nothing is kept", file=sys.stderr)
        return 130
    write(result, path)
    print("\n".join(full(result) if options.all else summary(result)))
    print(f"all {len(result.rows)} figures: {path}")
    return 0


def _measured(parts: Sequence[str], quick: bool, rounds: int | None) -> Result:
    began = monotonic()

    def say(what: str) -> None:
        print(f"{monotonic() - began:6.0f} s  {what}", file=sys.stderr, flush=True)

    measured: list[list[Row]] = []
    for number in range(rounds or (1 if quick else max(most for _, most in _PARTS.values()))):
        for part in parts:
            measure, most = _PARTS[part]
            if number < (rounds or most):
                measured.append(list(measure(quick, say)))
    return Result(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        commit=_commit(),
        rows=tuple(merged(measured)),
    )


def _commit() -> str:
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - the one on the path
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of the cases that tell most")
    parser.add_argument("--rounds", type=_positive, help="measure everything so many times")
    parser.add_argument("--only", nargs="+", choices=list(_PARTS), help="some of the parts")
    parser.add_argument("--all", action="store_true", help="print every figure, not the nearest to each limit alone")
    parser.add_argument("--json", type=Path, help="where the result is written, or read for --picture")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="compare two results")
    parser.add_argument("--picture", type=Path, help="draw the result as SVG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
