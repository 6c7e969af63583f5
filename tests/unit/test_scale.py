"""docs/scale.md: its tables, and the simulation behind some of them."""

import re
from pathlib import Path

import pytest

from benchmarks.scale import quotas, simulation
from benchmarks.scale.load import Load
from benchmarks.scale.simulation import Bucket, Outcome, simulate
from benchmarks.scale.tables import ANSWER, near_the_quota, with_tables
from tests.template.transformed import source, stack
from tokenstream import retries, sessions
from tokenstream_client.answer import WAYS, Answer, Way

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
WEB_SOCKET = Way("websocket")


def alone(answer: Answer) -> Outcome:
    return simulate(answer, WEB_SOCKET, streams=10, bucket=Bucket(1e9, 1e9), seconds=20, seed=2)


def test_the_pages_tables_are_what_its_script_prints() -> None:
    page = PAGE.read_text()
    assert with_tables(page) == page, "python -m benchmarks.scale --write"


def test_every_table_of_the_page_is_there() -> None:
    page = PAGE.read_text()
    assert not re.findall(r"<!-- ([a-z-]+) -->\n<!-- end -->", page)


def test_the_templates_own_bounds_are_the_pages() -> None:
    template = source()
    parameters, resources = template["Parameters"], template["Resources"]
    (methods,) = resources["RestApi"]["Properties"]["MethodSettings"]
    assert methods["ThrottlingRateLimit"] == quotas.REST_RATE.most
    routes = resources["WebSocketApi"]["Properties"]["DefaultRouteSettings"]
    assert routes["ThrottlingRateLimit"] == quotas.WEB_SOCKET_RATE.most
    assert parameters["PromptConcurrency"]["Default"] == quotas.PROMPT_CONCURRENCY.most
    assert parameters["DeliverConcurrency"]["Default"] == quotas.DELIVER_CONCURRENCY.most
    assert parameters["PromptConcurrency"]["MaxValue"] == quotas.PROMPTS_AT_ONCE.most
    assert stack().properties("FramesTopic")["FifoThroughputScope"] == "MessageGroup"  # else 3,000 a topic


def test_the_index_of_open_sessions_has_room_for_what_the_page_says() -> None:
    assert len(sessions.SHARDS) * 1000 == quotas.INDEX_WRITES.most


def test_a_refused_message_is_tried_again_as_the_sinks_do() -> None:
    assert simulation.BUDGET_SECONDS == retries.BUDGET_SECONDS
    assert simulation.FIRST_PAUSE == retries._FIRST_PAUSE
    assert simulation.LONGEST_PAUSE == retries._LONGEST_PAUSE


@pytest.mark.parametrize("way", WAYS)
def test_no_stream_needs_less_than_one_environment_and_every_quota_breaks_somewhere(way: Way) -> None:
    load = Load(ANSWER, way)
    assert load.needs[quotas.LAMBDA] >= 1
    assert all(need > 0 for need in load.needs.values())
    first, second, *_ = load.first(ours=False)
    assert load.most(first) <= load.most(second)


@pytest.mark.parametrize("rate", [80, 300])
@pytest.mark.parametrize("round_trip", [0.02, 0.05])
def test_simulated_lags_are_half_a_round_trip_and_one_at_most(rate: float, round_trip: float) -> None:
    answer = Answer(tokens=500, rate=rate, round_trip=round_trip)
    outcome = alone(answer)
    assert outcome.lag(50) == pytest.approx(round_trip / 2, rel=0.05)
    assert outcome.lag(100) <= round_trip
    requests = outcome.requests / 10 * answer.duration
    assert requests == pytest.approx(answer.frames(WEB_SOCKET), rel=0.05)


def test_a_flush_interval_bounds_the_lag_and_the_requests() -> None:
    answer = Answer(tokens=500, rate=80, flush_interval=0.25)
    outcome = alone(answer)
    assert outcome.lag(50) == pytest.approx(0.125, rel=0.05)
    assert outcome.lag(100) <= 0.25 + answer.round_trip
    assert outcome.requests / 10 <= answer.frames(WEB_SOCKET) / answer.duration * 1.1


def test_the_first_token_waits_for_no_flush_interval() -> None:
    answer = Answer(tokens=1, rate=1, first_token=1, flush_interval=60)
    assert alone(answer).lag(100) <= answer.round_trip


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(rate=100, burst=50)
    taken = sum(bucket.take(tick / 1000) for tick in range(2000))
    assert taken == pytest.approx(50 + 2 * 100, abs=1)


def test_below_the_quota_nothing_is_refused_and_above_it_the_slowest_wait() -> None:
    assert near_the_quota(0.9, WEB_SOCKET).refused == 0
    over = near_the_quota(1.5, WEB_SOCKET)
    assert over.refused > 0
    assert over.failed_over > 0
    assert over.lag(99) > 10 * near_the_quota(0.9, WEB_SOCKET).lag(99)
    assert over.lag(100) <= simulation.BUDGET_SECONDS + 2 * ANSWER.round_trip + simulation.LONGEST_PAUSE
