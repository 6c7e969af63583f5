"""The path `websocket` over real connections, beyond what `test_client` asks of every path."""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.unit.client.calls import Call, WebSocketCall
from tests.unit.client.fake_stack import TOKEN, FakeStack, answer, close, endpoints_of, reject, running
from tests.unit.client.test_http_transport import Renewing
from tokenstream_client import (
    Client,
    ConnectionFailed,
    Endpoints,
    ProtocolError,
    RequestRejected,
    RetryPolicy,
    Token,
    TokenProvider,
)
from tokenstream_client.endpoints import PathName

QUICK = RetryPolicy(first_delay=0.001, longest_delay=0.01, start_budget=5, resume_budget=5)
ONCE = RetryPolicy(first_delay=1, start_budget=0)
EXPIRED = reject(401, "unauthorized", "The token has expired.")


@asynccontextmanager
async def client_of(
    endpoints: Endpoints,
    *,
    path: PathName = "websocket",
    token: str | TokenProvider = TOKEN,
    retry: RetryPolicy = QUICK,
) -> AsyncIterator[Client]:
    """A client that is closed in the end, with nothing of it left behind and nothing amiss behind its back."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    amiss: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: amiss.append(context))
    async with Client(endpoints, path=path, token=token, retry=retry) as client:
        yield client
    await until(lambda: asyncio.all_tasks() <= before)
    gc.collect()
    assert amiss == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def on_server(stack: FakeStack, do: Callable[[], None]) -> None:
    """Have something done by the server's own thread."""
    stack.connections[-1].loop.call_soon_threadsafe(do)


async def closed(connection: ServerConnection) -> None:
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(connection.wait_closed(), connection.loop))


def say(*messages: object) -> Callable[[Call], Awaitable[None]]:
    """Answer the next request with messages of the test's own, without a reply that it would wait for."""

    async def fault(call: Call) -> None:
        assert isinstance(call, WebSocketCall)
        call.rejected = True
        for message in messages:
            await call.exchange.send(message)

    return fault


async def test_many_streams_share_one_connection_and_each_is_exact() -> None:
    stack = FakeStack(frames=answer(*"abcdefgh"))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            texts = await asyncio.gather(*(client.text(prompt="Hi") for _ in range(30)))
            texts += await asyncio.gather(*(client.text(prompt="Hi") for _ in range(3)))
    assert texts == ["abcdefgh"] * 33
    assert len(stack.connections) == 1


async def test_closing_the_client_says_goodbye_to_the_server() -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            await client.text(prompt="Hi")
        await closed(stack.connections[0])
        assert stack.connections[0].close_code == 1000


async def test_the_connection_is_opened_before_the_clock_of_the_request_starts() -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            await client._transport.prepare()
            assert len(stack.connections) == 1
            assert await client.text(prompt="Hi") == "Hello world"
    assert len(stack.connections) == 1


async def test_a_connection_lost_under_many_streams_is_replaced_by_one_and_every_text_is_exact() -> None:
    stack = FakeStack(frames=answer(*"abcdefgh"), hold_at=5)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            streams = [client.stream(prompt="Hi") for _ in range(10)]
            texts = [""] * 10

            async def read(number: int) -> None:
                async for frame in streams[number]:
                    texts[number] += frame.token if isinstance(frame, Token) else ""

            reading = asyncio.gather(*map(read, range(10)))
            await until(lambda: texts == ["abcd"] * 10)
            on_server(stack, stack.connections[-1].transport.abort)
            await until(lambda: stack.asked().count("resume") == 10)
            for cancelled in stack.sessions.values():
                on_server(stack, cancelled.set)
            await reading
    assert texts == ["abcdefgh"] * 10
    assert len(stack.connections) == 2
    assert sorted(call.after for call in stack.calls if call.asked == "resume") == [(1, 5)] * 10


async def test_a_connection_that_the_server_closed_while_idle_is_replaced_without_a_word() -> None:
    stack = FakeStack()
    losses: list[None] = []
    with running(stack) as endpoints:
        async with client_of(endpoints, retry=ONCE) as client:
            for _ in range(3):
                async for _frame in client.stream(prompt="Hi", on_resuming=lambda: losses.append(None)):
                    pass
                connection = stack.connections[-1]
                closing = asyncio.run_coroutine_threadsafe(connection.close(1001), connection.loop)
                await asyncio.wrap_future(closing)
                await until(lambda: client._transport._current.ended)  # type: ignore[attr-defined]
    assert len(stack.connections) == 3
    assert losses == []


async def test_a_prompt_as_large_as_a_request_may_be_arrives_whole() -> None:
    stack = FakeStack()
    prompt = "é🜁x" * 14_000  # 98,000 bytes, and no limit falls between two characters by chance
    with running(stack) as endpoints:
        async with client_of(endpoints, retry=ONCE) as client:
            texts = await asyncio.gather(*(client.text(prompt=prompt) for _ in range(5)))
    assert texts == ["Hello world"] * 5
    assert [question["prompt"] for question in stack.questions()] == [prompt] * 5
    assert len(stack.connections) == 1


