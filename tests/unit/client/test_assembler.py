import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_stack import JsonFrame, answer, complete, numbered, start, token
from tokenstream_client.assembler import Assembler
from tokenstream_client.frames import Frame, Heartbeat, Position, Start, Token, parse

GOLDEN = Path(__file__).parents[2] / "golden"


def feed(assembler: Assembler, messages: list[JsonFrame]) -> list[Frame]:
    released: list[Frame] = []
    for message in messages:
        frame = parse(message)
        if not isinstance(frame, Heartbeat):
            released += assembler.add(frame)
    return released


def text_of(frames: list[Frame]) -> str:
    """The text as the documentation tells a consumer to gather it."""
    text = ""
    for frame in frames:
        if isinstance(frame, Start):
            text = ""
        elif isinstance(frame, Token):
            text += frame.token
    return text


def steps(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.jsonl")), ids=lambda file: file.stem)
def test_a_recorded_delivery_gives_the_recorded_answer(file: Path) -> None:
    assembler = Assembler()
    released: list[Frame] = []
    expected: dict[str, Any] = {}
    for step in steps(file):
        match step:
            case {"receive": message}:
                released += feed(assembler, [message])
            case {"resume": {"after": after}}:
                assert str(assembler.position) == after
            case {"expect": expected}:
                pass
    assert [str(frame.position) for frame in released] == expected["released"]
    assert text_of(released) == expected["text"]
    assert assembler.ended is expected["ended"]
    assert assembler.gap is expected["gap"]
    counted = asdict(assembler.arrivals)
    received = sum("receive" in step and step["receive"]["type"] != "heartbeat" for step in steps(file))
    # What a recording doesn't name didn't happen.
    assert counted == {**dict.fromkeys(counted, 0), "received": received, **expected.get("arrivals", {})}


def test_there_are_golden_deliveries() -> None:
    assert len(list(GOLDEN.glob("*.jsonl"))) >= 6


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.jsonl")), ids=lambda file: file.stem)
def test_recorded_deliveries_are_what_a_server_sends(file: Path) -> None:
    schema = json.loads((GOLDEN.parents[1] / "docs" / "frames.schema.json").read_text())
    known = schema["discriminator"]["mapping"]
    for message in (step["receive"] for step in steps(file) if "receive" in step):
        if message["type"] in known:
            jsonschema.validate(message, schema)


texts = st.lists(st.text(max_size=5), max_size=8)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[str, list[JsonFrame]]:
    """One to three attempts, of which the last one ends; delivered in any order, any frame any number of times."""
    attempts = draw(st.lists(texts, min_size=1, max_size=3))
    frames: list[JsonFrame] = []
    for attempt, pieces in enumerate(attempts, start=1):
        ending = [complete()] if attempt == len(attempts) else []
        frames += numbered(start(), *map(token, pieces), *ending, attempt=attempt)
    extra = draw(st.lists(st.sampled_from(frames), max_size=10))
    return "".join(attempts[-1]), draw(st.permutations(frames + extra))


@given(deliveries())
def test_any_order_and_repetition_gives_the_last_attempts_text_once(delivery: tuple[str, list[JsonFrame]]) -> None:
    expected, messages = delivery
    assembler = Assembler()
    released = feed(assembler, messages)
    assert text_of(released) == expected
    assert assembler.ended
    positions = [frame.position for frame in released]
    assert positions == sorted(set(positions))


@given(st.data())
def test_what_comes_again_is_told_from_what_comes_late(data: st.DataObject) -> None:
    frames = answer(*"abcdef")
    again = data.draw(st.lists(st.sampled_from(frames), max_size=10))
    assembler = Assembler()
    feed(assembler, data.draw(st.permutations(frames + again)))
    assert assembler.arrivals.received == len(frames) + len(again)
    assert assembler.arrivals.duplicates == len(again)
    assert assembler.arrivals.void == 0


@given(deliveries(), st.data())
def test_what_was_lost_is_exactly_what_resuming_asks_for(
    delivery: tuple[str, list[JsonFrame]], data: st.DataObject
) -> None:
    expected, messages = delivery
    arrived = data.draw(st.lists(st.sampled_from(messages), max_size=len(messages)))
    assembler = Assembler(held_limit=data.draw(st.integers(0, 3)))
    released = feed(assembler, arrived)
    rest = sorted(messages, key=lambda message: (message["attempt"], message["sequence"]))
    last_attempt = rest[-1]["attempt"]
    resumed = [m for m in rest if m["attempt"] == last_attempt and (m["attempt"], m["sequence"]) > assembler.position]
    released += feed(assembler, resumed)
    assert text_of(released) == expected
    assert assembler.ended


def test_what_lies_before_the_place_where_it_begins_is_not_given_again() -> None:
    frames = answer("a", "b", "c")
    assembler = Assembler(Position(1, 2))
    assert [frame.sequence for frame in feed(assembler, frames)] == [3, 4, 5]


def test_frames_behind_a_gap_are_held_up_to_a_limit_and_no_further() -> None:
    assembler = Assembler(held_limit=2)
    frames = answer("a", "b", "c", "d")
    assert feed(assembler, frames[1:]) == []
    assert assembler.gap
    assert [frame.sequence for frame in feed(assembler, frames[:1])] == [1, 2, 3]
    assert assembler.position == Position(1, 3)
    assert [frame.sequence for frame in feed(assembler, frames)] == [4, 5, 6]
    assert assembler.ended


def test_a_frame_of_a_type_from_the_future_leaves_no_gap() -> None:
    frames = numbered(start(), {"type": "citation", "source": "…"}, token("text"), complete())
    assembler = Assembler()
    released = feed(assembler, frames)
    assert [frame.sequence for frame in released] == [1, 3, 4]
    assert assembler.ended
