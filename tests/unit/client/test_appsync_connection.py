"""A real-time connection's own decisions, over a network in memory and in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError
from websockets.protocol import State

from tests.unit.client.test_websocket_connection import in_virtual_time, outcome
from tokenstream_client.errors import ConnectionFailed, ProtocolError, RequestRejected
from tokenstream_client.transports.appsync_connection import SUBSCRIPTION_LIMIT, AppSyncConnection, Subscription

HEADERS = {"host": "api.example", "Authorization": "token"}
SILENT = "silent.example has gone silent"
BROKE = "The connection to silent.example broke"


def confirm(message: dict[str, Any]) -> dict[str, Any] | None:
    return {"id": message["id"], "type": {"start": "start_ack", "stop": "complete"}[message["type"]]}


def nothing(_message: dict[str, Any]) -> None:
    return None


class Network:
    """What a `ClientConnection` is to its user. What `arrives` is received; None breaks the connection."""

    def __init__(self) -> None:
        self.state = State.OPEN
        self.sent: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = confirm
        self.aborted = 0
        self.transport = SimpleNamespace(abort=self._abort)
        self._arriving: asyncio.Queue[str | None] = asyncio.Queue()

    def arrives(self, message: Any) -> None:
        self._arriving.put_nowait(json.dumps(message))

    def arrives_as(self, text: str) -> None:
        self._arriving.put_nowait(text)

    def breaks(self) -> None:
        self._arriving.put_nowait(None)

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    async def recv(self) -> str:
        text = await self._arriving.get()
        if text is None:
            self.state = State.CLOSED
            raise ConnectionClosedError(None, None)
        return text

    async def send(self, text: str) -> None:
        if self.state is not State.OPEN:
            raise ConnectionClosedError(None, None)
        message = json.loads(text)
        self.sent.append(message)
        if (answer := self.answer(message)) is not None:
            self.arrives(answer)

    async def close(self) -> None:
        self.state = State.CLOSED

    def _abort(self) -> None:
        self.aborted += 1


def event(subscription: Subscription | str, sequence: int = 1) -> dict[str, Any]:
    id_ = subscription if isinstance(subscription, str) else subscription.id
    frame = {"type": "token", "sessionId": "s", "attempt": 1, "sequence": sequence, "token": "x"}
    return {"id": id_, "type": "data", "payload": {"data": {"onTokenReceived": {"frame": json.dumps(frame)}}}}


def error(type_: str | None = None, code: int | None = None, **ids: str) -> dict[str, Any]:
    reason = {"errorType": type_, "errorCode": code, "message": "No."}
    return {"type": "error", **ids, "payload": {"errors": [{name: value for name, value in reason.items() if value}]}}


@asynccontextmanager
async def connected(keep_alive: float = 300) -> AsyncIterator[tuple[Network, AppSyncConnection]]:
    network = Network()
    closed: list[AppSyncConnection] = []
    connection = AppSyncConnection(
        cast("ClientConnection", network),
        "silent.example",
        keep_alive=keep_alive,
        ack_timeout=15,
        on_closed=closed.append,
    )
    try:
        yield network, connection
    finally:
        await connection.aclose()
    assert (closed, network.aborted) == ([connection], 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def subscribe(connection: AppSyncConnection, session_id: str = "s") -> Subscription:
    return await connection.subscribe(session_id, HEADERS)


@in_virtual_time
async def test_a_subscription_is_authorized_by_itself_and_names_its_session_in_a_variable() -> None:
    async with connected() as (network, connection):
        await connection.subscribe('a "quoted" id', {"host": "api.example", "Authorization": "fresh"})
        payload = network.sent[0]["payload"]
        assert payload["extensions"] == {"authorization": {"host": "api.example", "Authorization": "fresh"}}
        request = json.loads(payload["data"])
        assert request["variables"] == {"sessionId": 'a "quoted" id'}
        assert "quoted" not in request["query"]


@in_virtual_time
async def test_events_go_to_the_subscription_that_they_are_for_and_to_no_other() -> None:
    async with connected() as (network, connection):
        one, two = await subscribe(connection), await subscribe(connection)
        for sequence, subscription in enumerate((one, two, two, one), start=1):
            network.arrives(event(subscription, sequence))
        assert [(await anext(one))["sequence"] for _ in range(2)] == [1, 4]
        assert [(await anext(two))["sequence"] for _ in range(2)] == [2, 3]


@in_virtual_time
async def test_a_connection_is_alive_for_hours_as_long_as_the_server_says_so() -> None:
    async with connected() as (network, connection):
        subscription = await subscribe(connection)
        waiting = asyncio.create_task(outcome(anext(subscription)))
        for _ in range(100):
            await asyncio.sleep(299)
            network.arrives({"type": "ka"})
        assert not waiting.done()
        network.arrives(event(subscription))
        assert (await waiting)["sequence"] == 1


@in_virtual_time
async def test_a_connection_without_a_sign_of_life_is_given_up() -> None:
    async with connected(keep_alive=120) as (_, connection):
        subscription = await subscribe(connection)
        with pytest.raises(ConnectionFailed, match=SILENT):
            await anext(subscription)
        assert asyncio.get_running_loop().time() == 120
        assert not connection.has_room


@in_virtual_time
async def test_a_confirmation_that_never_comes_on_a_dead_connection_gives_it_up() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        with pytest.raises(ConnectionFailed, match=SILENT):
            await subscribe(connection)
        assert asyncio.get_running_loop().time() == 15
        assert not connection.has_room


@in_virtual_time
async def test_a_confirmation_that_alone_does_not_come_leaves_the_connection_to_the_others() -> None:
    async with connected() as (network, connection):
        subscription = await subscribe(connection)
        network.answer = nothing
        waiting = asyncio.create_task(outcome(subscribe(connection)))
        await asyncio.sleep(10)
        network.arrives({"type": "ka"})
        assert isinstance(await waiting, ConnectionFailed)
        assert connection.has_room
        network.arrives(event(subscription))
        assert (await anext(subscription))["sequence"] == 1


@in_virtual_time
async def test_who_stops_waiting_for_a_confirmation_unsubscribes() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        waiting = asyncio.create_task(subscribe(connection))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)
        assert [(message["type"], message["id"]) for message in network.sent] == [("start", "1"), ("stop", "1")]


@in_virtual_time
async def test_an_end_is_told_once_and_nothing_that_the_server_has_ended_is_stopped() -> None:
    async with connected() as (network, connection):
        left, ended = await subscribe(connection), await subscribe(connection)
        left.close()
        left.close()
        network.arrives({"id": ended.id, "type": "complete"})
        with pytest.raises(ConnectionFailed):
            await anext(ended)
        ended.close()
        await asyncio.sleep(1)
        assert [message["id"] for message in network.sent if message["type"] == "stop"] == [left.id]


@in_virtual_time
async def test_a_place_is_free_again_when_the_server_has_confirmed_the_end() -> None:
    async with connected() as (network, connection):
        subscriptions = [await subscribe(connection) for _ in range(SUBSCRIPTION_LIMIT)]
        assert not connection.has_room
        network.answer = nothing
        subscriptions[0].close()
        await asyncio.sleep(1)
        assert not connection.has_room
        network.arrives({"id": subscriptions[0].id, "type": "complete"})
        await asyncio.sleep(1)
        assert connection.has_room


@in_virtual_time
async def test_a_place_is_taken_before_the_confirmation() -> None:
    async with connected() as (network, connection):
        network.answer = nothing
        waiting = [asyncio.create_task(outcome(subscribe(connection))) for _ in range(SUBSCRIPTION_LIMIT)]
        await asyncio.sleep(1)
        assert not connection.has_room
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (error("UnauthorizedException", id="1"), "unauthorized"),
        (error("Unauthorized", 401, id="1"), "unauthorized"),
        (error("InvalidRequest", id="1"), "invalid_request"),
        (error("ThrottlingException", id="1"), "throttled"),
        (error(code=403, id="1"), "forbidden"),
    ],
)
def test_a_refused_subscription_has_the_code_that_it_has_on_the_other_paths(refusal: Any, code: str) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            network.answer = lambda _message: refusal
            with pytest.raises(RequestRejected) as raised:
                await subscribe(connection)
            assert raised.value.code == code
            network.answer = confirm
            assert await subscribe(connection)

    in_virtual_time(run)()


@pytest.mark.parametrize(
    "refusal",
    [
        error("InternalFailure", id="1"),
        error("MaxSubscriptionsReachedError", id="1"),
        error("NewsOfALaterVersion", 500, id="1"),
        {"id": "1", "type": "error"},
        {"id": "1", "type": "error", "payload": {"errors": "broken"}},
        {"id": "1", "type": "complete"},
        error("UnsupportedOperation"),
    ],
)
def test_a_subscription_that_fails_for_no_fault_of_the_clients_may_be_tried_again(refusal: Any) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            network.answer = lambda _message: refusal
            with pytest.raises(ConnectionFailed):
                await subscribe(connection)
            assert asyncio.get_running_loop().time() == 0

    in_virtual_time(run)()


@in_virtual_time
async def test_an_error_that_belongs_to_nothing_leaves_what_is_confirmed_alone() -> None:
    async with connected() as (network, connection):
        subscription = await subscribe(connection)
        network.arrives(error("UnsupportedOperation"))
        network.arrives(event(subscription))
        assert (await anext(subscription))["sequence"] == 1


@in_virtual_time
async def test_what_arrived_before_the_connection_broke_is_still_read() -> None:
    async with connected() as (network, connection):
        subscription = await subscribe(connection)
        for sequence in (1, 2):
            network.arrives(event(subscription, sequence))
        network.breaks()
        await asyncio.sleep(1)
        assert [(await anext(subscription))["sequence"] for _ in range(2)] == [1, 2]
        for _ in range(2):
            with pytest.raises(ConnectionFailed, match=BROKE):
                await anext(subscription)
        with pytest.raises(ConnectionFailed, match=BROKE):
            await subscribe(connection)


@in_virtual_time
async def test_everyone_who_waits_learns_that_the_connection_broke_by_an_error_of_his_own() -> None:
    async with connected() as (network, connection):
        one, two = await subscribe(connection), await subscribe(connection)
        network.answer = nothing
        waiting = [
            asyncio.create_task(outcome(work))
            for work in (anext(one), anext(two), subscribe(connection), subscribe(connection))
        ]
        await asyncio.sleep(1)
        network.breaks()
        errors = await asyncio.gather(*waiting)
        assert {type(failure) for failure in errors} == {ConnectionFailed}
        assert len({id(failure) for failure in errors}) == 4


@in_virtual_time
async def test_what_nobody_understands_or_waits_for_is_passed_over() -> None:
    async with connected() as (network, connection):
        subscription, left = await subscribe(connection), await subscribe(connection)
        left.close()
        for message in (
            event(left),
            event("never"),
            {},
            {"type": 5},
            {"type": "data"},
            {"type": "data", "id": ["1"]},
            {"type": "data", "id": subscription.id},
            {"type": "data", "id": subscription.id, "payload": {"data": None, "errors": [{"message": "null"}]}},
            {"type": "data", "id": subscription.id, "payload": {"data": {"onTokenReceived": None}}},
            {"type": "data", "id": subscription.id, "payload": {"data": {"onTokenReceived": {"frame": None}}}},
            {"type": "start_ack", "id": "never"},
            {"type": "start_ack", "id": subscription.id},
            {"type": "complete", "id": "never"},
            {"type": "error", "id": "never"},
            {"type": "news", "id": subscription.id},
            event(subscription, 7),
        ):
            network.arrives(message)
        assert (await anext(subscription))["sequence"] == 7


@pytest.mark.parametrize("frame", ["{", "[]", '"text"', "null", 5, {"type": "token"}])
def test_what_is_no_frame_at_all_ends_every_stream_as_a_protocol_error(frame: Any) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            one, two = await subscribe(connection), await subscribe(connection)
            payload = {"data": {"onTokenReceived": {"frame": frame}}}
            network.arrives({"id": one.id, "type": "data", "payload": payload})
            for subscription in (one, two):
                with pytest.raises(ProtocolError):
                    await anext(subscription)
            assert not connection.has_room

    in_virtual_time(run)()


@pytest.mark.parametrize("text", ["", "{", "[]", '"ka"', "null"])
def test_what_is_no_message_at_all_ends_every_stream_as_a_protocol_error(text: str) -> None:
    async def run() -> None:
        async with connected() as (network, connection):
            subscription = await subscribe(connection)
            network.arrives_as(text)
            with pytest.raises(ProtocolError):
                await anext(subscription)

    in_virtual_time(run)()


@in_virtual_time
async def test_a_retired_connection_serves_its_streams_to_their_end_and_then_closes() -> None:
    async with connected() as (network, connection):
        one, two = await subscribe(connection), await subscribe(connection)
        one.distrust()
        assert not connection.has_room
        one.close()
        await asyncio.sleep(1)
        network.arrives(event(two))
        assert (await anext(two))["sequence"] == 1
        assert not network.closed
        two.close()
        await asyncio.sleep(1)
        assert network.closed


@in_virtual_time
async def test_a_connection_that_the_server_is_closing_is_not_used_any_more() -> None:
    async with connected() as (network, connection):
        assert connection.has_room
        network.state = State.CLOSING
        assert not connection.has_room


@in_virtual_time
async def test_closing_ends_every_stream_also_at_once() -> None:
    async with connected() as (_, connection):
        waiting = asyncio.create_task(outcome(subscribe(connection)))
        await asyncio.sleep(0)
        await connection.aclose()
        assert isinstance(await waiting, ConnectionFailed)
