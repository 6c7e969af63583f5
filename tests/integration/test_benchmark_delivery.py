"""What the benchmarks compare has to be the same answer: each way streams it whole, to stand-ins that can tell."""

import ssl

import pytest

from benchmarks.delivery.bench import Stream, bench
from benchmarks.delivery.grid import PUSHING
from benchmarks.delivery.jobs import Done
from benchmarks.delivery.model import PacedModel

TOKENS = 40


async def test_either_way_brings_every_token_to_every_sink() -> None:
    async with bench("tokenstream", "naive") as stage:
        for sink in PUSHING:
            naive = await stage.stream("naive", sink, tokens=TOKENS)
            assert (len(naive.lags), naive.requests) == (TOKENS, TOKENS)
            ours = await stage.stream("tokenstream", sink, tokens=TOKENS, round_trip=0.02)
            assert len(ours.lags) == TOKENS
            # As fast as it comes, it leaves joined: `start`, one or more with tokens, the end.
            assert 3 <= ours.requests < TOKENS
        over_http = await stage.stream("tokenstream", "url", tokens=TOKENS)
        assert (len(over_http.lags), over_http.requests) == (TOKENS, 1)


async def test_a_warm_stream_opens_no_connection_and_the_naive_way_one_a_token() -> None:
    async with bench("tokenstream", "naive") as stage:
        for sink in PUSHING:
            first = await stage.stream("tokenstream", sink, tokens=3)
            second = await stage.stream("tokenstream", sink, tokens=TOKENS)
            assert (first.new_connections, second.new_connections) == (1, 0)
        assert (await stage.stream("naive", "appsync", tokens=5)).new_connections == 5


async def test_a_flush_interval_joins_what_comes_meanwhile() -> None:
    async with bench("tokenstream", environment={"FLUSH_INTERVAL_MS": "200"}) as stage:
        await stage.stream("tokenstream", "websocket", tokens=3)
        stream = await stage.stream("tokenstream", "websocket", tokens=TOKENS, rate=100)
    assert len(stream.lags) == TOKENS
    # 0.4 s of tokens: `start`, the first, one or two intervals' worth, the end.
    assert stream.requests <= 6


async def test_a_process_that_fails_is_no_measurement() -> None:
    async with bench("tokenstream", environment={"BEDROCK_API": "no such"}) as stage:
        with pytest.raises(RuntimeError, match="has ended"):
            await stage.stream("tokenstream", "sns", tokens=3)


def test_an_answer_that_is_not_whole_is_no_measurement() -> None:
    model = PacedModel(ssl.create_default_context())
    model.emitted = [1.0, 2.0]
    with pytest.raises(RuntimeError, match="1 of 2 tokens"):
        Stream.of(model, {0: 1.5}, 1, 0, Done(0.1, 1000))
