"""An AppSync API that a test scripts: the project's schema, the real-time protocol to the letter, events on request.

Sources: AppSync developer guide, "Building a real-time WebSocket client"; graphql/schema.graphql.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    get_argument_values,
    get_variable_values,
    parse,
    validate,
)
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

SUBSCRIPTION_LIMIT = 100
_SCHEMA = Path(__file__).parents[3] / "graphql" / "schema.graphql"
_PRELUDE = """
scalar AWSJSON
scalar AWSDateTime
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
directive @aws_cognito_user_pools on FIELD_DEFINITION | OBJECT
directive @aws_iam on FIELD_DEFINITION | OBJECT
"""


@cache
def schema() -> GraphQLSchema:
    return build_schema(_PRELUDE + _SCHEMA.read_text())


class Operation:
    """A GraphQL request for one field; one that doesn't fit the schema is a fault of the client's."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        assert set(request) == {"query", "variables"}
        self.variables: dict[str, Any] = request["variables"]
        self._document: DocumentNode = parse(request["query"])
        assert validate(schema(), self._document) == []
        [node] = self._document.definitions
        assert isinstance(node, OperationDefinitionNode)
        [root] = node.selection_set.selections
        assert isinstance(root, FieldNode)
        values = get_variable_values(schema(), node.variable_definitions or (), self.variables)
        assert not isinstance(values, list), values
        type_ = schema().get_root_type(node.operation)
        assert type_ is not None
        self.field = root.name.value
        self.arguments = get_argument_values(type_.fields[self.field], root, values)

    def data(self, value: Mapping[str, Any]) -> Any:
        """Give of a value what was asked for."""
        result = execute_sync(schema(), self._document, {self.field: value}, variable_values=self.variables)
        assert not result.errors, result.errors
        return result.data


@dataclass
class Subscriber:
    connection: ServerConnection
    id: str
    operation: Operation

    @property
    def session_id(self) -> str:
        session_id: str = self.operation.arguments["sessionId"]
        return session_id


Reply = Callable[[ServerConnection, str], Awaitable[None]]


