"""The path `websocket`: all streams of a client on one connection."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import httpx

from tokenstream_client.errors import ConnectionFailed, RequestRejected
from tokenstream_client.frames import Message, Position
from tokenstream_client.request import Request
from tokenstream_client.tokens import TokenProvider
from tokenstream_client.transports.shared_attempt import SharedAttempt
from tokenstream_client.transports.websocket_connection import WebSocketConnection
from tokenstream_client.transports.websocket_handshake import Handshake

SUBPROTOCOL = "tokenstream"

PING_INTERVAL = 300.0
"""Seconds without a message after which one is sent; API Gateway closes a connection that is idle for ten minutes."""


class WebSocketTransport:
    """Talks to one address; `http`, with which the tokens are got, is closed with it.

    The connection is opened by the first use. One that ended, by API Gateway after two hours at the latest, is replaced
    by the next use; the streams on it are resumed by their `Stream`.
    """

    def __init__(
        self,
        url: str,
        tokens: TokenProvider,
        http: httpx.AsyncClient,
        *,
        idle_timeout: float,
        ping_interval: float = PING_INTERVAL,
    ) -> None:
        self._handshake = Handshake(url, SUBPROTOCOL)
        self._tokens = tokens
        self._http = http
        self._idle_timeout = idle_timeout
        self._ping_interval = ping_interval
        self._closed = False
        self._current: WebSocketConnection | None = None
        self._opening = SharedAttempt(self._open)
        self._connections: set[WebSocketConnection] = set()

    async def prepare(self) -> None:
        """Fetch a token and connect, so that the request that follows measures nothing but itself.

        A connection that fails is told by that request, which is tried again.
        """
        await self._tokens.token()
        with suppress(ConnectionFailed):
            await self._connection()

    async def connect(self) -> None:
        """Fetch a token and connect."""
        await self._connection()

    @asynccontextmanager
    async def start(self, request: Request) -> AsyncIterator[AsyncIterator[Message]]:
        """Send `stream`."""
        async with self._ask(request.session_id, {"action": "stream", **request.body()}) as messages:
            yield messages

    @asynccontextmanager
    async def resume(self, session_id: str, after: Position) -> AsyncIterator[AsyncIterator[Message]]:
        """Send `resume`: from then on the session's frames come on this connection."""
        async with self._ask(
            session_id, {"action": "resume", "sessionId": session_id, "after": after._asdict()}
        ) as messages:
            yield messages

    async def cancel(self, session_id: str) -> None:
        """Send `cancel`."""
        async with self._ask(session_id, {"action": "cancel", "sessionId": session_id}):
            pass

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        await self._opening.cancel()
        await asyncio.gather(*(connection.aclose() for connection in self._connections))
        await self._http.aclose()

    @asynccontextmanager
    async def _ask(self, session_id: str, message: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Message]]:
        connection = await self._connection()
        with ExitStack() as listening:
            messages = listening.enter_context(connection.listen(session_id))
            try:
                await connection.request(message)
            except RequestRejected as rejection:
                listening.close()
                connection = await self._successor(connection, rejection)
                messages = listening.enter_context(connection.listen(session_id))
                await connection.request(message)
            yield messages

    async def _successor(self, connection: WebSocketConnection, rejection: RequestRejected) -> WebSocketConnection:
        """Return a connection with a new token when the old one's has expired, which starts no streams any more.

        Otherwise raises the rejection. The streams on the old connection go on to their end.
        """
        await self._renewed(connection.token, rejection)
        if self._current is connection:
            self._current = None
        connection.retire()
        return await self._connection()

    async def _renewed(self, token: str, rejection: RequestRejected) -> str:
        if rejection.code != "unauthorized":
            raise rejection
        renewed = await self._tokens.token(refused=token)
        if renewed == token:
            raise rejection
        return renewed

    async def _connection(self) -> WebSocketConnection:
        """Return the open connection; one is opened, for all who wait for it, where there is none."""
        if self._closed:
            raise RuntimeError("the client has been closed")
        if self._current is None or self._current.ended:
            return await self._opening.result()
        return self._current

    async def _open(self) -> WebSocketConnection:
        token = await self._tokens.token()
        try:
            websocket = await self._handshake.open(token)
        except RequestRejected as rejection:
            token = await self._renewed(token, rejection)
            websocket = await self._handshake.open(token)
        connection = WebSocketConnection(
            websocket,
            token,
            self._handshake.server,
            idle_timeout=self._idle_timeout,
            ping_interval=self._ping_interval,
            on_closed=self._connections.discard,
        )
        self._connections.add(connection)
        self._current = connection
        return connection
