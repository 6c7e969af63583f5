"""The addresses at which functions reach clients: what passes, and what is broken on request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
from aiohttp import web

from local.edge.direct_faults import DirectFaults, DirectPath
from local.edge.direct_ways import DirectWays
from local.edge.rest import RestApi
from local.edge.server import Edge
from local.edge.url import FunctionUrl
from local.edge.websocket_clients import Posted, WebSocketClients
from local.edge.websocket_session import MESSAGE_BYTES
from tests.fakes.connections_api import STAGE, ConnectionsApi, connections_api
from tests.fakes.frames import Attempt
from tests.local.appsync_fakes import KEYS, REGION, SESSION, USER, Script, published, running_appsync
from tests.local.edge_fakes import URL_CONFIG, FakeLambdaService, begin, rest_stage
from tokenstream.post_to_connection import PostToConnection
from tokenstream.publish_token import PublishToken
from tokenstream.signing import SignedConnection
from tokenstream.sinks import ClientGone, DeliveryFailed, Refused

SENDERS: dict[DirectPath, set[str]] = {"websocket": {"ws_stream", "deliver"}, "appsync": {"appsync_process", "deliver"}}
ENVIRONMENT = {"WEBSOCKET_ENDPOINT": "https://on.aws/dev", "GRAPHQL_ENDPOINT": "https://on.aws/graphql"}
CONNECTION = "Ab+/c="
MESSAGE = '{"type": "token", "token": "🌊"}'.encode()


class Ways:
    """Running direct ways, called by the layer's own clients, and the edge at which they are broken."""

    def __init__(
        self,
        ways: DirectWays,
        edge: str,
        clients: WebSocketClients,
        connections: ConnectionsApi,
        http: httpx.AsyncClient,
    ) -> None:
        self.ways = ways
        self.clients = clients
        self.connections = connections
        self.http = http
        self.control = f"{edge}/_control/faults"

    async def post(self, function: str = "ws_stream", *, message: bytes = MESSAGE, silence: float = 60) -> None:
        """Send a message to a connection, once; `silence` is how long it waits for the answer."""
        endpoint = self.ways.variables(function, ENVIRONMENT)["AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"]
        connect = _connected(endpoint, "execute-api", silence)
        post = PostToConnection(connect, endpoint, clock=monotonic, wait=sleep)
        try:
            await asyncio.to_thread(partial(post, CONNECTION, message, patient=False))
        finally:
            post.close()

    async def publish(self, function: str = "appsync_process") -> None:
        """Publish a token, once."""
        endpoint = self.ways.variables(function, ENVIRONMENT)["GRAPHQL_ENDPOINT"]
        publish = PublishToken(_connected(endpoint, "appsync", 60), endpoint, clock=monotonic, wait=sleep)
        try:
            await asyncio.to_thread(partial(publish, USER, Attempt(SESSION).token("Hi"), patient=False))
        finally:
            publish.close()

    async def order(self, **order: Any) -> dict[str, Any]:
        document: dict[str, Any] = (await self.http.post(self.control, json=order)).raise_for_status().json()
        return document

    async def calls(self, path: str, function: str) -> tuple[int, int]:
        calls = (await self.http.get(self.control)).json()["calls"][path][function]
        return calls["made"], calls["failed"]


def _connected(endpoint: str, service: str, silence: float) -> Callable[[], SignedConnection]:
    return lambda: SignedConnection(endpoint, service, REGION, KEYS, read_timeout=silence)


async def _no_appsync(_request: web.Request) -> web.Response:
    return web.Response(status=501)


@asynccontextmanager
async def running_ways(
    publish: Callable[[web.Request], Awaitable[web.StreamResponse]] = _no_appsync,
) -> AsyncIterator[Ways]:
    """Run them before a fake of `@connections`; `publish` is AppSync's front."""
    faults = DirectFaults(SENDERS)
    service = FakeLambdaService(begin)
    edge = Edge(lambda _line: None, faults)
    try:
        url, rest = FunctionUrl(service, "fn", URL_CONFIG, edge.cuts), RestApi(service, rest_stage(), edge.cuts)
        address = await edge.start(url, rest)
        with connections_api() as connections:
            clients = WebSocketClients()
            ways = DirectWays(STAGE.strip("/"), connections.url, clients, publish, faults)
            await ways.start()
            try:
                async with httpx.AsyncClient(timeout=60) as http:
                    yield Ways(ways, address, clients, connections, http)
            finally:
                await ways.close()
    finally:
        await edge.close()


class FakeClient:
    """A client of the edge's own WebSocket front."""

    def __init__(self, outcome: Posted = Posted.SENT) -> None:
        self.received: list[bytes] = []
        self._outcome = outcome

    async def post(self, message: bytes) -> Posted:
        if self._outcome is Posted.SENT:
            self.received.append(message)
        return self._outcome


def _answer(document: dict[str, Any]) -> tuple[int, Any]:
    """Resolve the layer's own mutation."""
    variables = document["variables"]
    return 200, {"data": {"publishToken": published(session=variables["sessionId"], text=variables["token"])}}