async def test_a_request_that_is_too_large_is_rejected_without_harm_to_the_streams_beside_it() -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client, client.stream(prompt="Hi") as stream:
            frames = aiter(stream)
            await anext(frames)
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="x" * 200_000)
            await stream.cancel()
            assert len([frame async for frame in frames]) == 3
    assert (raised.value.status, raised.value.code) == (413, "too_large")
    assert stack.asked() == ["start", "cancel"]
    assert len(stack.connections) == 1


async def test_a_throttled_start_among_several_is_asked_again_and_none_is_generated_twice() -> None:
    gateways = {"message": "Too Many Requests", "connectionId": "c", "requestId": "r"}
    stack = FakeStack()
    both_wait = asyncio.Event()
    arrived: list[Call] = []

    async def hold_back(call: Call) -> None:
        arrived.append(call)
        if len(arrived) == 2:
            both_wait.set()
            await say(gateways)(call)
        await both_wait.wait()

    stack.faults.extend([hold_back, hold_back])
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            texts = await asyncio.gather(*(client.text(prompt="Hi") for _ in range(2)))
    assert texts == ["Hello world"] * 2
    assert len(stack.sessions) == 2


async def test_a_start_whose_function_failed_is_asked_again_under_the_same_session() -> None:
    stack = FakeStack()
    stack.faults.append(say({"message": "Internal server error", "connectionId": "c", "requestId": "r"}))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "Hello world"
    assert len({call.session_id for call in stack.calls}) == 1
    assert stack.asked() == ["start", "start"]


async def test_a_start_whose_reply_was_lost_is_resumed_and_not_generated_twice() -> None:
    stack = FakeStack(frames=answer("a", "b"))

    async def lose_the_reply(call: Call) -> None:
        stack.sessions[call.session_id] = asyncio.Event()
        await close(call)

    stack.faults.append(lose_the_reply)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "ab"
    assert stack.asked() == ["start", "start", "resume"]


async def test_a_stream_goes_on_exactly_while_others_come_and_go() -> None:
    stack = FakeStack(frames=answer(*"abc"), hold_at=3)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client, client.stream(prompt="long") as long:
            frames = aiter(long)
            await anext(frames)
            text = ""
            for _ in range(20):
                async for _frame in client.stream(prompt="left"):
                    break
            await until(lambda: stack.asked().count("cancel") == 20)
            await long.cancel()
            async for frame in frames:
                text += frame.token if isinstance(frame, Token) else ""
    assert text == "abc"


async def test_a_handshake_refused_for_its_token_is_tried_with_a_new_one() -> None:
    stack = FakeStack(tokens={"token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            assert await client.text(prompt="Hi") == "Hello world"


@pytest.mark.parametrize("statuses", [[401, 401], [403, 403]])
async def test_a_second_refusal_reaches_the_caller(statuses: list[int]) -> None:
    stack = FakeStack()
    stack.handshakes.extend(statuses)
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (401, "unauthorized", False)
    assert not stack.handshakes


async def test_a_fixed_token_that_was_refused_is_not_sent_again() -> None:
    stack = FakeStack()
    stack.handshakes.extend([403, 500])
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(RequestRejected):
                await client.text(prompt="Hi")
    assert list(stack.handshakes) == [500]


@pytest.mark.parametrize("token", ["", "no token", "a,b", "é"])
async def test_what_cannot_be_a_token_is_told_without_being_shown(token: str) -> None:
    with running(FakeStack()) as endpoints:
        async with client_of(endpoints, token=token) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code) == (401, "unauthorized")
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [(429, "throttled", True), (500, "internal", True), (404, "not_found", False), (302, "invalid_request", False)],
)
async def test_a_refused_handshake_has_the_code_that_it_has_on_every_path(
    status: int, code: str, retryable: bool
) -> None:
    stack = FakeStack()
    stack.handshakes.append(status)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (status, code, retryable)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateways_failure_in_the_handshake_is_tried_again(status: int) -> None:
    stack = FakeStack()
    stack.handshakes.extend([status] * 3)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "Hello world"


async def test_a_gateway_that_goes_on_failing_is_told_and_nothing_is_left_to_stop() -> None:
    stack = FakeStack()
    stack.handshakes.extend([502] * 3)
    with running(stack) as endpoints:
        async with client_of(endpoints, retry=ONCE) as client:
            with pytest.raises(ConnectionFailed) as raised:
                await client.text(prompt="Hi")
    assert not raised.value.reached
    assert stack.calls == []


async def test_the_token_does_not_follow_a_redirect_to_wherever_it_leads() -> None:
    stack = FakeStack()
    with running(stack) as elsewhere:
        redirect = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere.websocket_url}\r\nContent-Length: 0\r\n\r\n"
        with answering(redirect) as port:
            async with client_of(endpoints_of(f"http://127.0.0.1:{port}")) as client:
                with pytest.raises(RequestRejected):
                    await client.text(prompt="Hi")
    assert stack.connections == []


