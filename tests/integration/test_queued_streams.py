"""Two hundred streams at once through the queued way, whose queue repeats messages and mixes them up."""

import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.frames import Attempt
from tests.fakes.topic import FakeTopic
from tests.fakes.topics_api import Published
from tests.integration.background_functions import Functions, background_functions
from tests.integration.websocket_functions import Tables, websocket_tables
from tokenstream.frames import Path, Sealed
from tokenstream.sinks.sns import SnsSink
from tokenstream.sinks.websocket import WebSocketSink
from tokenstream_client.assembler import Arrivals, Assembler
from tokenstream_client.frames import Frame, Heartbeat, Token, parse

STREAMS = 200
PATHS: tuple[Path, ...] = ("websocket", "appsync")
BATCH = 10
AWKWARD = 'é 👩\u200d🚀 "q" \\ \u2028\r\n\x00 \ufffe $x {{y}} '


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions(tables: Tables) -> Iterator[Functions]:
    with background_functions(tables) as start:
        yield start()


def test_two_hundred_streams_stay_exact_when_messages_come_again_and_out_of_order(functions: Functions) -> None:
    chaos = random.Random(20261121)  # noqa: S311 - the same mixture each time
    texts: dict[str, str] = {}
    topic = FakeTopic()
    for number in range(STREAMS):
        path = PATHS[number % len(PATHS)]
        session_id = functions.accepted(path, session_id=str(uuid4()), connection_id=f"connection-{number}")
        pieces = [f"{number}.{piece} {AWKWARD}" for piece in range(chaos.randint(1, 4))]
        texts[session_id] = "".join(pieces)
        _publish(Attempt(session_id).answer(*pieces), topic, session_id, chaos)
    for batch in _mixed_up(topic.queued, chaos):
        assert functions.delivered(*(message.record() for message in batch)) == []
    mixed_up = 0
    for number, (session_id, text) in enumerate(texts.items()):
        received = functions.frames(f"connection-{number}") or functions.published(session_id)
        frames, arrivals = _assembled(received)
        assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == text
        assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
        mixed_up += arrivals.duplicates > 0 and arrivals.reordered > 0
    assert mixed_up


def _publish(answer: list[Sealed], topic: FakeTopic, session_id: str, chaos: random.Random) -> None:
    """Send an answer as a worker does: what has piled up, each time."""
    sink = SnsSink(topic, session_id, max_frame_bytes=WebSocketSink.max_frame_bytes, heartbeats=True)
    while answer:
        count = chaos.randint(1, 4)
        sink.send(answer[:count])
        answer = answer[count:]


def _mixed_up(messages: list[Published], chaos: random.Random) -> Iterator[list[Published]]:
    """Give batches as no queue would: in any order, a third of the messages twice."""
    again = [message for message in messages if chaos.random() < 1 / 3]
    mixed = messages + again
    chaos.shuffle(mixed)
    for start in range(0, len(mixed), BATCH):
        yield mixed[start : start + BATCH]


def _assembled(received: list[dict[str, Any]]) -> tuple[list[Frame], Arrivals]:
    """Put frames in order as a client does; it has to get them all without asking for any."""
    assembler = Assembler()
    frames: list[Frame] = []
    for document in received:
        frame = parse(document)
        assert not isinstance(frame, Heartbeat)
        frames += assembler.add(frame)
    assert assembler.ended
    return frames, assembler.arrivals
