"""The WebSocket API's front: what a client connects to, `ws://127.0.0.1:PORT/<stage>`.

It takes the handshake and holds API Gateway's limits; routes, authorizer and `@connections` are the emulator's, to
whose own WebSocket API it passes everything on. Text only, no compression, no pings of its own: as API Gateway.
Any page may connect, whatever its origin, as on AWS: it is the token that lets a client in.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import MultipleValuesError
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.http11 import Request, Response

from local.cloud.guarded_ministack import is_loopback
from local.edge.cuts import Cuts
from local.edge.throttle import TokenBucket
from local.edge.websocket_clients import WebSocketClients
from local.edge.websocket_refusals import RefusedError, refused, refused_by_emulator
from local.edge.websocket_routes import HANDSHAKE_HEADER, Handshake, WebSocketRoutes
from local.edge.websocket_session import (
    BUFFER_BYTES,
    CLOSE_SECONDS,
    FRAME_BYTES,
    MESSAGE_BYTES,
    ConnectionLimits,
    WebSocketSession,
)
from local.edge.websocket_stage import WebSocketStage
from local.loopback import HOST

# Authorizer and `$connect`, each with the start of its function.
_OPEN_SECONDS = 120.0
# The connection to the emulator has its own of these. Its guard lets no page of another host in.
_NOT_PASSED_ON = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "origin",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
        HANDSHAKE_HEADER,
    }
)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection that is let in: the emulator's end, and what `$connect` said of it."""

    emulator: ClientConnection
    handshake: Handshake


