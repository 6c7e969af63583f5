"""What an answer costs: prices, what is counted, and that it is what the stack does."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.table import TABLE, Table, sessions_table
from tests.template.transformed import source
from tokenstream import lease, pump
from tokenstream.frames import Complete, Frame, Sealed, Timings, Token, Usage, seal
from tokenstream.lease import Lease, Verdict
from tokenstream.queued_frames import encode_frames
from tokenstream.session import NewSession
from tokenstream.sessions import Sessions
from tokenstream.sinks import sns
from tokenstream.sinks.http import EventStream
from tokenstream_client import answer as streamed
from tokenstream_client import cost
from tokenstream_client.answer import WAYS, Answer, Way, deliveries
from tokenstream_client.command import main
from tokenstream_client.cost import Bill, bill_of
from tokenstream_client.prices import Price, Unit

ROOT = Path(__file__).parents[3]
SESSION = "123e4567-e89b-42d3-a456-426614174000"
ANSWER = Answer(tokens=500, rate=80)

answers = st.builds(
    Answer,
    tokens=st.integers(1, 10_000),
    rate=st.floats(20, 1000),
    round_trip=st.floats(0, 1),
    flush_interval=st.floats(0, 2),
)
ways = st.sampled_from(WAYS)


def quantity(bill: Bill, price: Price) -> float:
    return sum(part.quantity for part in bill.parts if part.price is price)


def usd(bill: Bill, *prices: Price) -> float:
    return sum(part.usd for part in bill.parts if part.price in prices)


# Messages


def test_500_tokens_with_a_request_each_cost_what_is_known_of_them() -> None:
    naive = Answer(tokens=500, rate=80, joined=False)
    appsync = usd(bill_of(naive, Way("appsync")), Price.APP_SYNC_OPERATION, Price.APP_SYNC_UPDATE)
    websocket = usd(bill_of(naive, Way("websocket")), Price.WEB_SOCKET_MESSAGE)
    assert appsync == pytest.approx(0.0030, rel=0.01)
    assert websocket == pytest.approx(0.0005, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "way", "frames"),
    [
        ({}, Way("websocket"), 313),  # 6.25 s of tokens, a request every 20 ms
        ({}, Way("url"), 500),  # a chunk isn't answered: nothing is waited for
        ({"round_trip": 0.01}, Way("websocket"), 500),  # faster than the model: nothing piles up
        ({"flush_interval": 0.25}, Way("url"), 25),
        ({"flush_interval": 0.25}, Way("appsync"), 25),
        ({"flush_interval": 0.01}, Way("appsync"), 313),  # shorter than the round trip: it bounds nothing
        ({}, Way("appsync", "queued"), 163),  # 100 ms apart, once the queue is found to be behind
        ({"round_trip": 0.01}, Way("appsync", "queued"), 273),
        ({"flush_interval": 0.25}, Way("appsync", "queued"), 25),
        ({"joined": False}, Way("websocket", "queued"), 500),
    ],
)
def test_messages_are_bounded_by_time_and_not_by_tokens(fields: dict[str, Any], way: Way, frames: int) -> None:
    bill = bill_of(Answer(tokens=500, rate=80, **fields), way)
    assert bill.frames == frames + 2


# Where frames are queued it may: those that never fall behind are not slowed down.
@given(answers, st.sampled_from([way for way in WAYS if way.delivery == "direct"]), st.floats(0, 2))
def test_a_longer_flush_interval_never_makes_more_messages(answer: Answer, way: Way, more: float) -> None:
    longer = replace(answer, flush_interval=answer.flush_interval + more)
    assert longer.frames(way) <= answer.frames(way)


@given(answers, ways)
def test_a_bill_is_the_sum_of_its_parts_and_names_no_price_twice(answer: Answer, way: Way) -> None:
    bill = bill_of(answer, way)
    assert len({part.price for part in bill.parts}) == len(bill.parts)
    services = {part.price.service for part in bill.parts}
    assert sum(bill.service(service) for service in services) == pytest.approx(bill.usd)
    assert all(part.quantity > 0 for part in bill.parts)


@given(answers, st.sampled_from([way for way in WAYS if way.delivery == "queued"]))
def test_a_sessions_queued_frames_are_delivered_by_one_run_at_a_time(answer: Answer, way: Way) -> None:
    runs = deliveries(answer, way)
    frames = answer.frames(way)
    assert frames / streamed.BATCH_SIZE <= runs.number <= frames
    most = answer.generation + frames * (answer.round_trip + streamed.SHORT_RUN_SECONDS / streamed.BATCH_SIZE)
    assert runs.seconds <= most


def test_big_messages_are_metered_by_their_size() -> None:
    slow = Answer(tokens=10_000, rate=1000, flush_interval=5)  # 20 KB of text a message
    bill = bill_of(slow, Way("appsync"))
    assert bill.frames == 2 + 2
    assert quantity(bill, Price.APP_SYNC_UPDATE) == 2 * 8 + 2
    assert Unit.WEB_SOCKET.metered(32 * 1024) == 1
    assert Unit.WEB_SOCKET.metered(32 * 1024 + 1) == 2
    assert Unit.QUEUE.metered(0) == 1


# What the stack does


def test_the_functions_memory_is_the_templates() -> None:
    functions = {
        name: resource["Properties"]["MemorySize"]
        for name, resource in source()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    streaming = ["HttpStream", "WsMessage", "WsStream", "AppSyncStart", "AppSyncProcess", "Deliver"]
    assert {functions[f"{name}Function"] for name in streaming} == {streamed.MEMORY_MB}
    assert {functions[f"{name}Function"] for name in ("WsAuthorize", "WsConnection")} == {cost.DOOR_MEMORY_MB}


def test_the_stacks_own_intervals_are_the_models() -> None:
    assert streamed.LOOK_SECONDS == pump.LOOK_SECONDS
    assert cost.RENEW_SECONDS == lease.RENEW_SECONDS
    assert streamed.INTERVAL_SECONDS == sns.INTERVAL_SECONDS
    deliver = (ROOT / "functions/deliver/app.py").read_text()
    assert f"BEHIND_SECONDS = {streamed.BEHIND_SECONDS}\n" in deliver
    assert source()["Resources"]["FramesEventSource"]["Properties"]["BatchSize"] == streamed.BATCH_SIZE


def test_sizes_are_those_of_real_frames() -> None:
    token = sealed(Token(session_id=SESSION, attempt=1, sequence=100, token=""))
    assert len(token.json) == cost.FRAME_BYTES
    event = EventStream().encode(token)
    assert len(event) - len(token.json) == pytest.approx(cost.EVENT_BYTES, abs=2)
    message = encode_frames(SESSION, [token.json], None)
    assert len(message) - len(token.json) == pytest.approx(cost.ENVELOPE_BYTES, abs=40)
    update = {
        "sessionId": SESSION,
        "owner": SESSION,
        "attempt": 1,
        "sequence": 100,
        "type": "token",
        "token": "",
        "isComplete": False,
        "frame": token.json.decode(),
        "timestamp": "2026-11-21T12:00:00.000Z",
    }
    data = json.dumps({"id": SESSION, "type": "data", "payload": {"data": {"onTokenReceived": update}}})
    assert len(data) == pytest.approx(cost.UPDATE_BYTES, abs=20)


@pytest.fixture
def table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


def units(item: dict[str, Any]) -> int:
    return Unit.DYNAMO_WRITE.metered(sum(len(name) + size(value) for name, value in item.items()))


def size(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    return 3 + sum(1 + size(one) for one in content) if kind == "L" else len(str(content))


def sealed(frame: Frame) -> Sealed:
    return seal(frame)


@pytest.mark.parametrize("flush_interval", [0, 0.25])
def test_the_sessions_table_is_used_as_the_model_says(table: Table, flush_interval: float) -> None:
    answer = Answer(tokens=1000, rate=80, first_token=0.6, flush_interval=flush_interval)
    sessions = Sessions(table, TABLE, ttl=3600, store_answers=True)
    request = b'{"prompt": "' + b"x" * (answer.prompt_bytes - 14) + b'"}'
    claim = sessions.begin(NewSession(SESSION, "owner", "url", "direct", "model", request), "worker", 0)
    now = 0.0
    kept = Lease(sessions, claim, lambda: now)

    way = Way("url")
    frames = answer.token_frames(way)
    text = "x" * round(answer.text_bytes(way))
    moments = [answer.first_token + answer.generation * index / frames for index in range(frames)]
    sent = 0
    for look in range(1, int(answer.duration / pump.LOOK_SECONDS) + 1):
        now = look * pump.LOOK_SECONDS
        while sent < frames and moments[sent] <= now:
            sent += 1
            kept.keep([sealed(Token(session_id=SESSION, attempt=1, sequence=sent, token=text))])
        assert kept.look() is Verdict.GO_ON
    end = Complete(
        session_id=SESSION,
        attempt=1,
        sequence=frames + 2,
        stop_reason="end_turn",
        usage=Usage(10, 1000),
        timings=Timings(600, 13_000),
    )
    assert kept.settle("complete", sealed(end))

    (creation,) = table.called("transact_write_items")
    created = sum(2 * units(entry["Put"]["Item"]) for entry in creation["TransactItems"])
    stored = sum(units(call["Item"]) for call in table.called("put_item"))
    in_the_index = 2
    written = created + stored + len(table.called("update_item")) + in_the_index
    bill = bill_of(answer, way)
    assert quantity(bill, Price.DYNAMO_READ) == pytest.approx(len(table.called("get_item")), abs=1)
    assert quantity(bill, Price.DYNAMO_WRITE) == pytest.approx(written, rel=0.08)


# The web client


def test_the_web_client_counts_with_the_same_prices() -> None:
    code = (ROOT / "clients/web/src/cost.ts").read_text()
    table = re.search(r"const PRICES = \{(.*?)\}", code, re.DOTALL)
    assert table is not None
    found = {}
    for name, amount, million in re.findall(r"(\w+): ([\d._]+)( / MILLION)?,", table[1]):
        price = Price[re.sub(r"(?=[A-Z])", "_", name).upper()]
        found[price] = float(amount.replace("_", "")) / (1_000_000 if million else 1)
    assert found == {price: price.usd for price in Price}


def test_the_web_clients_functions_have_the_same_memory() -> None:
    code = (ROOT / "clients/web/src/cost.ts").read_text()
    assert f"const MEMORY_GB = {streamed.MEMORY_MB / 1024:g};" in code


# The command


def test_the_table_has_a_line_a_way_and_its_columns_stand_below_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cost", "--tokens", "500", "--streams", "1000000", "--rate", "80"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    rows, notes = lines[: len(WAYS)], lines[len(WAYS) :]
    assert [tuple(row.split()[:2]) for row in rows] == [tuple(way) for way in WAYS]
    end = head.index("a month") + len("a month")
    cents = {row[:end].split()[-1] for row in rows}
    assert all(re.fullmatch(r"\$[\d,]+\.\d\d", amount) for amount in cents)
    bill = bill_of(ANSWER, Way("appsync"))
    assert f"${bill.usd * 1_000_000:,.2f}" in cents
    assert "us-east-1, November 2026" in notes[0]
    assert any("Not confirmed: the prices of SNS" in note for note in notes)
    assert any(note.startswith("Not counted: the model") for note in notes)


def test_json_has_every_part_with_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tokens", "500", "--streams", "10", "--rate", "80", "--flush-interval-ms", "250", "--memory", "512"]
    assert main(["cost", "--json", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["answer"]["flushIntervalMs"] == 250
    for printed, way in zip(document["ways"], WAYS, strict=True):
        bill = bill_of(Answer(tokens=500, rate=80, flush_interval=0.25, memory_mb=512), way)
        assert (printed["path"], printed["delivery"], printed["messages"]) == (*way, bill.frames)
        assert printed["monthUsd"] == pytest.approx(bill.usd * 10)
        assert sum(part["quantity"] * part["priceUsd"] for part in printed["parts"]) == pytest.approx(bill.usd)
        assert printed["oneMessageATokenUsd"] > printed["answerUsd"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--tokens 0 --streams 1 --rate 80", "argument --tokens: '0' is not a whole number from 1 to 1,000,000"),
        ("--tokens many --streams 1 --rate 80", "argument --tokens: 'many' is not a whole number"),
        ("--tokens 5 --streams 1 --rate nan", "argument --rate: 'nan' is not a number from 0.1 to 10,000"),
        ("--tokens 5 --streams 1 --rate -3", "argument --rate: "),
        ("--tokens 5 --streams 1 --rate 9 --memory 64", "argument --memory: '64' is not a whole number from 128"),
        ("--tokens 5 --streams 1", "the following arguments are required: --rate"),
        ("--tokens 100000 --streams 1 --rate 80", "such an answer takes 1,251 s, and no function runs longer"),
        ("--tokens 5 --streams 1 --rate 9 now", "unrecognized arguments: now\n"),
    ],
)
def test_wrong_figures_are_named(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cost", *arguments.split()])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_it_needs_no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--endpoints", "nowhere.json", "cost", "--tokens", "5", "--streams", "1", "--rate", "9"]) == 0
    assert capsys.readouterr().err == ""
