"""Opens connections to AppSync's real-time endpoint."""

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tokenstream_client.errors import ConnectionFailed
from tokenstream_client.transports import appsync_messages as messages
from tokenstream_client.transports.appsync_connection import AppSyncConnection
from tokenstream_client.transports.graphql_errors import realtime_failure
from tokenstream_client.transports.websocket_handshake import Handshake
from tokenstream_client.transports.websocket_messages import decode

SUBPROTOCOL = "graphql-ws"


class AppSyncHandshake:
    """How to open a connection to one API; `host` is the one of its address for queries and mutations."""

    def __init__(self, realtime_url: str, host: str, *, ack_timeout: float) -> None:
        self._handshake = Handshake(realtime_url, SUBPROTOCOL)
        self._host = host
        self._ack_timeout = ack_timeout

    async def open(self, token: str, on_closed: Callable[[AppSyncConnection], object]) -> AppSyncConnection:
        """Open a connection with an ID token; raises as `Handshake.open` does."""
        websocket = await self._handshake.open(messages.credential(messages.authorization(self._host, token)))
        try:
            keep_alive = await self._initialize(websocket)
        except BaseException:
            websocket.transport.abort()
            raise
        return AppSyncConnection(
            websocket,
            self._handshake.server,
            keep_alive=keep_alive,
            ack_timeout=self._ack_timeout,
            on_closed=on_closed,
        )

    async def _initialize(self, websocket: ClientConnection) -> float:
        server = self._handshake.server
        try:
            async with asyncio.timeout(self._ack_timeout):
                await websocket.send(messages.CONNECTION_INIT)
                while True:
                    message = decode(await websocket.recv())
                    match message.get("type"):
                        case "connection_ack":
                            return messages.keep_alive_of(message)
                        case "connection_error" | "error":
                            raise realtime_failure(message.get("payload"), server)
        except TimeoutError as error:
            raise ConnectionFailed(f"{server} has gone silent.", reached=False) from error
        except ConnectionClosed as error:
            raise ConnectionFailed(f"The connection to {server} broke.", reached=False) from error