@dataclass
class Realtime:
    """The real-time endpoint. `host` is the one that has to be signed, `tokens` let clients in.

    `replies` take the place of the answers to what subscribes next, `welcomes` to those who connect next. Frames whose
    sequence is in `lost` reach nobody. `handshakes` are statuses in the place of 101.
    """

    tokens: set[str]
    on_subscribed: Callable[[str], None]
    host: str = ""
    keep_alive_ms: int = 300_000
    handshakes: deque[int] = field(default_factory=deque)
    welcomes: deque[Mapping[str, Any]] = field(default_factory=deque)
    replies: deque[Reply] = field(default_factory=deque)
    lost: set[int] = field(default_factory=set)
    connections: list[ServerConnection] = field(default_factory=list)
    subscribers: list[Subscriber] = field(default_factory=list)
    tokens_seen: list[str] = field(default_factory=list)
    _left: dict[ServerConnection, int] = field(default_factory=dict)

    def cut_after(self, session_id: str, count: int) -> None:
        """Break the connections of a session's subscribers after so many bytes more."""
        for subscriber in self.subscribers:
            if subscriber.session_id == session_id:
                self._left[subscriber.connection] = count

    async def publish(self, frame: Mapping[str, Any]) -> None:
        """Tell a frame to its subscribers, in the order in which they came."""
        if frame["sequence"] in self.lost:
            return
        event = {
            **{name: frame[name] for name in ("sessionId", "attempt", "sequence", "type")},
            "owner": "alice",
            "token": frame.get("token"),
            "isComplete": frame["type"] in {"complete", "error"},
            "frame": json.dumps(frame, ensure_ascii=False),
            "timestamp": "2026-11-20T12:00:00.000Z",
        }
        for subscriber in list(self.subscribers):
            if subscriber.session_id == frame["sessionId"]:
                payload = {"data": subscriber.operation.data(event)}
                await self.send(subscriber.connection, {"id": subscriber.id, "type": "data", "payload": payload})

    async def send(self, connection: ServerConnection, message: object) -> None:
        text = json.dumps(message, ensure_ascii=False)
        if (left := self._left.get(connection)) is not None:
            frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
            self._left[connection] = left - len(frame)
            if len(frame) > left:
                if left >= 0 and connection.state is State.OPEN:
                    connection.transport.write(frame[:left])
                    connection.transport.close()
                return
        with suppress(ConnectionClosed):
            await connection.send(text)

    def admit(self, connection: ServerConnection, _request: Request) -> Response | None:
        return connection.respond(self.handshakes.popleft(), "") if self.handshakes else None

    async def hold(self, connection: ServerConnection) -> None:
        """Serve a client until it leaves; raises `AssertionError` when it breaks the protocol."""
        self.connections.append(connection)
        assert connection.request is not None
        protocol, _, header = connection.request.headers["Sec-WebSocket-Protocol"].partition(", ")
        assert protocol == "graphql-ws"
        assert header.startswith("header-")
        encoded = header.removeprefix("header-")
        assert not set(encoded) & set("=+/")
        headers = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        assert json.loads(await connection.recv()) == {"type": "connection_init"}
        if not self._authorized(headers):
            reason = {"errorType": "UnauthorizedException", "errorCode": 401, "message": "Not for you."}
            await self.send(connection, {"type": "connection_error", "payload": {"errors": [reason]}})
            return
        if self.welcomes:
            await self.send(connection, self.welcomes.popleft())
        acknowledgement = {"type": "connection_ack", "payload": {"connectionTimeoutMs": self.keep_alive_ms}}
        await self.send(connection, acknowledgement)
        await self.send(connection, {"type": "ka"})
        used: set[str] = set()
        try:
            async for text in connection:
                message = json.loads(text)
                match message["type"]:
                    case "start":
                        assert message["id"] not in used
                        used.add(message["id"])
                        await self._start(connection, message)
                    case "stop":
                        assert message == {"type": "stop", "id": message["id"]}
                        await self._stop(connection, message["id"])
                    case kind:
                        raise AssertionError(f"no message of AppSync's: {kind}")
        except ConnectionClosed:
            pass
        finally:
            self.subscribers = [subscriber for subscriber in self.subscribers if subscriber.connection != connection]

    async def _start(self, connection: ServerConnection, message: Mapping[str, Any]) -> None:
        assert set(message) == {"type", "id", "payload"}
        assert set(message["payload"]) == {"data", "extensions"}
        subscriber = Subscriber(connection, message["id"], Operation(json.loads(message["payload"]["data"])))
        assert subscriber.operation.field == "onTokenReceived"
        headers = message["payload"]["extensions"]["authorization"]
        authorized = self._authorized(headers)
        if self.replies:
            return await self.replies.popleft()(connection, subscriber.id)
        if not authorized:
            return await refuse(self, "UnauthorizedException", "Token has expired.")(connection, subscriber.id)
        own = [other for other in self.subscribers if other.connection == connection]
        assert len(own) < SUBSCRIPTION_LIMIT
        self.subscribers.append(subscriber)
        self.on_subscribed(subscriber.session_id)
        return await self.send(connection, {"id": subscriber.id, "type": "start_ack"})

    async def _stop(self, connection: ServerConnection, id_: str) -> None:
        stopped = [other for other in self.subscribers if (other.connection, other.id) == (connection, id_)]
        if not stopped:
            return await refuse(self, "UnknownOperationError", f"Unknown operation id {id_}")(connection, id_)
        self.subscribers.remove(stopped[0])
        return await self.send(connection, {"id": id_, "type": "complete"})

    def _authorized(self, headers: Mapping[str, str]) -> bool:
        assert set(headers) == {"host", "Authorization"}
        assert headers["host"] == self.host
        self.tokens_seen.append(headers["Authorization"])
        return headers["Authorization"] in self.tokens


def refuse(realtime: Realtime, type_: str, message: str) -> Reply:
    """Answer a subscription with an error."""

    async def reply(connection: ServerConnection, id_: str) -> None:
        payload = {"errors": [{"errorType": type_, "message": message}]}
        await realtime.send(connection, {"id": id_, "type": "error", "payload": payload})

    return reply


@contextmanager
def serving(loop: asyncio.AbstractEventLoop, realtime: Realtime) -> Iterator[str]:
    """Serve until the block is left; gives the address. What a client did wrong is raised at the end."""
    failures: list[Exception] = []

    async def hold(connection: ServerConnection) -> None:
        try:
            await realtime.hold(connection)
        except ConnectionClosed:
            pass
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test shall see it
            failures.append(failure)

    async def start() -> Server:
        return await serve(
            hold,
            "127.0.0.1",
            0,
            process_request=realtime.admit,
            subprotocols=[Subprotocol("graphql-ws")],
            compression=None,
            ping_interval=None,
            close_timeout=0.5,
        )

    async def stop(server: Server) -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/graphql"
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
    if failures:
        raise failures[0]