@pytest.mark.parametrize(
    "response",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_a_server_that_speaks_something_else_is_told(response: str) -> None:
    with answering(response) as port:
        async with client_of(endpoints_of(f"http://127.0.0.1:{port}"), retry=ONCE) as client:
            with pytest.raises(ProtocolError, match="doesn't speak WebSocket"):
                await client.text(prompt="Hi")


@contextmanager
def answering(response: str) -> Iterator[int]:
    """Answer every connection with bytes of the test's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(response.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_a_websocket_of_something_else_is_told() -> None:
    async def say_nothing(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(say_nothing, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with client_of(endpoints_of(f"http://127.0.0.1:{port}"), retry=ONCE) as client:
            with pytest.raises(ProtocolError, match="doesn't speak tokenstream"):
                await client.text(prompt="Hi")


async def test_an_expired_token_is_replaced_while_the_streams_of_the_old_connection_go_on() -> None:
    stack = FakeStack(frames=answer("a", "b"), hold_at=2, tokens={"token-1", "token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client, client.stream(prompt="old") as old:
            frames = aiter(old)
            await anext(frames)
            stack.faults.append(EXPIRED)
            stack.hold_at = None
            assert await client.text(prompt="new") == "ab"
            assert len(stack.connections) == 2
            on_server(stack, stack.sessions[old.session_id].set)
            assert len([frame async for frame in frames]) == 3
            await closed(stack.connections[0])
            assert await client.text(prompt="newer") == "ab"
    assert stack.asked() == ["start", "start", "start", "start"]
    assert len(stack.connections) == 2


async def test_many_streams_that_find_the_token_expired_open_one_new_connection() -> None:
    stack = FakeStack(tokens={"token-1", "token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            await client.text(prompt="Hi")
            stack.faults.extend([EXPIRED] * 5)
            texts = await asyncio.gather(*(client.text(prompt="Hi") for _ in range(5)))
    assert texts == ["Hello world"] * 5
    assert len(stack.connections) == 2


async def test_who_learns_late_that_the_token_has_expired_uses_the_connection_that_is_new_already() -> None:
    stack = FakeStack(tokens={"token-1", "token-2"})
    renewed = asyncio.Event()

    async def expire_late(call: Call) -> None:
        await renewed.wait()
        await EXPIRED(call)

    stack.faults.extend([expire_late, EXPIRED])
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            late = asyncio.create_task(client.text(prompt="late"))
            await until(lambda: len(stack.calls) == 1)
            assert await client.text(prompt="Hi") == "Hello world"
            on_server(stack, renewed.set)
            assert await late == "Hello world"
    assert len(stack.connections) == 2


async def test_only_an_expired_token_is_a_reason_to_ask_again() -> None:
    stack = FakeStack(tokens={"token-1", "token-2"})
    stack.faults.append(reject(429, "throttled"))
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            with pytest.raises(RequestRejected):
                await client.text(prompt="Hi")
    assert stack.asked() == ["start"]


async def test_a_token_that_stays_expired_is_told() -> None:
    stack = FakeStack()
    stack.faults.extend([EXPIRED] * 2)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code) == (401, "unauthorized")
    assert len(stack.faults) == 1


async def test_who_gives_up_waiting_for_the_connection_leaves_it_to_the_others() -> None:
    stack = FakeStack(tokens={TOKEN})
    gate = asyncio.Event()

    class Slow:
        async def token(self, refused: str | None = None) -> str:
            await gate.wait()
            return TOKEN

    with running(stack) as endpoints:
        async with client_of(endpoints, token=Slow()) as client:
            patient, impatient = (asyncio.create_task(client._transport.cancel("s")) for _ in range(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            impatient.cancel()
            gate.set()
            with pytest.raises(RequestRejected):
                await patient
            with pytest.raises(asyncio.CancelledError):
                await impatient
    assert len(stack.connections) == 1


async def test_closing_the_client_in_the_midst_of_connecting_ends_the_attempt_and_who_waits_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        async with client_of(endpoints_of(address)) as client:
            waiting = asyncio.create_task(client._transport.cancel("s"))
            await until(lambda: client._transport._opening._attempt is not None)  # type: ignore[attr-defined]
        with pytest.raises(ConnectionFailed, match="closed"):
            await waiting
        with pytest.raises(RuntimeError, match="closed"):
            await client._transport.cancel("s")


async def test_a_loop_that_ends_without_closing_the_client_is_left_clean() -> None:
    stack = FakeStack(hold_at=2)

    async def forget() -> None:
        async with Client(endpoints, path="websocket", token=TOKEN).stream(prompt="Hi") as stream:
            await anext(aiter(stream))

    with running(stack) as endpoints:
        await asyncio.to_thread(asyncio.run, forget())
        await closed(stack.connections[0])
    assert stack.asked() == ["start", "cancel"]


async def test_no_token_and_no_prompt_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets.client", "websockets.server"):
        caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger("websockets.server").setLevel(logging.INFO)  # the test's own server
    stack = FakeStack(frames=answer("an answer"))
    stack.handshakes.append(403)
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            stack.tokens.add("token-2")
            await client.text(prompt="a prompt")
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert "token-2" not in logged
    assert "a prompt" not in logged
    assert "an answer" not in logged
