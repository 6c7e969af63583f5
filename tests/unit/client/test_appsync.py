"""The path `appsync` over real connections, beyond what `test_client` asks of every path."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.unit.client import test_websocket
from tests.unit.client.calls import AppSyncCall, Call
from tests.unit.client.fake_stack import (
    TOKEN,
    FakeStack,
    answer,
    close,
    complete,
    endpoints_of,
    numbered,
    reject,
    running,
    start,
    token,
)
from tests.unit.client.scripted_appsync import refuse
from tests.unit.client.test_http_transport import Renewing
from tests.unit.client.test_websocket import EXPIRED, ONCE, QUICK, closed, until
from tokenstream_client import (
    Client,
    ConnectionFailed,
    Endpoints,
    ProtocolError,
    Reasoning,
    RequestRejected,
    Token,
    TokenProvider,
)
from tokenstream_client.frames import BEGINNING, Message, Position
from tokenstream_client.request import Request
from tokenstream_client.stream import Stream
from tokenstream_client.tokens import FixedToken
from tokenstream_client.transports.appsync import AppSyncTransport
from tokenstream_client.transports.appsync_following import Pauses
from tokenstream_client.transports.http import http_client

AWKWARD = 'a "quote", a \\ and a\nnewline, 🜁 é, \0, \u202eright to left\u202c, \u2028, </script>, ${x}, \ud83d'

client_of: Callable[..., AbstractAsyncContextManager[Client]] = partial(test_websocket.client_of, path="appsync")


@asynccontextmanager
async def transport_to(
    endpoints: Endpoints,
    *,
    pause: float = 5,
    gap: float = 5,
    wait: float = 15,
    tokens: TokenProvider | None = None,
) -> AsyncIterator[AppSyncTransport]:
    """A transport that looks for what it has missed after pauses of the test's own, and waits no longer than told."""
    assert endpoints.graphql_url is not None
    transport = AppSyncTransport(
        endpoints.graphql_url,
        endpoints.realtime_url,
        tokens or FixedToken(TOKEN),
        http_client(10),
        idle_timeout=wait,
        pauses=Pauses(pause, pause, gap),
    )
    try:
        yield transport
    finally:
        await transport.aclose()


def stream_over(transport: AppSyncTransport, *, gap_timeout: float = 5) -> Stream:
    return Stream(transport, Request(prompt="Hi"), retry=QUICK, gap_timeout=gap_timeout)


def on_server(stack: FakeStack, do: Callable[[], None]) -> None:
    """Have something done by the server's own thread."""
    stack.realtime.connections[-1].loop.call_soon_threadsafe(do)


def release(stack: FakeStack) -> None:
    for session in list(stack.sessions.values()):
        on_server(stack, session.set)


def positions(stream: list[Any]) -> list[tuple[int, int]]:
    return [frame.position for frame in stream]


# What the path is


async def test_many_streams_share_one_connection_and_each_is_exact() -> None:
    stack = FakeStack(frames=answer(*"abcdefgh"))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            texts = await asyncio.gather(*(client.text(prompt="Hi") for _ in range(30)))
            texts += await asyncio.gather(*(client.text(prompt="Hi") for _ in range(3)))
    assert texts == ["abcdefgh"] * 33
    assert len(stack.realtime.connections) == 1


