"""The client over real connections to a stack that fails as told."""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from tests.unit.client.calls import AppSyncCall, HttpCall, WebSocketCall
from tests.unit.client.fake_stack import (
    TOKEN,
    FakeStack,
    JsonFrame,
    answer,
    close,
    complete,
    cut_after,
    endpoints_of,
    error,
    numbered,
    reject,
    running,
    start,
    token,
)
from tokenstream_client import (
    AnswerFailed,
    Client,
    Complete,
    ConnectionFailed,
    Endpoints,
    Frame,
    RequestRejected,
    RetryPolicy,
    Start,
    StreamLost,
    Token,
)
from tokenstream_client.assembler import Arrivals
from tokenstream_client.endpoints import PathName

QUICK = RetryPolicy(first_delay=0.001, longest_delay=0.01, start_budget=5, resume_budget=5)


def client_of(endpoints: Endpoints, path: PathName, *, idle_timeout: float = 10) -> Client:
    return Client(endpoints, path=path, token=TOKEN, retry=QUICK, idle_timeout=idle_timeout)


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


async def test_frames_come_in_order_with_their_times(path: PathName) -> None:
    with running(FakeStack()) as endpoints:
        async with client_of(endpoints, path) as client:
            frames = [frame async for frame in client.stream(prompt="Hi", max_tokens=5)]
    assert [frame.sequence for frame in frames] == [1, 2, 3, 4]
    times = [frame.received_at_ms for frame in frames]
    assert 0 <= times[0] <= times[-1] < 10_000
    assert isinstance(frames[-1], Complete)
    assert frames[-1].usage.output_tokens == 5


async def test_a_connection_cut_at_any_byte_costs_and_repeats_no_character(path: PathName) -> None:
    stack = FakeStack(frames=answer("a\n", "é🜁", "c"))
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            whole = [frame async for frame in client.stream(prompt="Hi")]
            length = 0
            while True:
                stack.faults.append(cut_after(length))
                before = len(stack.calls)
                frames = [frame async for frame in client.stream(prompt="Hi")]
                assert [frame.position for frame in frames] == [frame.position for frame in whole]
                assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == "a\né🜁c"
                if len(stack.calls) == before + 1:
                    break
                length += 11 if path == "appsync" else 3  # its events are longer, and so are the ways to them
    assert length > 300
    assert "cancel" not in stack.asked()


async def test_connections_cut_again_and_again_still_give_the_answer(path: PathName) -> None:
    cuts = [cut_after(count) for count in (0, 200, 50, 300)]
    stack = FakeStack(frames=answer("a", "b", "c"), faults=deque([close, close, *cuts]))
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            assert await client.text(prompt="Hi") == "abc"


async def test_twenty_streams_at_once_keep_apart(path: PathName) -> None:
    stack = FakeStack(frames=answer(*"abcdefgh"), faults=deque(cut_after(n * 37) for n in range(12)))
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            texts = await asyncio.gather(*(client.text(prompt="Hi") for _ in range(20)))
    assert texts == ["abcdefgh"] * 20


async def test_a_silent_connection_is_given_up_and_resumed(path: PathName) -> None:
    stack = FakeStack(frames=answer("a", "b"), hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path, idle_timeout=0.5) as client:
            texts = []
            async for frame in client.stream(prompt="Hi"):
                if isinstance(frame, Token):
                    texts.append(frame.token)
                    await asyncio.to_thread(stack.holding.wait, 10)
                    stack.hold_at = None
    assert texts == ["a", "b"]
    assert (1, 2) in [call.after for call in stack.calls]


async def test_a_server_that_is_gone_for_good_is_told_with_its_address(path: PathName) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    impatient = RetryPolicy(first_delay=0.001, start_budget=0.05)
    async with Client(endpoints_of(f"http://127.0.0.1:{port}"), path=path, token=TOKEN, retry=impatient) as client:
        with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{port} can't be reached"):
            await client.text(prompt="Hi")


