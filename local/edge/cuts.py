"""Cuts clients' connections on request: what a train's tunnel does, for tests of resuming."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web
from aiohttp.web_request import BaseRequest

MOUNTS = ("url", "rest", "websocket", "appsync")


class _Cuttable(Protocol):
    def cut(self) -> None: ...


@dataclass(eq=False, slots=True)
class Connection:
    """A client's connection while a response streams over it. `budget`: body bytes after which it is cut."""

    request: BaseRequest
    budget: int | None = None
    _sent: int = field(default=0, init=False)

    def cut(self) -> None:
        """Send what is written so far and close, without the body's end: the client sees an incomplete response."""
        if self.request.transport:
            self.request.transport.close()

    def admit(self, chunk: bytes) -> tuple[bytes, bool]:
        """Give what of the chunk still goes out, and whether the connection is then to be cut."""
        if self.budget is None:
            return chunk, False
        admitted = chunk[: self.budget - self._sent]
        self._sent += len(admitted)
        return admitted, self._sent >= self.budget


@dataclass(eq=False, slots=True)
class SocketConnection:
    """A client's open WebSocket connection, `path` one of the mounts."""

    path: str
    transport: asyncio.Transport

    def cut(self) -> None:
        """Drop it with all that is under way, without a close frame."""
        self.transport.abort()


@dataclass(eq=False, slots=True)
class _MessageOrder:
    messages: int
    sent: Counter[SocketConnection] = field(default_factory=Counter)


class Cuts:
    """`POST /_control/cut` with `{"path": "url" | "rest" | "websocket" | "appsync"}`.

    With the path alone, every connection is cut that streams on it now, or is open on `websocket` or `appsync`.
    `"afterBytes": n` cuts the next response's, once so many bytes of its body are out; `"afterMessages": n` the first
    connection of `websocket` or `appsync` that has had so many more messages sent to it, right behind them. Of several
    such orders one waits for the other. Answers `{"cut": how many were cut at once}`. Functions aren't told, as on AWS,
    but by `$disconnect`.
    """

    def __init__(self) -> None:
        self._open: defaultdict[str, set[_Cuttable]] = defaultdict(set)
        self._orders: defaultdict[str, list[int]] = defaultdict(list)
        self._message_orders: defaultdict[str, list[_MessageOrder]] = defaultdict(list)

    @contextmanager
    def connection(self, mount: str, request: BaseRequest) -> Iterator[Connection]:
        """Register a response for as long as it streams; it takes the oldest order that waits."""
        orders = self._orders[mount]
        connection = Connection(request, orders.pop(0) if orders else None)
        with self._registered(mount, connection):
            yield connection

    @contextmanager
    def socket(self, transport: asyncio.Transport, path: str = "websocket") -> Iterator[SocketConnection]:
        """Register a WebSocket connection for as long as it is open."""
        connection = SocketConnection(path, transport)
        with self._registered(path, connection):
            yield connection

    def message_sent(self, connection: SocketConnection) -> None:
        """Count a message that was sent to a client; cut its connection when it is the last one of an order."""
        # Until a cut has taken effect, messages are still written, and go nowhere.
        orders = self._message_orders[connection.path]
        if not orders or connection.transport.is_closing():
            return
        orders[0].sent[connection] += 1
        if orders[0].sent[connection] >= orders[0].messages:
            orders.pop(0)
            # Unlike `cut`, it lets go out what is written.
            connection.transport.close()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer the control request."""
        try:
            # A page in a browser can't send this type to another origin without asking first.
            order = await request.json() if request.content_type == "application/json" else None
        except ValueError:
            order = None
        match order:
            case {"path": ("url" | "rest") as path, "afterBytes": int(count), **rest} if count >= 0 and not rest:
                self._orders[path].append(count)
                return web.json_response({"cut": 0})
            case {"path": ("websocket" | "appsync") as path, "afterMessages": int(count), **rest} if (
                count > 0 and not rest
            ):
                self._message_orders[path].append(_MessageOrder(count))
                return web.json_response({"cut": 0})
            case {"path": ("url" | "rest" | "websocket" | "appsync") as path, **rest} if not rest:
                connections = list(self._open[path])
                for connection in connections:
                    connection.cut()
                return web.json_response({"cut": len(connections)})
        message = f"expected path ({' or '.join(MOUNTS)}), afterBytes (url, rest) or afterMessages (websocket, appsync)"
        return web.json_response({"message": message}, status=400)

    def streaming(self) -> Counter[str]:
        """How many responses stream, and how many WebSocket connections are open."""
        return Counter({mount: len(self._open[mount]) for mount in MOUNTS})

    @contextmanager
    def _registered(self, mount: str, connection: _Cuttable) -> Iterator[None]:
        self._open[mount].add(connection)
        try:
            yield
        finally:
            self._open[mount].discard(connection)
