"""The simulation beside the real thing: answers streamed by the stack's own code, as `benchmarks.delivery` runs it."""

import asyncio
from collections.abc import Sequence
from statistics import median

from benchmarks.delivery.bench import Stream, bench
from benchmarks.scale.markdown import markdown
from benchmarks.scale.simulation import alone
from benchmarks.scale.tables import CASES

ROUNDS = 3
_HEAD = ("tokens/s", "round trip, ms", "p50, ms", "simulated", "p99, ms", "simulated", "requests", "simulated")
_MS = 1000


def comparison() -> str:
    """Stream each case several times, and put the medians beside what is simulated; takes some minutes."""
    return markdown(asyncio.run(_rows()))


async def _rows() -> list[Sequence[str]]:
    streams: list[list[Stream]] = [[] for _ in CASES]
    async with bench("tokenstream") as running:
        await running.stream("tokenstream", "websocket", tokens=50, rate=300)  # warm
        for _ in range(ROUNDS):
            for answer, found in zip(CASES, streams, strict=True):
                found.append(
                    await running.stream(
                        "tokenstream",
                        "websocket",
                        tokens=answer.tokens,
                        rate=answer.rate,
                        round_trip=answer.round_trip,
                    )
                )
    rows: list[Sequence[str]] = [_HEAD]
    for answer, found in zip(CASES, streams, strict=True):
        simulated = alone(answer)
        figures: list[tuple[float, float]] = [
            (_MS * median(_lag(stream, 50) for stream in found), _MS * simulated.lag(50)),
            (_MS * median(_lag(stream, 99) for stream in found), _MS * simulated.lag(99)),
        ]
        rows.append(
            (
                f"{answer.rate:g}",
                f"{answer.round_trip * _MS:.0f}",
                *(f"{figure:.1f}" for pair in figures for figure in pair),
                f"{median(stream.requests for stream in found):.0f}",
                f"{simulated.requests_an_answer:.0f}",
            )
        )
    return rows


def _lag(stream: Stream, percent: int) -> float:
    lags = sorted(stream.lags)
    return lags[-(-percent * len(lags) // 100) - 1]
