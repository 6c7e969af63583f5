"""The clients that are connected to the WebSocket API, by the ids that functions know them by."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol


class Posted(Enum):
    """What became of a message to a client."""

    SENT = "sent"
    GONE = "gone"
    FULL = "full"
    """More than a client's buffer holds wait for it already."""


class Client(Protocol):
    """One open connection; `local.edge.websocket_session.WebSocketSession` is the real one."""

    async def post(self, message: bytes) -> Posted:
        """Send a message behind those before it."""
        ...


class WebSocketClients:
    """Who is connected now."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    @contextmanager
    def connected(self, connection_id: str, client: Client) -> Iterator[None]:
        """Register a client for as long as its connection is open."""
        self._clients[connection_id] = client
        try:
            yield
        finally:
            if self._clients.get(connection_id) is client:
                del self._clients[connection_id]

    def find(self, connection_id: str) -> Client | None:
        """Give a client; None for one who isn't connected, or not by way of the edge."""
        return self._clients.get(connection_id)