async def test_more_streams_than_a_connection_takes_open_another_and_each_is_exact() -> None:
    stack = FakeStack(frames=answer(*"ab"), hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            reading = asyncio.gather(*(client.text(prompt="Hi") for _ in range(130)))
            await until(lambda: len(stack.sessions) == 130)
            release(stack)
            assert await reading == ["ab"] * 130
            assert len(stack.realtime.connections) == 2
            stack.hold_at = None
            assert await asyncio.gather(*(client.text(prompt="Hi") for _ in range(5))) == ["ab"] * 5
    assert len(stack.realtime.connections) == 2


async def test_nothing_is_started_before_the_subscription_is_confirmed() -> None:
    stack = FakeStack()
    asked_meanwhile: list[list[str]] = []

    async def confirm_late(connection: ServerConnection, id_: str) -> None:
        await asyncio.sleep(0.05)
        asked_meanwhile.append(stack.asked())
        await refuse(stack.realtime, "InternalFailure", "Not yet.")(connection, id_)

    stack.realtime.replies.append(confirm_late)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "Hello world"
    assert asked_meanwhile == [[]]
    assert stack.asked() == ["start"]


async def test_awkward_text_arrives_exact_in_both_directions() -> None:
    texts = [*AWKWARD, AWKWARD, "\x00\x01\x7f", "\r\n", "\ud83d"]
    frames = numbered(start(), *map(token, texts), {"type": "reasoning", "token": AWKWARD}, complete())
    stack = FakeStack(frames=json.loads(json.dumps(frames)))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            arrived = [frame async for frame in client.stream(prompt=AWKWARD, system=AWKWARD)]
    assert [frame.token for frame in arrived if isinstance(frame, Token)] == texts
    assert [frame.token for frame in arrived if isinstance(frame, Reasoning)] == [AWKWARD]
    assert (stack.questions()[0]["prompt"], stack.questions()[0]["system"]) == (AWKWARD, AWKWARD)


async def test_the_connection_is_opened_before_the_clock_of_the_request_starts() -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            await client._transport.prepare()
            assert len(stack.realtime.connections) == 1
            assert await client.text(prompt="Hi") == "Hello world"
    assert len(stack.realtime.connections) == 1


async def test_two_subscribers_of_a_session_read_the_same_answer() -> None:
    stack = FakeStack(frames=answer(*"abcdef"), hold_at=4)
    with running(stack) as endpoints:
        async with transport_to(endpoints) as one, transport_to(endpoints) as other, stream_over(one) as stream:
            frames = aiter(stream)
            first = [await anext(frames)]
            async with other.resume(stream.session_id, BEGINNING) as messages:
                release(stack)
                second = [await anext(messages) for _ in range(8)]
            first += [frame async for frame in frames]
    assert [dict(frame.message) for frame in first] == sorted(map(dict, second), key=lambda frame: frame["sequence"])


async def test_a_stream_that_is_left_is_no_longer_subscribed_to() -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            async with client.stream(prompt="Hi") as stream:
                await anext(aiter(stream))
                assert len(stack.realtime.subscribers) == 1
            await until(lambda: not stack.realtime.subscribers)
            stack.faults.append(reject(400, "invalid_request"))
            with pytest.raises(RequestRejected):
                await client.text(prompt="Hi")
            await until(lambda: not stack.realtime.subscribers)
        await closed(stack.realtime.connections[0])
        assert stack.realtime.connections[0].close_code == 1000


# What is lost on the way


@pytest.mark.parametrize("lost", [{1}, {1, 2, 3}, {5}, {1, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 4}])
async def test_lost_events_at_either_end_are_found_where_they_are_stored(lost: set[int]) -> None:
    stack = FakeStack(frames=answer("a", "b", "c"))
    stack.realtime.lost = lost
    with running(stack) as endpoints:
        async with transport_to(endpoints, pause=0.05) as transport:
            frames = [frame async for frame in stream_over(transport)]
    assert positions(frames) == [(1, sequence) for sequence in range(1, 6)]
    assert stack.asked() == ["start"]


async def test_the_first_tokens_lost_of_a_model_that_then_thinks_are_shown_meanwhile() -> None:
    stack = FakeStack(frames=answer("a", "b"), hold_at=2)
    stack.realtime.lost = {1, 2}
    with running(stack) as endpoints:
        async with transport_to(endpoints, pause=0.02) as transport:
            stream = stream_over(transport)
            frames = aiter(stream)
            shown = [await anext(frames), await anext(frames)]
            assert not stack.sessions[stream.session_id].is_set()
            release(stack)
            shown += [frame async for frame in frames]
    assert positions(shown) == [(1, 1), (1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("page", [1, 500])
async def test_a_gap_is_closed_while_the_subscription_goes_on(page: int) -> None:
    stack = FakeStack(frames=answer(*"abcdef"), page=page)
    stack.realtime.lost = {3, 5}
    losses: list[None] = []
    with running(stack) as endpoints:
        async with transport_to(endpoints, gap=0.02) as transport:
            request = Request(prompt="Hi")
            stream = Stream(transport, request, retry=QUICK, on_resuming=lambda: losses.append(None))
            frames = [frame async for frame in stream]
    assert positions(frames) == [(1, sequence) for sequence in range(1, 9)]
    assert stack.asked() == ["start"]
    assert losses == []


@pytest.mark.parametrize("page", [1, 2, 500])
async def test_a_gap_is_closed_by_subscribing_anew_and_reading_page_by_page(page: int) -> None:
    stack = FakeStack(frames=answer(*"abcdef"), page=page)
    stack.realtime.lost = {3, 5}
    with running(stack) as endpoints:
        async with transport_to(endpoints) as transport:
            frames = [frame async for frame in stream_over(transport, gap_timeout=0.02)]
    assert positions(frames) == [(1, sequence) for sequence in range(1, 9)]
    assert next(call.after for call in stack.calls if call.asked == "resume") == (1, 2)
    assert "cancel" not in stack.asked()


async def test_what_comes_while_the_stored_frames_are_read_is_neither_lost_nor_repeated() -> None:
    stack = FakeStack(frames=answer(*"abcdefgh"), hold_at=5, page=1)
    stack.realtime.lost = {2}
    reads = 0

    async def release_at_the_second_page(call: Call) -> None:
        nonlocal reads
        reads += 1
        if reads == 3:
            stack.sessions[call.session_id].set()

    stack.faults.extend([release_at_the_second_page] * 20)
    with running(stack) as endpoints:
        async with transport_to(endpoints) as transport:
            frames = [frame async for frame in stream_over(transport, gap_timeout=0.02)]
    assert positions(frames) == [(1, sequence) for sequence in range(1, 11)]


async def test_an_attempt_of_which_nothing_arrived_is_found_and_replaces_the_one_before() -> None:
    stack = FakeStack(frames=[*numbered(start(), token("given up")), *numbered(start(), attempt=2)])
    with running(stack) as endpoints:
        async with transport_to(endpoints, pause=0.02) as transport:
            frames = aiter(stream_over(transport))
            shown = [await anext(frames) for _ in range(3)]
            stack.frames += numbered(start(), token("anew"), complete(), attempt=2)[1:]
            shown += [frame async for frame in frames]
    assert positions(shown) == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]


async def test_a_subscription_that_events_no_longer_reach_is_replaced_on_another_connection() -> None:
    stack = FakeStack(frames=answer(*"abcdefgh"), hold_at=2)
    stack.realtime.lost = set(range(1, 20))
    with running(stack) as endpoints:
        async with transport_to(endpoints, pause=0.02) as transport:
            shown = []
            async for frame in stream_over(transport):
                shown.append(frame)
                if len(shown) == 8:
                    release(stack)
                elif frame.sequence == stack.hold_at:
                    stack.hold_at += 1
    assert positions(shown) == [(1, sequence) for sequence in range(1, 11)]
    assert len(stack.realtime.connections) > 1


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
            on_server(stack, stack.realtime.connections[-1].transport.abort)
            await until(lambda: stack.asked().count("resume") == 10)
            release(stack)
            await reading
    assert texts == ["abcdefgh"] * 10
    assert len(stack.realtime.connections) == 2
    assert sorted(call.after for call in stack.calls if call.asked == "resume") == [(1, 5)] * 10


async def test_a_connection_that_the_server_closed_while_idle_is_replaced_without_a_word() -> None:
    stack = FakeStack()
    losses: list[None] = []
    with running(stack) as endpoints:
        async with client_of(endpoints, retry=ONCE) as client:
            for _ in range(3):
                async for _frame in client.stream(prompt="Hi", on_resuming=lambda: losses.append(None)):
                    pass
                connection = stack.realtime.connections[-1]
                closing = asyncio.run_coroutine_threadsafe(connection.close(1001), connection.loop)
                await asyncio.wrap_future(closing)
                await until(lambda: not any(other.has_room for other in client._transport._connections))  # type: ignore[attr-defined]
    assert len(stack.realtime.connections) == 3
    assert losses == []


@pytest.mark.parametrize("kind", ["error", "complete"])
async def test_a_subscription_that_the_server_ends_is_made_anew(kind: str) -> None:
    stack = FakeStack(frames=answer("a", "b"), hold_at=2)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client, client.stream(prompt="Hi") as stream:
            frames = aiter(stream)
            shown = [await anext(frames), await anext(frames)]
            rest = asyncio.create_task(anext(frames))
            [subscriber] = stack.realtime.subscribers
            stack.realtime.subscribers.clear()
            ending = {"id": subscriber.id, "type": kind, "payload": {"errors": [{"errorType": "Unauthorized"}]}}
            sending = stack.realtime.send(subscriber.connection, ending)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(sending, subscriber.connection.loop))
            await until(lambda: "resume" in stack.asked())
            release(stack)
            shown += [await rest, *[frame async for frame in frames]]
    assert positions(shown) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert len(stack.realtime.connections) == 1


async def test_a_start_whose_answer_was_lost_is_resumed_and_not_generated_twice() -> None:
    stack = FakeStack(frames=answer("a", "b"))

    async def lose_the_answer(call: Call) -> None:
        stack.sessions[call.session_id] = asyncio.Event()
        await close(call)

    stack.faults.append(lose_the_answer)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "ab"
    assert stack.asked() == ["start", "start", "resume"]


async def test_a_table_that_cannot_be_read_for_a_while_does_not_disturb_a_stream_whose_events_come() -> None:
    stack = FakeStack(frames=answer("a", "b"), hold_at=2)
    with running(stack) as endpoints:
        async with transport_to(endpoints, pause=0.02) as transport:
            stream = stream_over(transport)
            frames = aiter(stream)
            shown = [await anext(frames), await anext(frames)]
            looks = len(stack.looks())
            stack.faults.extend([close, reject(500, "internal"), reject(429, "throttled")])
            rest = asyncio.create_task(anext(frames))
            await until(lambda: len(stack.looks()) > looks + 3)
            release(stack)
            shown += [await rest, *[frame async for frame in frames]]
    assert positions(shown) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert stack.asked() == ["start"]


# Who is let in


async def test_a_connection_refused_for_its_token_is_tried_with_a_new_one() -> None:
    stack = FakeStack(tokens={"token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            assert await client.text(prompt="Hi") == "Hello world"
    assert len(stack.realtime.connections) == 2


@pytest.mark.parametrize("statuses", [[401], [403]])
async def test_a_handshake_refused_for_its_token_is_tried_with_a_new_one(statuses: list[int]) -> None:
    stack = FakeStack(tokens={"token-2"})
    stack.realtime.handshakes.extend(statuses)
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            assert await client.text(prompt="Hi") == "Hello world"


async def test_a_second_refusal_reaches_the_caller() -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
        assert (raised.value.status, raised.value.code, raised.value.retryable) == (401, "unauthorized", False)
        assert stack.realtime.tokens_seen == ["token-1", "token-2"]
        async with transport_to(endpoints, tokens=Renewing()) as transport:
            with pytest.raises(RequestRejected):
                async with transport.resume("s", BEGINNING):
                    pass
        assert stack.realtime.tokens_seen == ["token-1", "token-2"] * 2


@pytest.mark.parametrize("token", ["", "no token", "a,b", "é", "x.y.z"])
async def test_what_cannot_be_a_token_is_told_once_and_without_being_shown(token: str) -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with client_of(endpoints, token=token) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code, raised.value.message) == (401, "unauthorized", "Not for you.")
    assert stack.realtime.tokens_seen == [token]


async def test_a_token_that_expired_on_an_open_connection_is_replaced_on_it() -> None:
    stack = FakeStack(tokens={"token-1", "token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            await client.text(prompt="Hi")
            stack.tokens.remove("token-1")
            assert await client.text(prompt="Hi") == "Hello world"
            assert await client.text(prompt="Hi") == "Hello world"
    assert len(stack.realtime.connections) == 1
    assert stack.realtime.tokens_seen == ["token-1", "token-1", "token-1", "token-2", "token-2"]


async def test_a_token_that_expires_between_subscription_and_start_is_replaced() -> None:
    stack = FakeStack(tokens={"token-1", "token-2"})
    stack.faults.append(EXPIRED)
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            assert await client.text(prompt="Hi") == "Hello world"
    assert stack.asked() == ["start", "start"]


async def test_a_request_refused_by_http_status_is_tried_with_a_new_token() -> None:
    stack = FakeStack(hold_at=2, tokens={"token-1", "token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client, client.stream(prompt="Hi") as stream:
            await anext(aiter(stream))
            stack.tokens.remove("token-1")
            await stream.cancel()
    assert stack.asked() == ["start", "cancel"]


async def test_only_an_expired_token_is_a_reason_to_ask_again() -> None:
    stack = FakeStack(tokens={"token-1", "token-2"})
    stack.faults.append(reject(429, "throttled"))
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            with pytest.raises(RequestRejected):
                await client.text(prompt="Hi")
    assert stack.asked() == ["start"]


# What is turned down, and what fails


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
        ("internal", 500),
    ],
)
async def test_a_rejection_has_the_status_that_it_has_on_the_other_paths(code: str, status: int) -> None:
    stack = FakeStack()
    stack.faults.append(reject(status, code, "No.", field="options.maxTokens"))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    error = raised.value
    assert (error.status, error.code, error.message, error.field) == (status, code, "No.", "options.maxTokens")
    assert stack.asked() == ["start"]


def http(status: int, body: object, **headers: str) -> Callable[[Call], Any]:
    """Answer the next request with an HTTP response of the test's own."""

    async def fault(call: Call) -> None:
        assert isinstance(call, AppSyncCall)
        call.rejected = True
        await call.exchange.reply(status, body, **headers)

    return fault


@pytest.mark.parametrize(
    ("status", "type_", "code", "retryable"),
    [
        (400, "MalformedHttpRequestException", "invalid_request", False),
        (403, "AccessDeniedException", "forbidden", False),
        (413, "RequestEntityTooLargeException", "too_large", False),
        (429, "ThrottlingException", "throttled", True),
        (500, "InternalFailure", "internal", True),
    ],
)
async def test_what_appsync_refuses_by_http_status_has_its_code(
    status: int, type_: str, code: str, retryable: bool
) -> None:
    stack = FakeStack()
    stack.faults.append(http(status, {"errors": [{"errorType": type_, "message": "No."}]}, Retry_After="7"))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    error = raised.value
    assert (error.status, error.code, error.retryable, error.retry_after) == (status, code, retryable, 7)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateways_failure_is_tried_again_under_the_same_session(status: int) -> None:
    stack = FakeStack()
    stack.faults.extend([http(status, "<html>"), http(status, {"errors": [{"errorType": "ServiceUnavailable"}]})])
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "Hello world"
    assert stack.asked() == ["start", "start", "start"]
    assert len({call.session_id for call in stack.calls}) == 1


@pytest.mark.parametrize("body", ["<html>", None, [], {}, {"data": None}, {"data": []}])
async def test_something_that_is_not_graphql_is_told(body: object) -> None:
    stack = FakeStack()
    stack.faults.append(http(200, body))
    with running(stack) as endpoints:
        async with transport_to(endpoints) as transport:
            with pytest.raises(ProtocolError):
                async with transport.start(Request(prompt="Hi")):
                    pass


@pytest.mark.parametrize(
    ("status", "code", "retryable"), [(429, "throttled", True), (500, "internal", True), (404, "not_found", False)]
)
async def test_a_refused_handshake_has_the_code_that_it_has_on_every_path(
    status: int, code: str, retryable: bool
) -> None:
    stack = FakeStack()
    stack.realtime.handshakes.append(status)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(RequestRejected) as raised:
                await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (status, code, retryable)


async def test_a_real_time_endpoint_that_fails_is_tried_again() -> None:
    stack = FakeStack()
    stack.realtime.handshakes.extend([502, 503])
    stack.realtime.welcomes.append({"type": "connection_error", "payload": {"errors": [{"errorCode": 500}]}})
    stack.realtime.replies.append(refuse(stack.realtime, "InternalFailure", "Internal failure."))
    stack.realtime.replies.append(refuse(stack.realtime, "MaxSubscriptionsReachedError", "Max number of 100 reached"))
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            assert await client.text(prompt="Hi") == "Hello world"
    assert stack.asked() == ["start"]


async def test_a_subscription_that_stays_refused_is_told_and_nothing_was_started() -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        stack.realtime.replies.extend([refuse(stack.realtime, "InternalFailure", "Internal failure.")] * 2)
        async with client_of(endpoints, retry=ONCE) as client:
            with pytest.raises(ConnectionFailed, match=r"Internal failure\.") as raised:
                await client.text(prompt="Hi")
            assert not raised.value.reached
            stack.realtime.replies.clear()
            stack.realtime.replies.append(refuse(stack.realtime, "InvalidRequest", "A session id is a UUID."))
            with pytest.raises(RequestRejected) as rejected:
                await client.text(prompt="Hi", session_id="x")
            assert (rejected.value.status, rejected.value.code) == (400, "invalid_request")
            stack.realtime.replies.append(refuse(stack.realtime, "Unauthorized", "Not Authorized to access it."))
            with pytest.raises(RequestRejected) as rejected:
                await client.text(prompt="Hi")
            assert (rejected.value.status, rejected.value.code) == (401, "unauthorized")
    assert stack.calls == []


async def test_a_websocket_of_something_else_is_told() -> None:
    async def say_nothing(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(say_nothing, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with client_of(endpoints_of(f"http://127.0.0.1:{port}"), retry=ONCE) as client:
            with pytest.raises(ProtocolError, match="doesn't speak graphql-ws"):
                await client.text(prompt="Hi")


@pytest.mark.parametrize("said", ["", "[]", None])
async def test_a_server_that_never_lets_in_is_given_up(said: str | None) -> None:
    gone = asyncio.Event()

    async def mumble(connection: ServerConnection) -> None:
        if said is not None:
            await connection.send(said)
        await connection.wait_closed()
        gone.set()

    async with serve(mumble, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-ws")]) as server:
        endpoints = endpoints_of(f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        async with transport_to(endpoints, wait=0.2) as transport:
            stream = Stream(transport, Request(prompt="Hi"), retry=ONCE)
            with pytest.raises(ConnectionFailed if said is None else ProtocolError):
                assert [frame async for frame in stream]
            await until(gone.is_set)


async def test_a_session_that_is_not_there_cannot_be_followed_or_stopped() -> None:
    stack = FakeStack()
    with running(stack) as endpoints:
        async with transport_to(endpoints) as transport:
            with pytest.raises(RequestRejected) as raised:
                await transport.cancel("s")
            assert raised.value.code == "not_found"
            assert stack.realtime.connections == []
            with pytest.raises(RequestRejected) as raised:
                async with transport.resume("s", Position(1, 1)):
                    pass
            assert raised.value.code == "not_found"
            await until(lambda: not stack.realtime.subscribers)


async def test_a_session_that_is_gone_ends_a_stream_that_looks_for_it() -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints:
        request = Request(prompt="Hi")
        async with transport_to(endpoints, pause=0.02) as transport, transport.start(request) as messages:
            await anext(messages)
            stack.faults.append(reject(404, "not_found"))
            with pytest.raises(RequestRejected) as raised:
                async for _ in messages:
                    pass
    assert raised.value.code == "not_found"


# What is left behind


async def test_closing_the_client_in_the_midst_of_connecting_ends_the_attempt_and_who_waits_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        async with client_of(endpoints_of(address)) as client:
            waiting = asyncio.create_task(_resume(client, "s"))
            await until(lambda: client._transport._opening._attempt is not None)  # type: ignore[attr-defined]
        with pytest.raises(ConnectionFailed, match="closed"):
            await waiting
        with pytest.raises(RuntimeError, match="closed"):
            await _resume(client, "s")


async def _resume(client: Client, session_id: str) -> list[Message]:
    async with client._transport.resume(session_id, BEGINNING) as messages:
        return [message async for message in messages]


@pytest.mark.parametrize("leave", ["cancel", "close"])
async def test_who_waits_for_a_confirmation_may_leave(leave: str) -> None:
    stack = FakeStack()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def say_nothing(_connection: ServerConnection, _id: str) -> None:
        loop.call_soon_threadsafe(asked.set)

    stack.realtime.replies.append(say_nothing)
    with running(stack) as endpoints:
        async with client_of(endpoints) as client:
            waiting = asyncio.create_task(_resume(client, "s"))
            await asked.wait()
            if leave == "cancel":
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert await client.text(prompt="Hi") == "Hello world"
        if leave == "close":
            with pytest.raises(ConnectionFailed):
                await waiting


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
    assert len(stack.realtime.connections) == 1


async def test_a_loop_that_ends_without_closing_the_client_is_left_clean() -> None:
    stack = FakeStack(hold_at=2)

    async def forget() -> None:
        async with Client(endpoints, path="appsync", token=TOKEN).stream(prompt="Hi") as stream:
            await anext(aiter(stream))

    with running(stack) as endpoints:
        await asyncio.to_thread(asyncio.run, forget())
        await closed(stack.realtime.connections[0])
    assert stack.asked() == ["start", "cancel"]


async def test_no_token_and_no_prompt_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets.client", "websockets.server", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger("websockets.server").setLevel(logging.INFO)  # the test's own server
    stack = FakeStack(frames=answer("an answer"), tokens={"token-2"})
    with running(stack) as endpoints:
        async with client_of(endpoints, token=Renewing()) as client:
            await client.text(prompt="a prompt")
    logged = " ".join(record.getMessage() for record in caplog.records)
    for secret in ("token-2", "a prompt", "an answer", "header-"):
        assert secret not in logged
