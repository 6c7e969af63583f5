"""What a WebSocket client meets at the edge, whatever is behind it."""

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from local.edge.throttle import Throttle
from local.edge.websocket_clients import Posted
from local.edge.websocket_session import FRAME_BYTES, MESSAGE_BYTES, ConnectionLimits
from local.functions.invocation import FunctionFailed, InvocationError
from tests.local.websocket_fakes import CONNECTION_ID, Refusal, Setup, hear_to_the_end, running_front, until

# -- the handshake


@pytest.mark.parametrize("refusal", [Refusal(401, "Unauthorized"), Refusal(403, "explicit deny"), Refusal(500, "")])
async def test_a_refusal_reaches_the_client_with_its_status_and_reason(refusal: Refusal) -> None:
    async with running_front(refusal) as setup:
        with pytest.raises(InvalidStatus) as refused:
            await setup.dial("tokenstream", "a.b.c")
    response = refused.value.response
    assert response.status_code == refusal.status
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.body or b"")["message"] == (refusal.message or "Internal server error")
    assert setup.log == [f"WEBSOCKET /dev {refusal.status}"]


@pytest.mark.parametrize(
    ("connect", "status", "message"),
    [
        ({"statusCode": 500}, 500, "Internal server error"),
        ({"statusCode": 401}, 401, "Unauthorized"),
        ({"no": "status"}, 502, "Internal server error"),
        (FunctionFailed("ValueError", "secret detail"), 502, "Internal server error"),
    ],
    ids=["fault", "refusal", "malformed", "failure"],
)
async def test_a_fault_of_connect_does_not_look_like_a_missing_permission(
    connect: dict[str, object] | InvocationError, status: int, message: str
) -> None:
    async with running_front(connect) as setup:
        with pytest.raises(InvalidStatus) as refused:
            await setup.dial()
    assert refused.value.response.status_code == status
    body = json.loads(refused.value.response.body or b"")
    assert (body["message"], body["connectionId"]) == (message, CONNECTION_ID)


async def test_the_subprotocol_is_the_one_that_connect_chose_and_none_by_default() -> None:
    chosen = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "tokenstream"}}
    async with running_front(chosen) as setup, setup.connected("tokenstream", "a.b.c") as (client, _):
        assert client.subprotocol == "tokenstream"
        assert setup.emulator.requests[0].headers["Sec-WebSocket-Protocol"] == "tokenstream, a.b.c"
    async with running_front() as setup, setup.connected("tokenstream", "a.b.c") as (client, _):
        assert client.subprotocol is None


async def test_query_and_headers_get_through_but_none_that_the_edge_answers_for() -> None:
    forged = {"Origin": "https://chat.example.com", "X-Tokenstream-Handshake": "forged", "X-Own": "1", "X-Odd": "é"}
    async with (
        running_front() as setup,
        setup.connected(query="?token=a.b.c&x=%20y", additional_headers=forged, user_agent_header="wscat"),
    ):
        [request] = setup.emulator.requests
        assert request.path == "/_aws/execute-api/api123/dev?token=a.b.c&x=%20y"
        assert (request.headers["X-Own"], request.headers["User-Agent"]) == ("1", "wscat")
        assert "Origin" not in request.headers
        assert request.headers["X-Tokenstream-Handshake"] != "forged"


async def test_nothing_is_compressed_for_a_client_that_offers_it() -> None:
    async with running_front() as setup, setup.connected(compression="deflate") as (client, _):
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


async def test_a_web_page_cannot_connect_by_dns_rebinding() -> None:
    async with running_front() as setup, httpx.AsyncClient() as http:
        address = setup.url.replace("ws:", "http:")
        for host in ("evil.example", "evil.example:80", "[::1"):
            assert (await http.get(address, headers={"Host": host})).status_code == 403
        with pytest.raises(InvalidStatus, match="403"):
            await setup.dial(additional_headers={"Host": "evil.example"})  # besides the right one
        assert setup.emulator.requests == []


