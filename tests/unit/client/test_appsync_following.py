"""How a session is followed by events and by looking, in virtual time; `test_appsync` has real connections."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_stack import JsonFrame, answer, complete, numbered, start, token
from tests.unit.client.test_websocket_connection import in_virtual_time
from tokenstream_client.assembler import Assembler
from tokenstream_client.errors import (
    ClientError,
    ConnectionFailed,
    ErrorDetail,
    ProtocolError,
    RequestRejected,
    SignInFailed,
)
from tokenstream_client.frames import BEGINNING, Heartbeat, Message, Position, parse
from tokenstream_client.transports.appsync_following import FAILURES_LIMIT, Following, Pauses
from tokenstream_client.transports.appsync_messages import Page

PAUSES = Pauses(first=5, longest=30, gap=1)
FRAMES = answer(*"abcdef")


@dataclass
class Live:
    """A subscription: what `arrives`, an error for ever."""

    arrived: asyncio.Queue[Message | ClientError] = field(default_factory=asyncio.Queue)
    distrusted: bool = False

    def arrives(self, *messages: Message | ClientError) -> None:
        for message in messages:
            self.arrived.put_nowait(message)

    async def __anext__(self) -> Message:
        message = await self.arrived.get()
        if isinstance(message, ClientError):
            raise message
        return message

    def distrust(self) -> None:
        self.distrusted = True


def place(frame: JsonFrame) -> tuple[int, int]:
    return frame["attempt"], frame["sequence"]


@dataclass
class Table:
    """What is `stored`; `failures` come first. Notes when and behind what was looked."""

    stored: list[JsonFrame] = field(default_factory=list)
    page: int = 500
    failures: deque[ClientError] = field(default_factory=deque)
    looks: list[tuple[float, tuple[int, int]]] = field(default_factory=list)

    async def look(self, after: Position) -> Page:
        self.looks.append((asyncio.get_running_loop().time(), after))
        if self.failures:
            raise self.failures.popleft()
        in_order = sorted(self.stored, key=place)
        behind = [frame for frame in in_order if place(frame) > after]
        return Page(tuple(behind[: self.page]), len(behind) > self.page)


def rejected(code: str, *, retryable: bool = False) -> RequestRejected:
    return RequestRejected(400, ErrorDetail(code, code, retryable))


def later(delay: float, do: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay, do)


async def read(live: Live, table: Table, until: int, *, after: Position = BEGINNING, page: Page | None = None) -> Any:
    """Read until a frame of this number was given; returns the positions, and when each was given."""
    following = Following(live, table.look, after, PAUSES)
    given_at: list[tuple[tuple[int, int], float]] = []
    async with aclosing(following.messages(page or Page())) as messages:
        async for message in messages:
            given_at.append(((message["attempt"], message["sequence"]), asyncio.get_running_loop().time()))
            if message["sequence"] == until:
                break
    return given_at


@in_virtual_time
async def test_events_are_given_at_once_and_nothing_is_looked_for_while_they_come() -> None:
    live, table = Live(), Table(stored=FRAMES)
    for number, frame in enumerate(FRAMES):
        later(4.9 * number, lambda frame=frame: live.arrives(frame))  # type: ignore[misc]
    given_at = await read(live, table, until=8)
    assert [time for _, time in given_at] == pytest.approx([4.9 * number for number in range(8)])
    assert table.looks == []


@in_virtual_time
async def test_the_longer_a_model_is_silent_the_less_often_is_looked() -> None:
    live, table = Live(), Table()
    later(150, lambda: live.arrives(FRAMES[0]))
    later(156, lambda: live.arrives(FRAMES[1]))
    await read(live, table, until=2)
    assert [time for time, _ in table.looks] == [5, 15, 35, 65, 95, 125, 155]


@in_virtual_time
async def test_what_a_look_finds_makes_the_next_one_soon() -> None:
    live, table = Live(), Table()
    later(30, lambda: table.stored.append(FRAMES[0]))
    later(38, lambda: table.stored.append(FRAMES[1]))
    given_at = await read(live, table, until=2)
    assert given_at == [((1, 1), 35), ((1, 2), 40)]
    assert table.looks == [(5, (0, 0)), (15, (0, 0)), (35, (0, 0)), (40, (1, 1))]


@in_virtual_time
async def test_a_look_goes_back_to_the_first_frame_that_is_missing() -> None:
    live, table = Live(), Table(stored=FRAMES)
    live.arrives(FRAMES[0], FRAMES[2], FRAMES[3])
    positions = [position for position, _ in await read(live, table, until=8)]
    assert table.looks == [(1, (1, 1))]
    assert positions == [(1, 1), (1, 3), (1, 4), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8)]


@in_virtual_time
async def test_a_gap_is_looked_into_soon_and_again_while_the_events_go_on() -> None:
    live, table = Live(), Table()
    for number, frame in enumerate(FRAMES[2:]):
        later(1 + number / 2, lambda frame=frame: live.arrives(frame))  # type: ignore[misc]
    later(2.9, lambda: table.stored.extend(FRAMES[:2]))
    given_at = await read(live, table, until=2)
    assert table.looks == [(2, (1, 0)), (3, (1, 0))]
    assert given_at[-2:] == [((1, 1), 3), ((1, 2), 3)]


@in_virtual_time
async def test_events_that_only_overtake_each_other_are_no_reason_to_look() -> None:
    live, table = Live(), Table()
    for number, sequence in enumerate([2, 1, 4, 3, 6, 5, 7, 8]):
        later(0.9 * number, lambda frame=FRAMES[sequence - 1]: live.arrives(frame))  # type: ignore[misc]
    await read(live, table, until=8)
    assert table.looks == []


@in_virtual_time
async def test_a_look_of_a_later_attempt_begins_at_its_beginning() -> None:
    live, table = Live(), Table()
    table.stored = numbered(start(), token("anew"), complete(), attempt=2)
    live.arrives(FRAMES[0], FRAMES[1], table.stored[1])
    given_at = await read(live, table, until=3)
    assert table.looks == [(1, (2, 0))]
    assert [position for position, _ in given_at] == [(1, 1), (1, 2), (2, 2), (2, 1), (2, 2), (2, 3)]


@in_virtual_time
async def test_stored_frames_come_page_by_page_without_waiting() -> None:
    live, table = Live(), Table(stored=FRAMES, page=3)
    given_at = await read(live, table, until=8, after=Position(1, 1), page=Page(tuple(FRAMES[1:4]), more=True))
    assert given_at == [((1, sequence), 0) for sequence in range(2, 9)]
    assert table.looks == [(0, (1, 4)), (0, (1, 7))]


@in_virtual_time
async def test_a_server_that_gives_the_same_page_for_ever_is_not_asked_for_ever() -> None:
    live, table = Live(), Table()

    async def same(after: Position) -> Page:
        table.looks.append((asyncio.get_running_loop().time(), after))
        return Page(tuple(FRAMES[:2]), more=True)

    table.look = same  # type: ignore[method-assign]
    later(6, lambda: live.arrives(FRAMES[7]))
    await read(live, table, until=8)
    assert table.looks == [(5, (0, 0)), (5, (1, 2))]


@in_virtual_time
async def test_events_that_stay_away_although_frames_are_stored_end_the_subscription() -> None:
    live, table = Live(), Table()
    for number, frame in enumerate(FRAMES):
        later(4 * number, lambda frame=frame: table.stored.append(frame))  # type: ignore[misc]
    with pytest.raises(ConnectionFailed, match="stopped coming"):
        await read(live, table, until=8)
    assert [time for time, _ in table.looks] == [5, 10]
    assert live.distrusted


@in_virtual_time
async def test_events_that_are_only_late_keep_the_subscription() -> None:
    live, table = Live(), Table()
    for number, frame in enumerate(FRAMES):
        later(6 * number, lambda frame=frame: table.stored.append(frame))  # type: ignore[misc]
        later(6 * number + 5.5, lambda frame=frame: live.arrives(frame))  # type: ignore[misc]
    await read(live, table, until=8)
    assert not live.distrusted


@in_virtual_time
async def test_what_ends_the_subscription_is_raised_behind_the_frames() -> None:
    live, table = Live(), Table()
    live.arrives(FRAMES[0], ConnectionFailed("broke"))
    with pytest.raises(ConnectionFailed, match="broke"):
        await read(live, table, until=8)


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionFailed("away"),
        rejected("throttled", retryable=True),
        rejected("internal", retryable=True),
        rejected("unauthorized"),
        SignInFailed("no more"),
    ],
    ids=lambda failure: failure.code,
)
def test_a_look_that_fails_does_not_end_a_stream_whose_events_come(failure: ClientError) -> None:
    async def run() -> None:
        live, table = Live(), Table(failures=deque([failure] * 100))
        for number in range(3):
            later(60 * (number + 1), lambda frame=FRAMES[number]: live.arrives(frame))  # type: ignore[misc]
        await read(live, table, until=3)
        assert len(table.looks) == 3 * (FAILURES_LIMIT - 1)

    in_virtual_time(run)()


@in_virtual_time
async def test_neither_events_nor_a_table_is_a_dead_server() -> None:
    live, table = Live(), Table(failures=deque(ConnectionFailed(f"away {number}") for number in range(100)))
    with pytest.raises(ConnectionFailed, match="away 3"):
        await read(live, table, until=8)
    assert [time for time, _ in table.looks] == [5, 15, 35, 65]


@in_virtual_time
async def test_looks_that_fail_now_and_then_are_no_reason_to_give_up() -> None:
    live, table = Live(), Table()
    for number in range(10):
        later(60 * number, lambda: table.failures.append(ConnectionFailed("away")))
    later(600, lambda: live.arrives(FRAMES[0]))
    await read(live, table, until=1)
    assert not table.failures


@pytest.mark.parametrize("failure", [rejected("not_found"), ProtocolError("no GraphQL")], ids=["gone", "not ours"])
def test_a_look_that_can_never_succeed_ends_the_stream(failure: ClientError) -> None:
    async def run() -> None:
        live, table = Live(), Table(failures=deque([failure]))
        with pytest.raises(type(failure)):
            await read(live, table, until=8)

    in_virtual_time(run)()


@given(st.data())
def test_whatever_is_lost_late_or_out_of_order_every_frame_is_given(data: st.DataObject) -> None:
    """The frames are handed to the assembler, as a stream does; a gap that stays is a stream's own matter."""
    frames = answer(*"abcdefgh")
    lost = data.draw(st.sets(st.integers(0, len(frames) - 1)))
    delays = data.draw(st.lists(st.floats(0, 20), min_size=len(frames), max_size=len(frames)))
    stored_at = data.draw(st.lists(st.floats(0, 8), min_size=len(frames), max_size=len(frames)))
    page_size = data.draw(st.integers(1, 4))

    async def run() -> None:
        live, table = Live(), Table(page=page_size)
        for index, frame in enumerate(frames):
            due = max(stored_at[: index + 1])
            later(due, lambda frame=frame: table.stored.append(frame))  # type: ignore[misc]
            if index not in lost:
                later(due + delays[index], lambda frame=frame: live.arrives(frame))  # type: ignore[misc]
        assembler, taken = Assembler(), []
        while not assembler.ended:
            following = Following(live, table.look, assembler.position, PAUSES)
            try:
                async with aclosing(following.messages(await table.look(assembler.position))) as messages:
                    async for message in messages:
                        received = parse(message)
                        assert not isinstance(received, Heartbeat)
                        taken += [frame.message for frame in assembler.add(received)]
                        if assembler.ended:
                            break
            except ConnectionFailed:
                pass
        assert json.dumps(taken) == json.dumps(frames)

    in_virtual_time(run)()