@asynccontextmanager
async def running_with_appsync(tmp_path: Path, script: Script = _answer) -> AsyncIterator[tuple[Ways, Any]]:
    async with running_appsync(tmp_path, script) as appsync, running_ways(appsync.front.post) as ways:
        yield ways, appsync


# -- what passes


async def test_a_message_reaches_its_own_connection_byte_for_byte() -> None:
    async with running_ways() as ways:
        await ways.post()
        assert ways.connections.raw(CONNECTION) == [MESSAGE]
        [received] = ways.connections.endpoint.requests
        # Encoded once more, or once less, the id would be another connection's.
        assert received.target == f"{STAGE}/@connections/Ab%2B%2Fc%3D"
        assert received.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")


async def test_a_message_to_a_client_of_the_edge_goes_no_other_way() -> None:
    async with running_ways() as ways:
        client = FakeClient()
        with ways.clients.connected(CONNECTION, client):
            await ways.post()
        assert (client.received, ways.connections.connections()) == ([MESSAGE], [])
        await ways.post()
        assert (client.received, ways.connections.raw(CONNECTION)) == ([MESSAGE], [MESSAGE])


async def test_a_function_is_told_that_its_client_is_gone() -> None:
    async with running_ways() as ways:
        ways.connections.close(CONNECTION)
        with pytest.raises(ClientGone):
            await ways.post()
        with ways.clients.connected(CONNECTION, FakeClient(Posted.GONE)), pytest.raises(ClientGone):
            await ways.post()


async def test_a_function_is_told_that_its_client_does_not_read_and_of_a_message_too_large() -> None:
    async with running_ways() as ways:
        with ways.clients.connected(CONNECTION, FakeClient(Posted.FULL)):
            with pytest.raises(DeliveryFailed, match="status 429"):
                await ways.post()
            with pytest.raises(Refused, match="status 413"):
                await ways.post(message=bytes(MESSAGE_BYTES + 1))


async def test_a_page_of_another_host_stays_recognizable_behind_the_edge() -> None:
    client = FakeClient()
    async with running_ways() as ways:
        address = ways.ways.variables("deliver", ENVIRONMENT)["AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"]
        with ways.clients.connected("x", client):
            await ways.http.post(f"{address}/@connections/x", content=b"hi", headers={"Origin": "https://evil.example"})
        assert ways.connections.endpoint.requests[0].headers["origin"] == "https://evil.example"
        assert client.received == []


async def test_what_a_function_publishes_under_its_own_address_reaches_the_subscriber(tmp_path: Path) -> None:
    async with running_with_appsync(tmp_path) as (ways, appsync), appsync.connected() as client:
        await client.subscribed()
        await ways.publish()
        assert [event["token"] for event in await client.events(1)] == ["Hi"]


async def test_the_address_of_a_function_is_no_way_round_the_signature(tmp_path: Path) -> None:
    async with running_with_appsync(tmp_path) as (ways, appsync):
        address = ways.ways.variables("deliver", ENVIRONMENT)["GRAPHQL_ENDPOINT"]
        forged = "AWS4-HMAC-SHA256 Credential=test/20261121/us-east-1/appsync/aws4_request"
        for headers in ({}, {"Authorization": forged}):
            response = await ways.http.post(address, json={"query": "{ x }"}, headers=headers)
            assert response.status_code in {401, 403}
        assert appsync.backend.requests == []


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WEBSOCKET_ENDPOINT": "https://x/dev"}, {"AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"}),
        ({"GRAPHQL_ENDPOINT": "https://x/graphql"}, {"GRAPHQL_ENDPOINT"}),
        ({"DIRECT_SEND": "false"}, set()),
    ],
)
async def test_a_function_that_the_template_gives_no_direct_way_gets_none(
    environment: dict[str, str], named: set[str]
) -> None:
    async with running_ways() as ways:
        assert ways.ways.variables("deliver", environment).keys() == named


# -- what is broken


@pytest.mark.parametrize(
    ("fault", "failure", "refused"),
    [("error", "status 500", False), ("throttle", "status 429", False), ("refuse", "status 403", True)],
)
async def test_a_broken_way_fails_as_the_service_would_and_nothing_arrives(
    tmp_path: Path, fault: str, failure: str, refused: bool
) -> None:
    async with running_with_appsync(tmp_path) as (ways, appsync):
        for path, send in (("websocket", ways.post), ("appsync", ways.publish)):
            await ways.order(path=path, fault=fault)
            with pytest.raises(DeliveryFailed, match=failure) as failed:
                await send()
            assert isinstance(failed.value, Refused) is refused
        assert ways.connections.connections() == []
        assert appsync.backend.requests == []


