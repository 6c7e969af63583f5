"""How much memory a function takes that streams, and whether it takes more the longer an answer is."""

import asyncio
from collections.abc import Callable, Iterator

from benchmarks import start_up
from benchmarks.delivery.bench import bench
from benchmarks.delivery.jobs import Sink
from benchmarks.process import run
from benchmarks.result import Row

REACH = 1.25
LONG_REACH = 1.05

SHORT_TOKENS = 1_000
LONG_TOKENS = 100_000
_QUICK_TOKENS = 10_000
_RATE = 4_000
"""Tokens a second: more than any model's, and less than what the slowest way out takes."""

# Those that differ: the others send as one of these does.
_SINKS: tuple[Sink, ...] = ("url", "websocket", "appsync", "sns")
_LONG_SINKS: tuple[Sink, ...] = ("url", "websocket")


def measure(quick: bool, say: Callable[[str], None]) -> Iterator[Row]:
    """Make one round, each sink in a process of its own."""
    long_tokens = _QUICK_TOKENS if quick else LONG_TOKENS
    baseline = run(start_up.BASELINE, start_up.environment(start_up.FUNCTIONS[0])).peak_kilobytes
    yield Row("peak memory", "boto3 with a client", "MB", (_megabytes(baseline),))
    for sink in _SINKS:
        tokens = long_tokens if sink in _LONG_SINKS else None
        say(f"memory: {sink}, {tokens or SHORT_TOKENS:,} tokens")
        short, long = asyncio.run(_peaks(sink, tokens))
        yield Row("peak memory", sink, "MB", (_megabytes(short),))
        yield Row("peak memory, against boto3 with a client", sink, "x", (round(short / baseline, 3),), REACH)
        if long is not None:
            grown = (round(long / short, 3),)
            yield Row(f"peak memory, {long_tokens:,} tokens against {SHORT_TOKENS:,}", sink, "x", grown, LONG_REACH)


async def _peaks(sink: Sink, long_tokens: int | None) -> tuple[int, int | None]:
    """Return the peaks, in kilobytes, behind a short answer and behind a long one that follows it."""
    async with bench("tokenstream") as harness:
        short = await harness.stream("tokenstream", sink, tokens=SHORT_TOKENS, rate=_RATE)
        if long_tokens is None:
            return short.peak_kilobytes, None
        long = await harness.stream("tokenstream", sink, tokens=long_tokens, rate=_RATE)
        return short.peak_kilobytes, long.peak_kilobytes


def _megabytes(kilobytes: int) -> float:
    return round(kilobytes / 1024, 1)