class WebSocketFront:
    """The server; it can be started once. `log` takes a line when a connection is refused, is opened, and closes.

    `clients` are told of who is connected.
    """

    def __init__(
        self,
        stage: WebSocketStage,
        routes: WebSocketRoutes,
        cuts: Cuts,
        log: Callable[[str], None],
        *,
        limits: ConnectionLimits | None = None,
        clients: WebSocketClients | None = None,
    ) -> None:
        self._stage = stage
        self._routes = routes
        self._cuts = cuts
        self._log = log
        self._limits = limits or ConnectionLimits()
        self._connected = clients or WebSocketClients()
        self._throttle = TokenBucket(stage.throttle) if stage.throttle else None
        self._server: Server | None = None
        self._clients: set[ServerConnection] = set()
        self._followers: set[asyncio.Task[None]] = set()
        self._opened: dict[ServerConnection, _Opened] = {}

    async def start(self, port: int = 0) -> str:
        """Listen on this port, or a free one; returns the address to connect to."""
        self._server = await serve(
            self._serve,
            HOST,
            port,
            compression=None,
            process_request=self._check,
            process_response=self._open,
            server_header=None,
            open_timeout=_OPEN_SECONDS,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            max_size=(MESSAGE_BYTES, FRAME_BYTES),
            # So that what is posted within the one limit doesn't wait for the other.
            write_limit=BUFFER_BYTES + MESSAGE_BYTES,
            create_connection=self._make_client,  # type: ignore[arg-type]  # it may be a function as well
        )
        return f"ws://{HOST}:{self._server.sockets[0].getsockname()[1]}/{self._stage.name}"

    async def close(self) -> None:
        """Close every connection, as going away, and stop listening."""
        if not self._server:
            return
        self._server.close()
        try:
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self._server.wait_closed()
        except TimeoutError:
            # A client that doesn't read takes no close frame, and one that never said a word isn't sent any.
            for client in list(self._clients):
                client.transport.abort()
            await self._server.wait_closed()
        for follower in list(self._followers):
            follower.cancel()

    def _make_client(self, *arguments: Any, **options: Any) -> ServerConnection:
        client = ServerConnection(*arguments, **options)
        self._clients.add(client)
        follower = asyncio.create_task(self._follow(client))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return client

    def _check(self, client: ServerConnection, request: Request) -> Response | None:
        """Look at the request before its handshake."""
        if not _names_this_machine(request):
            return client.respond(HTTPStatus.FORBIDDEN, "Only under a name of this machine: 127.0.0.1 or localhost.\n")
        if request.path.partition("?")[0].rstrip("/") != f"/{self._stage.name}":
            return self._refusal(client, refused(HTTPStatus.FORBIDDEN))
        return None

    async def _open(self, client: ServerConnection, request: Request, response: Response) -> Response | None:
        """Answer a handshake that is in order: the emulator decides, its authorizer and its `$connect`."""
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        try:
            opened = await self._connect(client, request)
        except RefusedError as error:
            return self._refusal(client, error)
        self._opened[client] = opened
        if opened.handshake.subprotocol:
            response.headers["Sec-WebSocket-Protocol"] = opened.handshake.subprotocol
        return None

    async def _connect(self, client: ServerConnection, request: Request) -> _Opened:
        if self._throttled():
            raise refused(HTTPStatus.TOO_MANY_REQUESTS)
        with self._routes.handshake() as handshake:
            dialling = asyncio.create_task(self._dial(request, handshake))
            leaving = asyncio.create_task(client.wait_closed())
            leaving.add_done_callback(lambda _: dialling.cancel())
            try:
                return _Opened(await dialling, handshake)
            except InvalidStatus as error:
                raise refused_by_emulator(error.response, handshake.connection_id, handshake.status) from error
            except (OSError, WebSocketException) as error:
                raise refused(HTTPStatus.INTERNAL_SERVER_ERROR, handshake.connection_id) from error
            except asyncio.CancelledError:
                if leaving.done():
                    raise refused(HTTPStatus.REQUEST_TIMEOUT) from None
                raise
            finally:
                leaving.cancel()

    async def _dial(self, request: Request, handshake: Handshake) -> ClientConnection:
        _, delimiter, query = request.path.partition("?")
        passed_on = [
            (name, value)
            for name, value in request.headers.raw_items()
            # What isn't ASCII can't be sent on; a token always is.
            if name.lower() not in _NOT_PASSED_ON and value.isascii()
        ]
        return await connect(
            f"{self._stage.emulator}{delimiter}{query}",
            additional_headers=[*passed_on, (HANDSHAKE_HEADER, handshake.key)],
            user_agent_header=None,
            compression=None,
            proxy=None,
            open_timeout=_OPEN_SECONDS,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            max_size=None,
        )

    async def _follow(self, client: ServerConnection) -> None:
        """Know a client until it is gone; if its handshake was not through then, end the emulator's part."""
        await client.wait_closed()
        self._clients.discard(client)
        if opened := self._opened.pop(client, None):
            opened.emulator.transport.abort()

    async def _serve(self, client: ServerConnection) -> None:
        opened = self._opened.pop(client)
        connection_id = opened.handshake.connection_id or ""
        started = time.monotonic()

        def refusal() -> str | None:
            return refused(HTTPStatus.TOO_MANY_REQUESTS, connection_id).body if self._throttled() else None

        def on_end(code: int) -> None:
            self._routes.closing(connection_id, code)
            self._note(f"{code} {session.received} in {session.sent} out {time.monotonic() - started:.2f} s")

        self._note("open")
        with self._cuts.socket(client.transport) as socket:
            session = WebSocketSession(
                client,
                opened.emulator,
                self._limits,
                refusal=refusal,
                on_sent=lambda: self._cuts.message_sent(socket),
                on_end=on_end,
            )
            with self._connected.connected(connection_id, session):
                await session.run()

    def _throttled(self) -> bool:
        return self._throttle is not None and not self._throttle.take(asyncio.get_running_loop().time())

    def _refusal(self, client: ServerConnection, refusal: RefusedError) -> Response:
        self._note(str(refusal.status.value))
        response = client.respond(refusal.status, refusal.body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def _note(self, what: str) -> None:
        self._log(f"WEBSOCKET /{self._stage.name} {what}")


def _names_this_machine(request: Request) -> bool:
    try:
        return is_loopback(urlsplit(f"//{request.headers.get('Host', '')}").hostname)
    except (MultipleValuesError, ValueError):
        return False