@pytest.mark.parametrize(
    ("fault", "connections", "appsync"),
    [
        ("error", "InternalServerErrorException", "InternalFailure"),
        ("throttle", "LimitExceededException", "ThrottlingException"),
        ("refuse", "ForbiddenException", "AccessDeniedException"),
    ],
)
async def test_a_failure_has_the_services_own_type(fault: str, connections: str, appsync: str) -> None:
    async with running_ways() as ways:
        for path in ("websocket", "appsync"):
            await ways.order(path=path, fault=fault)
        addresses = ways.ways.variables("deliver", ENVIRONMENT)
        stage, graphql = addresses["AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"], addresses["GRAPHQL_ENDPOINT"]
        post = await ways.http.post(f"{stage}/@connections/x", content=b"hi")
        assert post.headers["x-amzn-ErrorType"] == connections
        publish = await ways.http.post(graphql, json={})
        assert publish.headers["x-amzn-ErrorType"] == appsync
        assert [error["errorType"] for error in publish.json()["errors"]] == [appsync]


async def test_a_silent_way_says_nothing_until_the_caller_gives_up() -> None:
    async with running_ways() as ways:
        await ways.order(path="websocket", fault="timeout")
        with pytest.raises(DeliveryFailed, match="timed out"):
            await ways.post(silence=0.1)
        await ways.order(path="websocket", fault=None)
        await ways.post()
        assert ways.connections.raw(CONNECTION) == [MESSAGE]
        assert await ways.calls("websocket", "ws_stream") == (2, 1)


async def test_a_way_broken_for_one_function_serves_the_others() -> None:
    async with running_ways() as ways:
        await ways.order(path="websocket", fault="error", function="ws_stream")
        with pytest.raises(DeliveryFailed):
            await ways.post("ws_stream")
        await ways.post("deliver")
        assert [await ways.calls("websocket", name) for name in ("ws_stream", "deliver")] == [(1, 1), (1, 0)]


async def test_a_way_breaks_at_an_exact_call_and_heals_at_another() -> None:
    async with running_ways() as ways:
        await ways.order(path="websocket", fault="error", after=2, count=1)
        await ways.post()
        await ways.post()
        with pytest.raises(DeliveryFailed):
            await ways.post()
        await ways.post()
        assert await ways.order(path="websocket") == {
            "faults": [],
            "calls": {
                "websocket": {"deliver": {"made": 0, "failed": 0}, "ws_stream": {"made": 4, "failed": 1}},
                "appsync": {"appsync_process": {"made": 0, "failed": 0}, "deliver": {"made": 0, "failed": 0}},
            },
        }


async def test_what_is_broken_is_told_with_what_is_left_of_it() -> None:
    async with running_ways() as ways:
        await ways.order(path="websocket", fault="throttle", after=1, count=3)
        await ways.post()
        with pytest.raises(DeliveryFailed):
            await ways.post()
        shown = await ways.order(path="appsync", fault="refuse", function="deliver")
        assert shown["faults"] == [
            {"path": "websocket", "function": None, "fault": "throttle", "after": 0, "count": 2},
            {"path": "appsync", "function": "deliver", "fault": "refuse", "after": 0, "count": None},
        ]


def test_healing_a_path_heals_it_for_every_function_and_no_other_path() -> None:
    faults = DirectFaults(SENDERS)
    everything = [("websocket", None), ("websocket", "ws_stream"), ("websocket", "deliver"), ("appsync", "deliver")]

    def broken_after(**order: Any) -> list[tuple[str, str | None]]:
        for path, function in everything:
            faults.take({"path": path, "function": function, "fault": "error"})
        faults.take(order)
        return [(fault["path"], fault["function"]) for fault in faults.to_json()["faults"]]

    assert broken_after(path="websocket", function="deliver", fault=None) == [everything[i] for i in (0, 1, 3)]
    assert broken_after(path="websocket") == [("appsync", "deliver")]


@pytest.mark.parametrize(
    ("order", "named"),
    [
        ({"fault": "error"}, "expected path"),
        ({"path": "url", "fault": "error"}, "expected path"),
        ({"path": "websocket", "fault": "error", "times": 3}, "expected path"),
        ([], "expected path"),
        ({"path": "websocket", "fault": "broken"}, "fault is none of error, timeout, throttle, refuse"),
        ({"path": "websocket", "fault": 500}, "fault is none of"),
        ({"path": "websocket", "fault": "error", "count": 0}, "count is"),
        ({"path": "websocket", "fault": "error", "count": True}, "count is"),
        ({"path": "websocket", "fault": "error", "after": -1}, "after is"),
        ({"path": "websocket", "fault": "error", "after": "1"}, "after is"),
        ({"path": "websocket", "count": 1}, "after and count are of a fault"),
        # It would wait for a call that never comes.
        ({"path": "websocket", "fault": "error", "function": "appsync_process"}, "deliver, ws_stream"),
        ({"path": "websocket", "fault": "error", "function": ["deliver"]}, "deliver, ws_stream"),
    ],
)
async def test_an_order_that_would_do_something_else_is_refused(order: Any, named: str) -> None:
    async with running_ways() as ways:
        response = await ways.http.post(ways.control, json=order)
        assert response.status_code == 400
        assert named in response.json()["message"]
        await ways.post()


async def test_a_web_page_cannot_break_anything() -> None:
    async with running_ways() as ways:
        order = '{"path": "websocket", "fault": "error"}'
        response = await ways.http.post(ways.control, content=order, headers={"Content-Type": "text/plain"})
        assert response.status_code == 400
        await ways.post()
