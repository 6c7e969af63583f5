"""The edge's WebSocket front in the test's own process, before an emulator that does what the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from local.edge.cuts import Cuts
from local.edge.throttle import Throttle
from local.edge.websocket import WebSocketFront
from local.edge.websocket_clients import WebSocketClients
from local.edge.websocket_routes import WebSocketRoutes
from local.edge.websocket_session import ConnectionLimits
from local.edge.websocket_stage import WebSocketStage
from local.functions.invocation import InvocationError

CONNECTION_ID = "c0ffee"
LET_IN: dict[str, Any] = {"statusCode": 200}


@dataclass(frozen=True)
class Refusal:
    """What the emulator answers a handshake in place of an invocation of `$connect`."""

    status: int
    message: str


class ScriptedEmulator:
    """A WebSocket API as MiniStack serves it. `connect`: what `$connect` returns or raises, or the authorizer's no."""

    def __init__(self, connect: dict[str, Any] | InvocationError | Refusal) -> None:
        self.routes = WebSocketRoutes(self._function, lambda _line: None)
        self.requests: list[Request] = []
        self.opened: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.left = asyncio.Event()
        self._connect = connect

    async def _function(self, _name: str, _event: bytes, _request_id: str) -> bytes:
        assert not isinstance(self._connect, Refusal)
        if isinstance(self._connect, InvocationError):
            raise self._connect
        return json.dumps(self._connect).encode()

    async def shake_hands(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        waiting = asyncio.create_task(self.gate.wait())
        leaving = asyncio.create_task(connection.wait_closed())
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if leaving.done():
            self.left.set()
        leaving.cancel()
        if isinstance(self._connect, Refusal):
            return connection.respond(self._connect.status, json.dumps({"message": self._connect.message}))
        context = {"eventType": "CONNECT", "connectionId": CONNECTION_ID}
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        event = {"requestContext": context, "headers": headers, "multiValueHeaders": {}}
        try:
            answer = json.loads(await self.routes.invoke("connect", json.dumps(event).encode(), str(uuid4())))
        except InvocationError:
            answer = {"statusCode": 500}
        # MiniStack says 403 whatever it was.
        return None if answer["statusCode"] == 200 else connection.respond(403, "")

    async def hold(self, connection: ServerConnection) -> None:
        self.opened.put_nowait(connection)
        await connection.wait_closed()


class Setup:
    """A running front, and both ends of what is connected to it."""

    def __init__(
        self, front: WebSocketFront, url: str, emulator: ScriptedEmulator, cuts: Cuts, clients: WebSocketClients
    ) -> None:
        self.front = front
        self.clients = clients
        self.url = url
        self.emulator = emulator
        self.cuts = cuts
        self.log: list[str] = []

    @asynccontextmanager
    async def connected(
        self, *offers: str, query: str = "", **options: Any
    ) -> AsyncIterator[tuple[ClientConnection, ServerConnection]]:
        """Connect a client; gives it, and the emulator's end."""
        async with self.dial(*offers, query=query, **options) as client:
            async with asyncio.timeout(60):
                yield client, await self.emulator.opened.get()

    def dial(self, *offers: str, query: str = "", **options: Any) -> connect:
        subprotocols = [Subprotocol(offer) for offer in offers] or None
        # A client that waits long for the other end's part would hold the test up where that is what it tests.
        defaults: dict[str, Any] = {"ping_interval": None, "close_timeout": 1}
        return connect(self.url + query, subprotocols=subprotocols, proxy=None, **{**defaults, **options})

    async def cut(self, **order: Any) -> int:
        """Do what the control request does."""
        request = _ControlRequest({"path": "websocket", **order})
        response = await self.cuts.handle(request)  # type: ignore[arg-type]  # a fake
        assert response.text
        cut: int = json.loads(response.text)["cut"]
        return cut


class _ControlRequest:
    content_type = "application/json"

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order

    async def json(self) -> dict[str, Any]:
        return self._order


@asynccontextmanager
async def running_front(
    connect: dict[str, Any] | InvocationError | Refusal = LET_IN,
    *,
    throttle: Throttle | None = None,
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[Setup]:
    emulator = ScriptedEmulator(connect)
    async with serve(
        emulator.hold,
        "127.0.0.1",
        0,
        process_request=emulator.shake_hands,
        ping_interval=None,
        close_timeout=1,
        max_size=None,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        stage = WebSocketStage("dev", f"ws://127.0.0.1:{port}/_aws/execute-api/api123/dev", throttle)
        cuts = Cuts()
        log: list[str] = []
        clients = WebSocketClients()
        front = WebSocketFront(stage, emulator.routes, cuts, log.append, limits=limits, clients=clients)
        try:
            setup = Setup(front, await front.start(), emulator, cuts, clients)
            setup.log = log
            yield setup
        finally:
            emulator.gate.set()
            await front.close()


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def hear_to_the_end(connection: ClientConnection | ServerConnection) -> tuple[list[str | bytes], int]:
    """Receive until it closes; gives the messages and the closing code that came, 1006 for none."""
    messages: list[str | bytes] = []
    try:
        while True:
            messages.append(await connection.recv())
    except ConnectionClosed as closed:
        return messages, closed.rcvd.code if closed.rcvd else 1006