async def test_a_server_that_vanishes_midway_is_told_as_a_lost_stream(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    impatient = RetryPolicy(first_delay=0.001, resume_budget=0.05)
    with running(stack) as endpoints:
        client = Client(endpoints, path=path, token=TOKEN, retry=impatient)
        frames = aiter(client.stream(prompt="Hi"))
        await anext(frames)
    with pytest.raises(StreamLost):
        await _rest(frames)
    await client.aclose()


async def _rest(frames: AsyncIterator[Frame]) -> None:
    async for _ in frames:
        pass


async def test_text_is_that_of_the_last_attempt(path: PathName) -> None:
    frames = [*numbered(start(), token("given up")), *numbered(start(), token("anew"), complete(), attempt=2)]
    with running(FakeStack(frames=frames)) as endpoints:
        async with client_of(endpoints, path) as client:
            assert await client.text(prompt="Hi") == "anew"


async def test_text_raises_what_the_error_frame_says(path: PathName) -> None:
    frames = numbered(start(), token("so far"), error("model_timeout", "The model fell silent."))
    with running(FakeStack(frames=frames)) as endpoints:
        async with client_of(endpoints, path) as client:
            with pytest.raises(AnswerFailed, match="fell silent") as raised:
                await client.text(prompt="Hi")
    assert (raised.value.code, raised.value.retryable) == ("model_timeout", True)


async def test_a_rejection_reaches_the_caller_with_its_code(path: PathName) -> None:
    stack = FakeStack(faults=deque([reject(429, "throttled", "Later.", Retry_After="3")]))
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (429, "throttled", True)
    assert raised.value.retry_after == (3 if path == "url" else None)  # a message has no header for it
    assert stack.asked() == ["start"]


async def test_a_running_answer_is_cancelled_and_says_so(path: PathName) -> None:
    stack = FakeStack(frames=numbered(start(), token("Hello"), complete("cancelled")), hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            stream = client.stream(prompt="Hi")
            frames = []
            async for frame in stream:
                frames.append(frame)
                if isinstance(frame, Token):
                    await stream.cancel()
    assert isinstance(frames[-1], Complete)
    assert frames[-1].stop_reason == "cancelled"
    assert stack.asked() == ["start", "cancel"]


async def test_leaving_a_bare_loop_and_closing_the_client_stops_the_answer(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            async for _ in client.stream(prompt="Hi"):
                break
        assert stack.cancelled.is_set()


async def test_leaving_a_bare_loop_stops_the_answer_while_the_client_goes_on(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            async for _ in client.stream(prompt="Hi"):
                break
            await until(stack.cancelled)


async def test_a_task_cancelled_while_it_waits_stops_the_answer(path: PathName) -> None:
    stack = FakeStack(hold_at=1)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            task = asyncio.create_task(client.text(prompt="Hi"))
            await until(stack.holding)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert stack.cancelled.is_set()


async def test_an_exception_in_the_loop_stops_the_answer(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            with pytest.raises(ZeroDivisionError):
                await _fail_at_the_first_frame(client)
            assert stack.cancelled.is_set()


async def _fail_at_the_first_frame(client: Client) -> None:
    async with client.stream(prompt="Hi") as stream:
        async for frame in stream:
            assert frame.sequence / 0


async def test_a_session_of_elsewhere_can_be_cancelled_by_its_id(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as first, client_of(endpoints, path) as second:
            async for frame in first.stream(prompt="Hi"):
                if frame.sequence == 2:
                    await second.cancel(frame.session_id)
    assert stack.asked().count("cancel") == 1


async def test_a_proxy_of_the_environment_does_not_stand_between_client_and_local_stack(
    path: PathName, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with running(FakeStack()) as endpoints:
        async with client_of(endpoints, path) as client:
            assert await client.text(prompt="Hi") == "Hello world"


async def test_bursts_that_overtake_each_other_and_come_twice_give_the_exact_text(queued_path: PathName) -> None:
    def bursts(frames: list[JsonFrame]) -> list[JsonFrame]:
        return [*frames[3:6], *frames[:3], *frames[:5], *frames[6:]]

    stack = FakeStack(frames=answer(*"abcdef"), queue=bursts)
    with running(stack) as endpoints:
        async with client_of(endpoints, queued_path) as client:
            stream = client.stream(prompt="Hi", delivery="queued")
            frames = [frame async for frame in stream]
    assert stack.questions()[0]["delivery"] == "queued"
    assert isinstance(frames[0], Start)
    assert frames[0].delivery == "queued"
    assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == "abcdef"
    assert stream.arrivals == Arrivals(received=13, duplicates=5, reordered=3)


@pytest.mark.parametrize("path", ["url", "rest"])
async def test_a_path_without_the_queued_way_says_which_paths_have_it_before_anything_is_sent(path: PathName) -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            with pytest.raises(ValueError, match=f"{path} has no queued delivery; websocket and appsync have it"):
                client.stream(prompt="Hi", delivery="queued")
            assert await client.text(prompt="Hi", delivery="direct") == "Hello world"
    assert len(stack.calls) == 1


async def test_who_connects_first_waits_for_no_connection_when_asking(path: PathName) -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client:
            await client.connect()
            assert stack.calls == []
            connected = len(stack.preflights), len(stack.connections), len(stack.realtime.connections)
            assert await client.text(prompt="Hi") == "Hello world"
            assert (len(stack.preflights), len(stack.connections), len(stack.realtime.connections)) == connected
    asked = stack.calls[0]
    if not isinstance(asked, WebSocketCall):
        assert isinstance(asked, HttpCall | AppSyncCall)
        assert asked.exchange.number == 2, "the question made a connection of its own"


async def test_connecting_to_a_server_that_is_gone_says_so(path: PathName) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    async with Client(endpoints_of(f"http://127.0.0.1:{port}"), path=path, token=TOKEN) as client:
        with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{port} can't be reached"):
            await client.connect()


async def test_a_stream_of_its_own_leaves_nothing_behind(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints, path) as client, aclosing(aiter(client.stream(prompt="Hi"))) as frames:
            await anext(frames)
        assert stack.cancelled.is_set()
        async with asyncio.timeout(5):
            while asyncio.all_tasks() != {asyncio.current_task()}:
                await asyncio.sleep(0)
