"""The stream's own decisions, over a transport in memory; `test_client` runs it over real connections."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.client.fake_stack import JsonFrame, answer, complete, numbered, start, token
from tokenstream_client.assembler import Arrivals
from tokenstream_client.errors import (
    ClientError,
    ConnectionFailed,
    ErrorDetail,
    ProtocolError,
    RequestRejected,
    StreamLost,
)
from tokenstream_client.frames import Frame, Message, Position, Start, Token
from tokenstream_client.request import Request
from tokenstream_client.retry import RetryPolicy
from tokenstream_client.stream import Stream

QUICK = RetryPolicy(first_delay=0.001, longest_delay=0.002, start_budget=0.2, resume_budget=0.2)
FOREVER = "forever"
ANSWER = answer("Hello", " wide", " world")

Step = JsonFrame | ClientError | str
Connection = ClientError | Sequence[Step]


def rejected(status: int, code: str, *, retryable: bool = False, retry_after: float | None = None) -> RequestRejected:
    return RequestRejected(status, ErrorDetail(code, code, retryable), retry_after=retry_after)


def unreachable() -> ConnectionFailed:
    return ConnectionFailed("refused", reached=False)


@dataclass
class ScriptedTransport:
    """Plays one connection after another; what was asked stands in `calls`. The last connection repeats."""

    connections: deque[Connection]
    cancels: deque[ClientError] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    cancel_gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.cancel_gate.set()

    async def prepare(self) -> None:
        self.calls.append("prepare")

    async def connect(self) -> None:
        self.calls.append("connect")

    def start(self, request: Request) -> Any:
        self.calls.append("start")
        return self._connect()

    def resume(self, session_id: str, after: Position) -> Any:
        self.calls.append(f"resume {after}")
        return self._connect()

    async def cancel(self, session_id: str) -> None:
        self.calls.append("cancel")
        await self.cancel_gate.wait()
        self.calls.append("cancel sent")
        if self.cancels:
            raise self.cancels.popleft()

    async def aclose(self) -> None:
        pass

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncIterator[Message]]:
        connection = self.connections.popleft() if len(self.connections) > 1 else self.connections[0]
        if isinstance(connection, ClientError):
            raise connection
        messages = self._play(connection)
        try:
            yield messages
        finally:
            await messages.aclose()

    async def _play(self, steps: Sequence[Step]) -> Any:
        for step in steps:
            if isinstance(step, ClientError):
                raise step
            if isinstance(step, str):
                await asyncio.Event().wait()
            else:
                yield step


def script(*connections: Connection) -> ScriptedTransport:
    return ScriptedTransport(deque(connections))


def stream_over(transport: ScriptedTransport, *, retry: RetryPolicy = QUICK, **options: Any) -> Stream:
    return Stream(transport, Request(prompt="Hi"), retry=retry, **options)


async def read(transport: ScriptedTransport, **options: Any) -> list[Frame]:
    return [frame async for frame in stream_over(transport, **options)]


def text_of(frames: list[Frame]) -> str:
    return "".join(frame.token for frame in frames if isinstance(frame, Token))


async def test_an_answer_that_ends_needs_one_connection_and_no_cancel() -> None:
    transport = script([*ANSWER])
    assert text_of(await read(transport)) == "Hello wide world"
    assert transport.calls == ["prepare", "start"]


async def test_nothing_is_sent_before_the_iteration_begins() -> None:
    transport = script([*ANSWER])
    async with stream_over(transport):
        pass
    assert transport.calls == []


@pytest.mark.parametrize("ending", [[], [ConnectionFailed("broke")]], ids=["closed", "broken"])
@pytest.mark.parametrize("seen", range(5))
async def test_a_connection_that_ends_before_the_answer_is_resumed_where_it_was(seen: int, ending: list[Step]) -> None:
    transport = script([*ANSWER[:seen], *ending], ANSWER[max(0, seen - 1) :])
    assert [frame.sequence for frame in await read(transport)] == [1, 2, 3, 4, 5]
    assert transport.calls == ["prepare", "start", f"resume {'1' if seen else '0'}.{seen}"]


async def test_every_broken_connection_is_resumed_as_long_as_there_is_progress() -> None:
    frames = answer(*"abcdefghij")
    transport = script(*[[frame] for frame in frames])
    tight = RetryPolicy(first_delay=0.02, longest_delay=60, resume_budget=0.05)
    assert text_of(await read(transport, retry=tight)) == "abcdefghij"
    assert len(transport.calls) == 13


async def test_a_refused_connection_is_tried_again_and_then_told_without_a_cancel() -> None:
    transport = script(unreachable())
    with pytest.raises(ConnectionFailed):
        await read(transport)
    assert transport.calls.count("start") > 2
    assert "cancel" not in transport.calls


async def test_a_request_whose_response_was_lost_is_not_generated_twice() -> None:
    transport = script(ConnectionFailed("cut"), rejected(409, "conflict"), [*ANSWER])
    assert text_of(await read(transport)) == "Hello wide world"
    assert transport.calls == ["prepare", "start", "start", "resume 0.0"]


@pytest.mark.parametrize("before", [[], [unreachable()]], ids=["at once", "after a refused connection"])
async def test_a_session_id_that_someone_used_before_is_a_rejection(before: list[Connection]) -> None:
    transport = script(*before, rejected(409, "conflict"))
    with pytest.raises(RequestRejected):
        await read(transport)
    assert "cancel" not in transport.calls


async def test_a_rejected_request_is_not_tried_again() -> None:
    transport = script(rejected(429, "throttled", retryable=True, retry_after=3))
    with pytest.raises(RequestRejected) as raised:
        await read(transport)
    assert raised.value.retry_after == 3
    assert transport.calls == ["prepare", "start"]


async def test_resuming_outlasts_a_busy_server() -> None:
    busy = rejected(503, "internal", retryable=True)
    transport = script(ANSWER[:2], busy, rejected(429, "throttled", retryable=True), unreachable(), ANSWER)
    assert text_of(await read(transport)) == "Hello wide world"


async def test_each_loss_of_the_connection_is_told_once_however_long_it_lasts() -> None:
    losses: list[None] = []
    broken = ConnectionFailed("broken")
    transport = script(broken, ANSWER[:2], broken, [], broken, ANSWER[:3], broken, ANSWER)
    stream = stream_over(transport, on_resuming=lambda: losses.append(None))
    assert text_of([frame async for frame in stream]) == "Hello wide world"
    assert len(losses) == stream.resumes == 2


@pytest.mark.parametrize("refused", [True, False])
async def test_an_answer_left_without_a_stop_is_logged_once(caplog: pytest.LogCaptureFixture, refused: bool) -> None:
    transport = script(ANSWER[:2], ConnectionFailed("away"))
    transport.cancels.extend([ConnectionFailed("away")] if refused else [])
    stream = stream_over(transport)
    with pytest.raises(StreamLost):
        assert [frame async for frame in stream]
    await stream.aclose()
    assert stream.may_go_on is refused
    assert len(caplog.records) == refused


async def test_resuming_that_never_succeeds_ends_with_the_place_and_the_cause() -> None:
    transport = script(ANSWER[:2], ConnectionFailed("still broken"))
    with pytest.raises(StreamLost, match=r"after frame 1\.2 .*still broken") as raised:
        await read(transport)
    assert isinstance(raised.value.__cause__, ConnectionFailed)
    assert raised.value.retryable


async def test_a_session_that_is_gone_is_told_at_once() -> None:
    transport = script(ANSWER[:2], rejected(404, "not_found"))
    with pytest.raises(StreamLost) as raised:
        await read(transport)
    assert raised.value.code == "not_found"
    assert transport.calls[:3] == ["prepare", "start", "resume 1.2"]
    assert len([call for call in transport.calls if call.startswith("resume")]) == 1


async def test_a_retry_after_beyond_the_budget_is_told_and_not_waited_for() -> None:
    transport = script(ANSWER[:2], rejected(429, "throttled", retryable=True, retry_after=3600))
    with pytest.raises(StreamLost) as raised:
        await read(transport)
    assert raised.value.retry_after == 3600


async def test_a_frame_that_stays_missing_is_fetched_while_the_connection_goes_on() -> None:
    transport = script([ANSWER[0], ANSWER[2], FOREVER], ANSWER[1:])
    assert text_of(await read(transport, gap_timeout=0.01)) == "Hello wide world"
    assert transport.calls == ["prepare", "start", "resume 1.1"]


async def test_a_silent_connection_without_a_gap_is_waited_for() -> None:
    transport = script([*ANSWER[:2], FOREVER])
    stream = stream_over(transport, gap_timeout=0.001)
    frames = aiter(stream)
    assert [(await anext(frames)).sequence for _ in range(2)] == [1, 2]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(frames), 0.1)
    assert not [call for call in transport.calls if call.startswith("resume")]


async def test_how_the_frames_came_can_be_read_while_they_come_and_afterwards() -> None:
    first, second, third, fourth, last = ANSWER
    heartbeat: JsonFrame = {"type": "heartbeat", "sessionId": "s"}
    stream = stream_over(script([first, heartbeat, third, first, second], [third, fourth, last]))
    seen = [stream.arrivals async for frame in stream]
    assert seen[0] == Arrivals(received=1)
    assert stream.arrivals == Arrivals(received=7, duplicates=2, reordered=1)
    assert stream.resumes == 1


async def test_a_new_attempt_begins_with_its_start() -> None:
    again = numbered(start(), token("anew"), complete(), attempt=2)
    frames = await read(script(ANSWER[:3], again))
    assert [(frame.attempt, frame.sequence) for frame in frames] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert isinstance(frames[3], Start)


async def test_heartbeats_reach_who_asks_and_are_no_frames() -> None:
    beats: list[None] = []
    heartbeat: JsonFrame = {"type": "heartbeat", "sessionId": "s"}
    frames = await read(script([heartbeat, *ANSWER, heartbeat]), on_heartbeat=lambda: beats.append(None))
    assert len(frames) == 5
    assert len(beats) == 1


async def test_frames_carry_the_time_since_the_request_was_sent() -> None:
    times = [frame.received_at_ms for frame in await read(script([*ANSWER]))]
    assert times == sorted(times)
    assert times[0] >= 0


async def test_what_is_no_frame_ends_the_stream_and_the_generation() -> None:
    transport = script([ANSWER[0], {"type": "token"}])
    with pytest.raises(ProtocolError):
        await read(transport)
    assert transport.calls[-1] == "cancel sent"


async def test_leaving_the_loop_stops_the_generation() -> None:
    transport = script([*ANSWER])
    async with stream_over(transport) as stream:
        async for _ in stream:
            break
    assert transport.calls == ["prepare", "start", "cancel", "cancel sent"]


async def test_leaving_a_bare_loop_stops_the_generation_as_well() -> None:
    transport = script([*ANSWER])
    async for _ in stream_over(transport):
        break
    async with asyncio.timeout(5):
        while "cancel" not in transport.calls:
            await asyncio.sleep(0)


async def test_cancelling_the_task_stops_the_generation() -> None:
    transport = script([ANSWER[0], FOREVER])
    stream = stream_over(transport)
    arrived = asyncio.Event()

    async def consume() -> None:
        async for _ in stream:
            arrived.set()

    task = asyncio.create_task(consume())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.calls[-1] == "cancel sent"


async def test_a_second_cancellation_does_not_keep_the_stop_from_being_sent() -> None:
    transport = script([ANSWER[0], FOREVER])
    transport.cancel_gate.clear()
    stream = stream_over(transport)
    arrived = asyncio.Event()

    async def consume() -> None:
        async for _ in stream:
            arrived.set()

    task = asyncio.create_task(consume())
    await arrived.wait()
    for _ in range(2):
        task.cancel()
        while "cancel" not in transport.calls:
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "cancel sent" not in transport.calls
    transport.cancel_gate.set()
    await stream.aclose()
    assert transport.calls[-1] == "cancel sent"


async def test_a_cancel_keeps_the_frames_that_are_still_to_come() -> None:
    transport = script([*numbered(start(), token("Hello"), complete("cancelled"))])
    stream = stream_over(transport)
    frames: list[Frame] = []
    async for frame in stream:
        if isinstance(frame, Token):
            await stream.cancel()
        frames.append(frame)
    assert len(frames) == 3
    assert transport.calls == ["prepare", "start", "cancel", "cancel sent"]


async def test_a_cancel_before_the_request_prevents_it() -> None:
    transport = script([*ANSWER])
    stream = stream_over(transport)
    await stream.cancel()
    assert [frame async for frame in stream] == []
    assert transport.calls == ["prepare"]


async def test_a_cancel_that_overtakes_the_request_is_repeated_until_the_session_is_there() -> None:
    transport = script([FOREVER])
    busy = rejected(429, "throttled", retryable=True)
    transport.cancels.extend([rejected(404, "not_found"), ConnectionFailed("cut"), busy])
    stream = stream_over(transport)
    blocked = asyncio.Event()

    @asynccontextmanager
    async def never_accepted() -> AsyncIterator[AsyncIterator[Message]]:
        blocked.set()
        await asyncio.Event().wait()
        yield transport._play([])

    transport._connect = never_accepted  # type: ignore[method-assign]  # the response's head never comes
    task = asyncio.ensure_future(anext(aiter(stream)))
    await blocked.wait()
    await stream.cancel()
    assert transport.calls.count("cancel") == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_that_the_server_refuses_is_told() -> None:
    transport = script([*ANSWER])
    transport.cancels.append(rejected(403, "forbidden"))
    stream = stream_over(transport)
    async for _ in stream:
        with pytest.raises(RequestRejected):
            await stream.cancel()
        break
    await stream.aclose()


async def test_a_cancel_after_the_end_asks_for_nothing() -> None:
    transport = script([*ANSWER])
    stream = stream_over(transport)
    assert len([frame async for frame in stream]) == 5
    await stream.cancel()
    await stream.aclose()
    assert "cancel" not in transport.calls


async def test_a_stream_is_iterated_once() -> None:
    stream = stream_over(script([*ANSWER]))
    assert len([frame async for frame in stream]) == 5
    with pytest.raises(RuntimeError):
        aiter(stream)
