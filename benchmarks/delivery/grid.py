"""The cases, and the figures of each with what they have to reach."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from statistics import median, quantiles

from benchmarks.delivery.bench import Bench, Stream, bench
from benchmarks.delivery.jobs import Sink
from benchmarks.picture import LAG_AT, tokens_drawn
from benchmarks.result import Row

TOKENS = 500
_QUICK_TOKENS = 200
FLUSH_INTERVALS = (0, 50, 100, 250, 500)
FLUSH_TOKENS = 240
PUSHING: tuple[Sink, ...] = ("websocket", "appsync", "sns")
CPU_SHARES: dict[Sink, float] = {"url": 1 / 8, "websocket": 1 / 4, "appsync": 1 / 25, "sns": 1 / 4}
"""What a sink's CPU may be of the naive way's; HTTP's is compared with a call of `@connections` a token."""


def measure(quick: bool, say: Callable[[str], None]) -> Iterator[Row]:
    """Make one round of the grid; `quick` leaves most of it out."""
    rounds = _round(quick, say)
    with asyncio.Runner() as runner:
        while (row := runner.run(anext(rounds, None))) is not None:
            yield row


async def _round(quick: bool, say: Callable[[str], None]) -> AsyncIterator[Row]:
    rates = (300.0,) if quick else (80.0, 300.0)
    round_trips = (0, 20) if quick else (0, 5, 20, 50)
    tokens = _QUICK_TOKENS if quick else TOKENS
    async with bench("tokenstream", "naive") as stage:
        for sink in ("url", *PUSHING):
            await stage.stream("tokenstream", sink, tokens=20, rate=300)
            await stage.stream("naive", "websocket" if sink == "url" else sink, tokens=20, rate=300)
        for rate in rates:
            for round_trip in round_trips:
                async for row in _cases(stage, tokens, rate, round_trip, say):
                    yield row
    if not quick:
        async for row in _flush_curve(say):
            yield row


async def _flush_curve(say: Callable[[str], None]) -> AsyncIterator[Row]:
    """Measure what FLUSH_INTERVAL_MS trades, on a model of 80 tokens/s and a sink that is 20 ms away."""
    for interval in FLUSH_INTERVALS:
        case = f"websocket, 80/s, round trip 20 ms, flush interval {interval} ms"
        say(case)
        async with bench("tokenstream", environment={"FLUSH_INTERVAL_MS": str(interval)}) as stage:
            await stage.stream("tokenstream", "websocket", tokens=20, rate=300)
            stream = await stage.stream("tokenstream", "websocket", tokens=FLUSH_TOKENS, rate=80, round_trip=0.02)
        yield Row("flush interval: lag p50", case, "ms", (_milliseconds(median(stream.lags)),))
        yield Row("flush interval: first token added", case, "ms", (_milliseconds(stream.lags[0]),), 3)
        yield Row(f"flush interval: requests for {FLUSH_TOKENS} tokens", case, "", (stream.requests,))


async def _cases(
    stage: Bench, tokens: int, rate: float, round_trip: int, say: Callable[[str], None]
) -> AsyncIterator[Row]:
    """Measure each sink at one rate and one round trip; where the round trip is 0 or 20 ms, the naive way beside it."""
    conditions = f"{rate:.0f}/s, round trip {round_trip} ms"
    naive: dict[Sink, Stream] = {}
    for sink in PUSHING:
        case = f"{sink}, {conditions}"
        say(case)
        ours = await stage.stream("tokenstream", sink, tokens=tokens, rate=rate, round_trip=round_trip / 1000)
        for row in _figures(case, ours, round_trip):
            yield row
        if round_trip in {0, 20}:
            say(f"naive {case}")
            naive[sink] = await stage.stream("naive", sink, tokens=tokens, rate=rate, round_trip=round_trip / 1000)
            yield Row("naive: lag of the last token", case, "ms", (_milliseconds(naive[sink].lags[-1]),))
            for row in _drawn(case, ours, naive[sink]):
                yield row
            for row in _cpu(sink, case, ours, naive[sink]):
                yield row
    if round_trip == 0:
        case = f"url, {rate:.0f}/s"
        say(case)
        ours = await stage.stream("tokenstream", "url", tokens=tokens, rate=rate)
        for row in _figures(case, ours, round_trip):
            yield row
        for row in _cpu("url", case, ours, naive["websocket"]):
            yield row


def _figures(case: str, stream: Stream, round_trip: int) -> Iterator[Row]:
    lags = sorted(stream.lags)
    yield Row("lag p50", case, "ms", (_milliseconds(median(lags)),), 0.6 * round_trip + 3)
    yield Row("lag p99", case, "ms", (_milliseconds(quantiles(lags, n=100)[-1]),), round_trip + 5)
    yield Row("lag of the last token", case, "ms", (_milliseconds(stream.lags[-1]),), round_trip + 5)
    yield Row("first token added", case, "ms", (_milliseconds(stream.lags[0]),), 3)
    yield Row("connections opened by a warm stream", case, "", (stream.new_connections,), 1)
    if round_trip:
        allowed = stream.duration / (round_trip / 1000) + 2
        yield Row("requests of those allowed", case, "x", (stream.requests / allowed,), 1)


def _drawn(case: str, ours: Stream, naive: Stream) -> Iterator[Row]:
    for way, stream in (("", ours), ("naive: ", naive)):
        for number in tokens_drawn(len(stream.lags)):
            yield Row(f"{way}{LAG_AT} {number}", case, "ms", (_milliseconds(stream.lags[number - 1]),))


def _cpu(sink: Sink, case: str, ours: Stream, naive: Stream) -> Iterator[Row]:
    yield Row("CPU for 1,000 tokens", case, "s", (_cpu_of(ours),))
    yield Row("naive: CPU for 1,000 tokens", case, "s", (_cpu_of(naive),))
    yield Row("CPU of the naive way's", case, "x", (_cpu_of(ours) / _cpu_of(naive),), CPU_SHARES[sink])


def _cpu_of(stream: Stream) -> float:
    return stream.cpu_seconds / len(stream.lags) * 1000


def _milliseconds(seconds: float) -> float:
    return seconds * 1000
