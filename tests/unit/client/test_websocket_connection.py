"""A connection's own decisions, over a network in memory and in virtual time; `test_websocket` has real connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError
from websockets.protocol import State

from tests.unit.client.virtual_time import VirtualTimeLoop
from tokenstream_client.errors import ClientError, ConnectionFailed, ProtocolError, RequestRejected
from tokenstream_client.transports.websocket_connection import WebSocketConnection

SILENT = "silent.example has gone silent"
BROKE = "The connection to silent.example broke"


class Network:
    """What a `ClientConnection` is to its user. What `arrives` is received; None breaks the connection."""

    def __init__(self) -> None:
        self.state = State.OPEN
        self.sent: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = accept
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.closed = 0
        self.transport = SimpleNamespace(abort=self._abort)
        self._arriving: asyncio.Queue[str | None] = asyncio.Queue()

    def arrives(self, message: Any) -> None:
        self._arriving.put_nowait(json.dumps(message))

    def breaks(self) -> None:
        self._arriving.put_nowait(None)

    async def recv(self) -> str:
        text = await self._arriving.get()
        if text is None:
            self.state = State.CLOSED
            raise ConnectionClosedError(None, None)
        return text

    async def send(self, data: bytes | list[bytes], *, text: bool) -> None:
        assert text
        await self.blocked.wait()
        message = json.loads(data if isinstance(data, bytes) else b"".join(data))
        self.sent.append(message)
        if (answer := self.answer(message)) is not None:
            self.arrives(answer)

    async def close(self) -> None:
        self.state = State.CLOSED

    def _abort(self) -> None:
        self.closed += 1


def accept(message: dict[str, Any]) -> dict[str, Any]:
    if message["action"] == "ping":
        return {"type": "pong"}
    return {"type": "accepted", "requestId": message["requestId"], "sessionId": message.get("sessionId")}


def nothing(_message: dict[str, Any]) -> None:
    return None


def frame(session_id: str, sequence: int = 1) -> dict[str, Any]:
    return {"type": "token", "sessionId": session_id, "attempt": 1, "sequence": sequence, "token": "x"}


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Network, WebSocketConnection]]:
    network = Network()
    closed: list[WebSocketConnection] = []
    connection = WebSocketConnection(
        cast("ClientConnection", network),
        "token",
        "silent.example",
        idle_timeout=45,
        ping_interval=300,
        on_closed=closed.append,
    )
    try:
        yield network, connection
    finally:
        await connection.aclose()
    assert (closed, network.closed) == ([connection], 1)


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test())

    run.__name__ = test.__name__
    return run


async def outcome(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except ClientError as error:
        return error


@in_virtual_time
async def test_an_idle_connection_is_kept_open_for_hours() -> None:
    async with connected() as (network, connection):
        await asyncio.sleep(7100)
        assert not connection.ended
        assert network.sent == [{"action": "ping"}] * 23


@in_virtual_time
async def test_no_ping_disturbs_a_stream_whose_server_sends_heartbeats() -> None:
    async with connected() as (network, connection):
        with connection.listen("a") as messages:
            for _ in range(100):
                network.arrives({"type": "heartbeat", "sessionId": "a"})
                assert (await anext(messages))["type"] == "heartbeat"
                await asyncio.sleep(15)
        assert network.sent == []


@in_virtual_time
async def test_a_connection_that_died_while_nobody_used_it_is_not_used_again() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        await asyncio.sleep(344)
        assert not connection.ended
        await asyncio.sleep(2)
        assert connection.ended
        with pytest.raises(ConnectionFailed, match=SILENT):
            await connection.request({"action": "cancel", "sessionId": "a"})


@in_virtual_time
async def test_a_connection_that_the_server_is_closing_is_not_used_any_more() -> None:
    async with connected() as (network, connection):
        network.state = State.CLOSING
        assert connection.ended


@in_virtual_time
async def test_a_stream_on_a_dead_connection_gives_it_up() -> None:
    async with connected() as (_, connection):
        with connection.listen("a") as messages, pytest.raises(ConnectionFailed, match=SILENT):
            await anext(messages)
        assert asyncio.get_running_loop().time() == 45
        assert connection.ended


@in_virtual_time
async def test_a_stream_that_alone_is_silent_leaves_the_connection_to_the_others() -> None:
    async with connected() as (network, connection):
        with connection.listen("dead") as silent, connection.listen("alive"):
            waiting = asyncio.create_task(outcome(anext(silent)))
            for _ in range(4):
                network.arrives({"type": "heartbeat", "sessionId": "alive"})
                await asyncio.sleep(15)
            assert isinstance(await waiting, ConnectionFailed)
        assert not connection.ended


@in_virtual_time
async def test_a_request_that_is_never_answered_gives_the_connection_up() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        with pytest.raises(ConnectionFailed, match=SILENT):
            await connection.request({"action": "cancel", "sessionId": "a"})
        assert connection.ended


@in_virtual_time
async def test_a_request_that_cannot_even_be_sent_gives_the_connection_up() -> None:
    async with connected() as (network, connection):
        network.blocked.clear()
        with pytest.raises(ConnectionFailed, match=SILENT):
            await connection.request({"action": "cancel", "sessionId": "a"})
        assert connection.ended


@pytest.mark.parametrize(("size", "ended"), [(1_000, False), (90_000, True)])
def test_a_request_given_up_half_sent_ends_the_connection_and_no_other_does(size: int, ended: bool) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            network.blocked.clear()
            request = asyncio.create_task(connection.request({"action": "stream", "prompt": "x" * size}))
            await asyncio.sleep(1)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            assert connection.ended is ended

    in_virtual_time(run)()


@in_virtual_time
async def test_what_arrived_before_the_connection_broke_is_still_read() -> None:
    async with connected() as (network, connection):
        with connection.listen("a") as messages:
            for sequence in (1, 2):
                network.arrives(frame("a", sequence))
            network.breaks()
            await asyncio.sleep(1)
            assert [(await anext(messages))["sequence"] for _ in range(2)] == [1, 2]
            for _ in range(2):
                with pytest.raises(ConnectionFailed, match=BROKE):
                    await anext(messages)


@in_virtual_time
async def test_everyone_who_waits_learns_that_the_connection_broke_by_an_error_of_his_own() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        with connection.listen("a") as one, connection.listen("b") as two:
            waiting = [
                asyncio.create_task(outcome(work))
                for work in (
                    anext(one),
                    anext(two),
                    connection.request({"action": "cancel", "sessionId": "c"}),
                    connection.request({"action": "cancel", "sessionId": "d"}),
                )
            ]
            await asyncio.sleep(1)
            network.breaks()
            errors = await asyncio.gather(*waiting)
        assert {type(error) for error in errors} == {ConnectionFailed}
        assert len({id(error) for error in errors}) == 4
        with pytest.raises(ConnectionFailed, match=BROKE):
            await connection.request({"action": "ping"})


@in_virtual_time
async def test_messages_go_to_the_stream_that_they_belong_to_and_to_no_other() -> None:
    async with connected() as (network, connection):
        with connection.listen("a") as one, connection.listen("b") as two:
            for sequence, session_id in enumerate("abba", start=1):
                network.arrives(frame(session_id, sequence))
            assert [(await anext(one))["sequence"] for _ in range(2)] == [1, 4]
            assert [(await anext(two))["sequence"] for _ in range(2)] == [2, 3]


@in_virtual_time
async def test_what_nobody_understands_or_waits_for_is_passed_over() -> None:
    async with connected() as (network, connection):
        with connection.listen("a") as messages:
            for message in (
                frame("left"),
                {},
                {"type": 5, "sessionId": "a"},
                {"type": "token", "sessionId": ["a"]},
                {"type": "news", "text": "of a later version"},
                {"type": "accepted", "requestId": "never asked"},
                {"type": "accepted", "requestId": {}},
                {"type": "rejected"},
                {"message": "Internal server error", "connectionId": "c", "requestId": "r"},
                frame("a", 7),
            ):
                network.arrives(message)
            assert (await anext(messages))["sequence"] == 7


@pytest.mark.parametrize("text", ["", "{", "[]", '"frame"', "null"])
def test_what_is_no_message_at_all_ends_every_stream_as_a_protocol_error(text: str) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            with connection.listen("a") as one, connection.listen("b") as two:
                network._arriving.put_nowait(text)
                for messages in (one, two):
                    with pytest.raises(ProtocolError):
                        await anext(messages)
            assert connection.ended

    in_virtual_time(run)()


@in_virtual_time
async def test_a_resume_that_failed_after_all_is_told_to_its_stream_at_once() -> None:
    async with connected() as (network, connection):
        with connection.listen("a") as messages:
            await connection.request({"action": "resume", "sessionId": "a"})
            error = {"code": "internal", "message": "Something went wrong.", "retryable": True}
            network.arrives({"type": "rejected", "requestId": "1", "sessionId": "a", "error": error})
            failure = await outcome(anext(messages))
            assert isinstance(failure, RequestRejected)
            assert (failure.code, failure.retryable) == ("internal", True)
            # The connection itself has nothing to do with it.
            await connection.request({"action": "resume", "sessionId": "a"})


@in_virtual_time
async def test_replies_find_their_requests_in_any_order() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        requests = [
            asyncio.create_task(outcome(connection.request({"action": "cancel", "sessionId": session_id})))
            for session_id in "abc"
        ]
        await asyncio.sleep(1)
        a, b, c = network.sent
        error = {"code": "not_found", "message": "No such session.", "retryable": False, "field": "sessionId"}
        network.arrives({"type": "rejected", "requestId": c["requestId"], "error": error})
        network.arrives({"type": "accepted", "requestId": b["requestId"], "sessionId": "b"})
        network.arrives({"type": "accepted", "requestId": b["requestId"], "sessionId": "b"})
        network.arrives({"type": "rejected", "requestId": a["requestId"], "error": "not an object"})
        first, second, third = await asyncio.gather(*requests)
        assert second is None
        assert isinstance(first, RequestRejected)
        assert (first.status, first.code) == (500, "internal")
        assert isinstance(third, RequestRejected)
        assert (third.status, third.code, third.field) == (404, "not_found", "sessionId")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 400),
        ("too_large", 413),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("conflict", 409),
        ("throttled", 429),
        ("model_error", 502),
        ("model_timeout", 504),
        ("model_access", 502),
        ("internal", 500),
        ("of_a_later_version", 500),
    ],
)
def test_a_rejection_has_the_status_that_it_has_on_the_other_paths(code: str, status: int) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            error = {"code": code, "message": "No.", "retryable": True}
            network.answer = lambda sent: {"type": "rejected", "requestId": sent["requestId"], "error": error}
            with pytest.raises(RequestRejected) as raised:
                await connection.request({"action": "stream"})
            assert (raised.value.status, raised.value.code, raised.value.retryable) == (status, code, True)

    in_virtual_time(run)()


@in_virtual_time
async def test_a_throttled_request_is_told_so_when_it_can_only_be_that_one() -> None:
    async with connected() as (network, connection):
        network.answer = lambda _: {"message": "Too Many Requests", "connectionId": "c", "requestId": "theirs"}
        with pytest.raises(RequestRejected) as raised:
            await connection.request({"action": "stream"})
        assert (raised.value.status, raised.value.code, raised.value.retryable) == (429, "throttled", True)
        assert not connection.ended


@in_virtual_time
async def test_a_throttled_request_among_several_makes_all_ask_again() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        requests = [asyncio.create_task(outcome(connection.request({"action": "stream"}))) for _ in range(2)]
        await asyncio.sleep(1)
        network.arrives({"message": "Too Many Requests", "connectionId": "c", "requestId": "theirs"})
        for error in await asyncio.gather(*requests):
            assert isinstance(error, ConnectionFailed)
            assert error.reached
        assert not connection.ended


@in_virtual_time
async def test_a_function_that_failed_is_told_as_what_may_be_asked_again() -> None:
    async with connected() as (network, connection):
        network.answer = lambda _: {"message": "Internal server error", "connectionId": "c", "requestId": "theirs"}
        with pytest.raises(ConnectionFailed, match="Internal server error") as raised:
            await connection.request({"action": "stream"})
        assert raised.value.reached


@in_virtual_time
async def test_a_retired_connection_serves_its_streams_to_their_end_and_then_closes() -> None:
    async with connected() as (network, connection):
        with connection.listen("a") as messages:
            connection.retire()
            await asyncio.sleep(1)
            network.arrives(frame("a"))
            assert (await anext(messages))["sequence"] == 1
            assert not connection.ended
        await asyncio.sleep(0)
        assert connection.ended


@in_virtual_time
async def test_a_connection_closed_before_it_began_to_read_is_closed_nevertheless() -> None:
    async with connected() as (_, connection):
        pass
    assert connection.ended
