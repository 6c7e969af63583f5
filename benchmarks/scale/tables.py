"""The tables of docs/scale.md, as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from benchmarks.scale.load import Load
from benchmarks.scale.markdown import markdown
from benchmarks.scale.quotas import (
    GATEWAY_REQUESTS,
    LAMBDA,
    NEW_TABLE_WRITES,
    QUEUE_START_RATE,
    START_RATE,
    TABLE_READS,
    TABLE_WRITES,
    Quota,
)
from benchmarks.scale.simulation import Bucket, Outcome, alone, simulate
from tokenstream_client.answer import WAYS, Answer, Way
from tokenstream_client.prices import Price

ANSWER = Answer(tokens=500, rate=80)
STREAMS = (1, 1000, 100_000)
LAZY_SECONDS = 0.25
"""A flush interval that a reader hardly notices."""

LAZY = replace(ANSWER, flush_interval=LAZY_SECONDS)

PROMPT_TOKENS = 250
FLUSH_INTERVALS = (0, 0.05, 0.1, 0.25, 0.5, 1.0)
CASES = [replace(ANSWER, rate=rate, round_trip=round_trip) for rate in (80, 300) for round_trip in (0.005, 0.02, 0.05)]
"""Some of what `benchmarks.delivery` measures."""

LOADS = (0.5, 0.9, 1, 1.1, 1.25, 1.5, 2)
QUOTA = 1000
BURST = 500
"""API Gateway's is half a second's requests as well: 5,000."""

SEED = 1
_MS = 1000


def tables() -> dict[str, str]:
    """Return them all, by name."""
    makers: dict[str, Callable[[], list[Sequence[str]]]] = {
        "breaks-first": _breaks_first,
        "loads": _loads,
        "ask": _ask,
        "model": _model,
        "flush": _flush,
        "near-the-quota": _near_the_quota,
        "theory": _theory,
    }
    return {name: markdown(maker()) for name, maker in makers.items()}


def with_tables(page: str) -> str:
    """Put the tables into a page: each between `<!-- name -->` and `<!-- end -->`."""
    for name, table in tables().items():
        begin, rest = page.split(f"<!-- {name} -->\n")
        _, end, rest = rest.partition("<!-- end -->")
        page = f"{begin}<!-- {name} -->\n{table}{end}{rest}"
    return page


def _breaks_first() -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        ("way", "the template's own bound", "AWS's first", "its second", f"first at {LAZY_SECONDS * _MS:.0f} ms")
    ]
    for way in WAYS:
        load = Load(ANSWER, way)
        ours = load.first(ours=True)
        first, second, *_ = load.first(ours=False)
        lazy = Load(LAZY, way)
        rows.append(
            (
                _name(way),
                _breaking(load, ours[0]) if ours else "none",
                _breaking(load, first),
                _breaking(load, second),
                _breaking(lazy, lazy.first(ours=False)[0]),
            )
        )
    return rows


def _breaking(load: Load, quota: Quota) -> str:
    return f"{quota.name}: {load.most(quota):,}"


def _loads() -> list[Sequence[str]]:
    lazily = f"USD an hour at {LAZY_SECONDS * _MS:.0f} ms"
    rows: list[Sequence[str]] = [
        ("way", "streams", "at once on Lambda", "front door, requests/s", "writes/s", "reads/s", "USD an hour", lazily)
    ]
    for way in WAYS:
        load, lazy = Load(ANSWER, way), Load(LAZY, way)
        needs = (
            load.needs[LAMBDA],
            _requests(load),
            load.needs[TABLE_WRITES],
            load.needs[TABLE_READS],
            load.usd_an_hour,
            lazy.usd_an_hour,
        )
        rows += [(_name(way), f"{streams:,}", *(_amount(streams * need) for need in needs)) for streams in STREAMS]
    return rows


def _requests(load: Load) -> float:
    """Count what comes to the front door from either side."""
    if load.way.path == "url":
        return 1 / load.answer.duration
    counted = {Price.REST_REQUEST, Price.WEB_SOCKET_MESSAGE, Price.APP_SYNC_OPERATION}
    return sum(part.quantity for part in load.bill.parts if part.price in counted) / load.answer.duration


def _ask() -> list[Sequence[str]]:
    streams = STREAMS[-1]
    loads = [(Load(ANSWER, way), Load(LAZY, way)) for way in WAYS]
    quotas = {quota: None for load, _ in loads for quota in load.needs if not quota.ours}
    del quotas[NEW_TABLE_WRITES]  # a table that is used has grown
    rows: list[Sequence[str]] = [("quota", "default", "of each", *map(_name, WAYS), "ask for")]
    for quota in quotas:
        row = [
            f"{load.times(quota, streams):g} → {lazy.times(quota, streams):g}" if quota in load.needs else ""
            for load, lazy in loads
        ]
        default = f"{quota.most:,} {quota.per}"
        rows.append(
            (quota.name, default, quota.scope, *row, f"{quota.ask}, `{quota.code}`" if quota.code else quota.ask)
        )
    return rows


def _model() -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (
            "streams",
            "answers/s",
            "tokens a minute",
            "where output counts five times",
            "to start them all: one function",
            "behind the prompts' queue",
        )
    ]
    for streams in STREAMS:
        starts = streams / ANSWER.duration
        rows.append(
            (
                f"{streams:,}",
                _amount(starts),
                _amount(starts * 60 * (PROMPT_TOKENS + ANSWER.tokens)),
                _amount(starts * 60 * (PROMPT_TOKENS + 5 * ANSWER.tokens)),
                f"{streams / START_RATE:,.0f} s",
                f"{streams / QUEUE_START_RATE:,.0f} s",
            )
        )
    return rows


def _flush() -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (
            "FLUSH_INTERVAL_MS",
            "messages/s a stream",
            "lag p50, ms",
            "lag p99, ms",
            f"streams to {GATEWAY_REQUESTS.most:,} requests/s",
            *(f"USD a million: {path}" for path in ("url", "websocket", "appsync")),
        )
    ]
    for interval in FLUSH_INTERVALS:
        answer = replace(ANSWER, flush_interval=interval)
        outcome = alone(answer)
        load = Load(answer, Way("websocket"))
        rows.append(
            (
                f"{interval * _MS:.0f}",
                f"{answer.frames(load.way) / answer.duration:.1f}",
                f"{outcome.lag(50) * _MS:.0f}",
                f"{outcome.lag(99) * _MS:.0f}",
                f"{load.most(GATEWAY_REQUESTS):,}",
                *(f"{Load(answer, Way(path)).bill.usd * 1_000_000:,.0f}" for path in ("url", "websocket", "appsync")),
            )
        )
    return rows


def _near_the_quota() -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        ("asked for, of the quota", "lag p50, ms", "lag p99, ms", "refused requests", "answers that take the queue")
    ]
    way = Way("websocket")
    for share in LOADS:
        outcome = near_the_quota(share, way)
        rows.append(
            (
                f"{share:.0%}",
                f"{outcome.lag(50) * _MS:,.0f}",
                f"{outcome.lag(99) * _MS:,.0f}",
                f"{outcome.refused:.0%}",
                f"{outcome.failed_over:.0%}",
            )
        )
    return rows


@cache
def near_the_quota(share: float, way: Way) -> Outcome:
    """Simulate as many streams as need this part of a quota, for a minute."""
    streams = round(share * QUOTA * ANSWER.duration / ANSWER.frames(way))
    return simulate(ANSWER, way, streams=streams, bucket=Bucket(QUOTA, BURST), seconds=60, seed=SEED)


def _theory() -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (
            "tokens/s",
            "round trip, ms",
            "lag p50, ms",
            "half a round trip",
            "lag p99, ms",
            "requests an answer",
            "counted",
        )
    ]
    for answer in CASES:
        outcome = alone(answer)
        rows.append(
            (
                f"{answer.rate}",
                f"{answer.round_trip * _MS:.0f}",
                f"{outcome.lag(50) * _MS:.1f}",
                f"{answer.round_trip * _MS / 2:.1f}",
                f"{outcome.lag(99) * _MS:.1f}",
                f"{outcome.requests_an_answer:.0f}",
                f"{answer.frames(Way('websocket'))}",
            )
        )
    return rows


def _name(way: Way) -> str:
    return way.path if way.delivery == "direct" else f"{way.path}, {way.delivery}"


def _amount(amount: float) -> str:
    rounded = float(f"{amount:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"  # noqa: PLR2004 - three figures, whole ones