async def test_another_stage_is_forbidden_and_a_plain_request_is_told_to_upgrade() -> None:
    async with running_front() as setup, httpx.AsyncClient() as http:
        address = setup.url.replace("ws:", "http:")
        assert (await http.get(f"{address}x")).status_code == 403
        assert (await http.get(address, headers={"Host": "localhost"})).status_code == 426
        assert setup.emulator.requests == []


async def test_a_client_that_leaves_during_the_handshake_leaves_nothing_open() -> None:
    async with running_front() as setup:
        setup.emulator.gate.clear()
        dialling = asyncio.ensure_future(setup.dial().connect())
        await until(lambda: setup.emulator.requests)
        dialling.cancel()
        async with asyncio.timeout(60):
            await setup.emulator.left.wait()
    with pytest.raises(asyncio.CancelledError):
        await dialling


async def test_the_end_of_the_stack_does_not_wait_for_a_handshake() -> None:
    async with running_front() as setup:
        setup.emulator.gate.clear()
        dialling = asyncio.ensure_future(setup.dial().connect())
        await until(lambda: setup.emulator.requests)
        async with asyncio.timeout(60):
            await setup.front.close()
        with pytest.raises(InvalidHandshake):
            await dialling


async def test_the_end_of_the_stack_does_not_wait_for_a_browser_that_connected_just_in_case() -> None:
    async with running_front() as setup:
        address = urlsplit(setup.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        async with asyncio.timeout(60):
            await setup.front.close()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


# -- messages


async def test_messages_pass_both_ways_at_once_in_their_order() -> None:
    async with running_front() as setup, setup.connected() as (client, emulator):
        sent = [f"message {number} ✓" for number in range(50)]

        async def exchange(
            one: ClientConnection | ServerConnection, other: ClientConnection | ServerConnection
        ) -> None:
            for text in sent:
                await one.send(text)
            assert [await other.recv() for _ in sent] == sent

        await asyncio.gather(exchange(client, emulator), exchange(emulator, client))


@pytest.mark.parametrize(
    ("fragments", "passes"),
    [
        ([FRAME_BYTES], True),
        ([FRAME_BYTES + 1], False),
        ([FRAME_BYTES] * (MESSAGE_BYTES // FRAME_BYTES), True),
        ([FRAME_BYTES] * (MESSAGE_BYTES // FRAME_BYTES) + [1], False),
    ],
    ids=["whole frame", "frame too big", "whole message", "message too big"],
)
async def test_a_frame_over_32_kb_and_a_message_over_128_kb_cost_the_connection(
    fragments: list[int], *, passes: bool
) -> None:
    pieces = ["x" * length for length in fragments]
    async with running_front() as setup, setup.connected(compression=None) as (client, emulator):
        await client.send(pieces[0] if len(pieces) == 1 else pieces)
        if passes:
            assert await emulator.recv() == "".join(pieces)
        else:
            assert await hear_to_the_end(client) == ([], 1009)
            assert await hear_to_the_end(emulator) == ([], 1009)


async def test_a_binary_message_is_not_taken() -> None:
    async with running_front() as setup, setup.connected() as (client, emulator):
        await client.send(b"\x00\x01")
        assert await hear_to_the_end(client) == ([], 1003)
        assert await hear_to_the_end(emulator) == ([], 1003)


async def test_a_clients_ping_is_answered_and_never_a_message() -> None:
    async with running_front() as setup, setup.connected() as (client, emulator):
        await (await client.ping("are you there"))
        await client.send("a message")
        assert await emulator.recv() == "a message"


async def test_what_the_stage_throttles_reaches_no_route_and_the_client_is_told() -> None:
    async with (
        running_front(throttle=Throttle(rate=0.0001, burst=3)) as setup,
        setup.connected() as (client, emulator),
    ):
        for number in range(4):
            await client.send(f"message {number}")
        told = [json.loads(await client.recv()) for _ in range(2)]
        assert [(item["message"], item["connectionId"]) for item in told] == [("Too Many Requests", CONNECTION_ID)] * 2
        assert len({item["requestId"] for item in told}) == 2
        # The handshake was the first of the three.
        assert [await emulator.recv(), await emulator.recv()] == ["message 0", "message 1"]
        with pytest.raises(InvalidStatus, match="429"):
            await setup.dial()


async def _settled(count: list[int]) -> int:
    """Wait until nothing more is taken: everything in between is in this process or in the kernel."""
    before = -1
    while count[0] != before:
        before = count[0]
        for _ in range(2000):
            await asyncio.sleep(0)
    return before


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_flood_that_nobody_takes_is_held_up_where_it_comes_from(direction: str) -> None:
    async with running_front() as setup, setup.connected(max_size=None) as (client, emulator):
        source = client if direction == "up" else emulator
        count, message = [0], "x" * FRAME_BYTES

        async def flood() -> None:
            while True:
                await source.send(message)
                count[0] += 1

        flooding = asyncio.create_task(flood())
        try:
            # Sockets' buffers take some megabytes; a front that buffered would take all there is.
            assert await _settled(count) * FRAME_BYTES < 64 * 1024 * 1024
        finally:
            flooding.cancel()
            client.transport.abort()
            emulator.transport.abort()


# -- what functions post


async def _post(setup: Setup, message: bytes) -> Posted:
    client = setup.clients.find(CONNECTION_ID)
    assert client
    return await client.post(message)


async def test_what_functions_post_arrives_in_its_order_beside_what_the_emulator_sends() -> None:
    async with running_front() as setup, setup.connected() as (client, emulator):
        await client.send("hello")
        await emulator.recv()
        posts = [f"post {number} ✓" for number in range(50)]
        for number, post in enumerate(posts):
            await emulator.send(f"message {number}")
            assert await _post(setup, post.encode()) is Posted.SENT
        received = [await client.recv() for _ in range(100)]
        assert [text for text in received if text in posts] == posts
        assert [text for text in received if text not in posts] == [f"message {number}" for number in range(50)]
        # As API Gateway does.
        await _post(setup, b"caf\xe9")
        assert await client.recv() == "caf�"


async def test_a_connection_is_cut_behind_so_many_posts_and_its_client_is_gone_then() -> None:
    async with running_front() as setup, setup.connected() as (client, _):
        await setup.cut(afterMessages=2)
        for number in range(4):
            await _post(setup, b"post %d" % number)
        assert await hear_to_the_end(client) == (["post 0", "post 1"], 1006)
        await until(lambda: not setup.clients.find(CONNECTION_ID))


async def test_a_client_that_does_not_read_is_posted_no_more_than_its_buffer_holds() -> None:
    async with running_front() as setup, setup.connected(max_queue=1) as (client, _):
        count, post = 0, b"x" * FRAME_BYTES
        while await _post(setup, post) is Posted.SENT:
            count += 1
            # Sockets' buffers take some megabytes.
            assert count * FRAME_BYTES < 64 * 1024 * 1024
        assert [len(await client.recv()) for _ in range(count)] == [FRAME_BYTES] * count
        assert await _post(setup, b"once more") is Posted.SENT
        assert await client.recv() == "once more"


# -- the end


@pytest.mark.parametrize("limits", [ConnectionLimits(idle=0.05), ConnectionLimits(total=0.05)], ids=["idle", "total"])
async def test_a_connection_ends_when_its_time_is_up(limits: ConnectionLimits) -> None:
    async with running_front(limits=limits) as setup, setup.connected() as (client, emulator):
        assert await hear_to_the_end(client) == ([], 1001)
        assert await hear_to_the_end(emulator) == ([], 1001)


@pytest.mark.parametrize("code", [1000, 1001, 4321])
async def test_either_side_learns_how_the_other_closed(code: int) -> None:
    async with running_front() as setup:
        async with setup.connected() as (client, emulator):
            await client.close(code)
            assert await hear_to_the_end(emulator) == ([], code)
        async with setup.connected() as (client, emulator):
            await emulator.close(code)
            assert await hear_to_the_end(client) == ([], code)


async def test_what_a_client_sent_before_it_closed_still_arrives() -> None:
    async with running_front() as setup, setup.connected() as (client, emulator):
        sent = [f"message {number}" for number in range(200)]
        for text in sent:
            await client.send(text)
        await client.close()
        assert await hear_to_the_end(emulator) == (sent, 1000)


async def test_what_the_emulator_sent_before_it_closed_still_arrives() -> None:
    async with running_front() as setup, setup.connected() as (client, emulator):
        await emulator.send("the last words")
        await emulator.close()
        assert await hear_to_the_end(client) == (["the last words"], 1000)


async def test_a_client_that_vanishes_and_an_emulator_that_does_are_noticed() -> None:
    async with running_front() as setup:
        async with setup.connected() as (client, emulator):
            client.transport.abort()
            assert await hear_to_the_end(emulator) == ([], 1006)
        async with setup.connected() as (client, emulator):
            emulator.transport.abort()
            assert await hear_to_the_end(client) == ([], 1006)


async def test_the_end_of_the_stack_says_goodbye_and_does_not_wait_for_who_does_not_listen() -> None:
    async with (
        running_front() as setup,
        setup.connected() as (polite, _),
        setup.connected(max_queue=1) as (_, emulator),
    ):
        count = [0]

        async def flood() -> None:
            while True:
                await emulator.send("x" * FRAME_BYTES)
                count[0] += 1

        flooding = asyncio.create_task(flood())
        await _settled(count)
        async with asyncio.timeout(60):
            closing = asyncio.create_task(setup.front.close())
            assert await hear_to_the_end(polite) == ([], 1001)
            await closing
        with pytest.raises(ConnectionClosed):
            await flooding


# -- cuts


async def test_cutting_drops_every_connection_without_a_close_frame_and_counts_them() -> None:
    async with (
        running_front() as setup,
        setup.connected() as (first, first_end),
        setup.connected() as (second, second_end),
    ):
        assert setup.cuts.streaming()["websocket"] == 2
        assert await setup.cut() == 2
        for connection in (first, second, first_end, second_end):
            assert await hear_to_the_end(connection) == ([], 1006)
        await until(lambda: setup.cuts.streaming()["websocket"] == 0)


async def test_a_connection_is_cut_right_behind_so_many_messages_and_the_next_order_waits() -> None:
    async with running_front() as setup:
        assert await setup.cut(afterMessages=3) == 0
        assert await setup.cut(afterMessages=1) == 0
        async with setup.connected() as (spared, spared_end), setup.connected() as (client, emulator):
            await spared_end.send("spared")
            for number in range(10):
                await emulator.send(f"message {number}")
            assert await hear_to_the_end(client) == (["message 0", "message 1", "message 2"], 1006)
            assert await spared.recv() == "spared"
            await spared_end.send("the second order's")
            assert await hear_to_the_end(spared) == (["the second order's"], 1006)
        async with setup.connected() as (client, emulator):
            await emulator.send("no order is left")
            assert await client.recv() == "no order is left"


# -- the log


async def test_the_log_tells_of_each_connection_and_of_no_token() -> None:
    async with running_front() as setup:
        async with setup.connected("tokenstream", "secret", query="?token=secret") as (client, emulator):
            await client.send("secret")
            await emulator.send("secret")
            await client.recv()
        await until(lambda: len(setup.log) == 2)
    assert setup.log[0] == "WEBSOCKET /dev open"
    assert setup.log[1].startswith("WEBSOCKET /dev 1000 1 in 1 out ")
    assert "secret" not in "".join(setup.log)
