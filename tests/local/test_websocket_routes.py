"""What becomes of a WebSocket route's invocation between the emulator and the function."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from local.edge.websocket_routes import HANDSHAKE_HEADER, WebSocketRoutes
from local.functions.invocation import FunctionFailed, FunctionTimedOut, InvocationError

Answer = Callable[[], Any]
REQUEST_ID = "5c3e7a0e-2f1b-4d7c-9a55-3c3f0a1b2c3d"
FAILURE = FunctionFailed("ValueError", "a detail that is nobody's business")


class Function:
    """Keeps its events; returns or raises what `answer` gives, or hangs without one."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.events: list[Any] = []
        self._answer = answer

    async def __call__(self, name: str, event: bytes, request_id: str) -> bytes:
        assert (name, request_id) == ("function", REQUEST_ID)
        self.events.append(json.loads(event))
        if self._answer is None:
            await asyncio.Event().wait()
            raise AssertionError
        answer = self._answer()
        if isinstance(answer, Exception):
            raise answer
        return json.dumps(answer).encode()


def unexpected(line: str) -> None:
    raise AssertionError(line)


async def call(routes: WebSocketRoutes, event: Any) -> Any:
    return json.loads(await routes.invoke("function", json.dumps(event).encode(), REQUEST_ID))


def message(body: str = "hello") -> dict[str, Any]:
    return {"requestContext": {"eventType": "MESSAGE", "connectionId": "c1", "requestId": "r1"}, "body": body}


def connect(key: str, **more: Any) -> dict[str, Any]:
    return {
        "requestContext": {"eventType": "CONNECT", "connectionId": "c1"},
        "headers": {"host": "h", HANDSHAKE_HEADER: key},
        "multiValueHeaders": {"host": ["h"], HANDSHAKE_HEADER: [key]},
        **more,
    }


async def test_what_a_route_returns_is_not_sent_to_the_client_as_it_is_not_on_aws() -> None:
    function = Function(lambda: {"statusCode": 200, "body": "not for the client"})
    assert await call(WebSocketRoutes(function, unexpected), message()) == {"statusCode": 200}
    assert function.events == [message()]


@pytest.mark.parametrize(
    "answer",
    [lambda: FAILURE, lambda: None, lambda: {"no": "status"}, lambda: FunctionTimedOut("20 s")],
    ids=["failure", "nothing", "malformed", "time-out"],
)
async def test_a_route_that_fails_tells_the_client_no_more_than_that(answer: Answer) -> None:
    sent = (await call(WebSocketRoutes(Function(answer), lambda _line: None), message()))["body"]
    assert json.loads(sent) == {"message": "Internal server error", "connectionId": "c1", "requestId": "r1"}


async def test_a_route_that_takes_longer_than_api_gateway_waits_is_given_up() -> None:
    warnings: list[str] = []
    routes = WebSocketRoutes(Function(), warnings.append, timeout=0.01)
    sent = (await call(routes, message()))["body"]
    assert json.loads(sent)["message"] == "Endpoint request timed out"
    with routes.handshake() as handshake, pytest.raises(InvocationError):
        await call(routes, connect(handshake.key))
    assert handshake.status == 504
    assert warnings == ["function takes longer than the 0 s that API Gateway waits for a route"] * 2


@pytest.mark.parametrize("answer", [None, "text", {"statusCode": "200"}])
async def test_whoever_forgets_the_status_is_told_so(answer: object) -> None:
    warnings: list[str] = []
    await call(WebSocketRoutes(Function(lambda: answer), warnings.append), message())
    assert warnings == ["function returned no statusCode, which is an internal server error to the client"]


async def test_the_edge_learns_what_connect_answered_and_the_function_of_no_edge() -> None:
    function = Function(lambda: {"statusCode": 200, "headers": {"sec-websocket-PROTOCOL": "tokenstream"}})
    routes = WebSocketRoutes(function, unexpected)
    with routes.handshake() as other, routes.handshake() as handshake:
        await call(routes, connect(handshake.key))
        assert (handshake.connection_id, handshake.status, handshake.subprotocol) == ("c1", 200, "tokenstream")
        assert other.status is None
    [event] = function.events
    assert event["headers"] == {"host": "h"}
    assert event["multiValueHeaders"] == {"host": ["h"]}


async def test_the_authorizers_answer_stays_its_own() -> None:
    function = Function(lambda: {"policyDocument": {}})
    routes = WebSocketRoutes(function, unexpected)
    with routes.handshake() as handshake:
        assert await call(routes, connect(handshake.key, type="REQUEST")) == {"policyDocument": {}}
        assert (handshake.connection_id, handshake.status) == ("c1", None)
    assert HANDSHAKE_HEADER not in function.events[0]["headers"]


async def test_a_connection_past_the_edge_and_a_forgotten_handshake_do_no_harm() -> None:
    routes = WebSocketRoutes(Function(lambda: {"statusCode": 200}), unexpected)
    assert await call(routes, connect("unknown")) == {"statusCode": 200}
    direct = connect("")
    del direct["headers"][HANDSHAKE_HEADER], direct["multiValueHeaders"][HANDSHAKE_HEADER]
    assert await call(routes, direct) == {"statusCode": 200}


async def test_disconnect_is_told_how_the_client_closed() -> None:
    function = Function(lambda: {"statusCode": 200})
    routes = WebSocketRoutes(function, unexpected)
    routes.closing("c1", 1001)
    event = {"requestContext": {"eventType": "DISCONNECT", "connectionId": "c1", "disconnectStatusCode": 1006}}
    await call(routes, event)
    await call(routes, event)
    assert [event["requestContext"]["disconnectStatusCode"] for event in function.events] == [1001, 1006]


@pytest.mark.parametrize("event", [{"sessionId": "s"}, {"requestContext": {"condition": "RetriesExhausted"}}, [1], "x"])
async def test_events_of_no_route_pass_as_they_are(event: Any) -> None:
    function = Function(lambda: {"any": "result"})
    assert await call(WebSocketRoutes(function, unexpected), event) == {"any": "result"}
    assert function.events == [event]
