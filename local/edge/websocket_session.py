"""One client's open connection: messages both ways, API Gateway's limits, and how it ends.

Source of the limits: API Gateway quotas, "Quotas for configuring and running a WebSocket API".
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State

from local.edge.websocket_clients import Posted

MESSAGE_BYTES = 128 * 1024
FRAME_BYTES = 32 * 1024
"""Beyond either the connection is closed with 1009, a message too big."""
BUFFER_BYTES = 1024 * 1024
"""What may wait for a client who doesn't read; API Gateway has such a limit as well, and doesn't say which."""
CLOSE_SECONDS = 1.0
"""How long the other end has to answer a close frame."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds until a connection is closed with 1001: without a message either way, and in all."""

    idle: float = 600.0
    total: float = 7200.0


class WebSocketSession:
    """Passes messages between a client and the emulator. Each message waits for the one before it to be taken.

    What functions post comes past the emulator: there is a message for each frame of every stream.

    `refusal` gives what the client gets in place of a message's way to its route, None where the message may pass;
    `on_sent` is called behind every message that was sent to the client, `on_end` with the code that the connection
    closed with, before the emulator is told.
    """

    def __init__(
        self,
        client: ServerConnection,
        emulator: ClientConnection,
        limits: ConnectionLimits,
        *,
        refusal: Callable[[], str | None],
        on_sent: Callable[[], None],
        on_end: Callable[[int], None],
    ) -> None:
        self.received = 0
        self.sent = 0
        self._client = client
        self._emulator = emulator
        self._limits = limits
        self._refusal = refusal
        self._on_sent = on_sent
        self._on_end = on_end
        self._timer: asyncio.Timeout | None = None
        self._ends = float("inf")

    async def run(self) -> None:
        """Serve until one of the two closes or a limit is reached."""
        self._ends = asyncio.get_running_loop().time() + self._limits.total
        try:
            async with asyncio.timeout(None) as self._timer:
                self._rearm()
                await _first(self._receive(), self._send())
            if self._emulator.state is State.CLOSED:
                await _close(self._client, _closing_code(self._emulator))
        except TimeoutError:
            await _close(self._client, CloseCode.GOING_AWAY, "Going away")
        finally:
            code = _closing_code(self._client)
            self._on_end(code)
            await _close(self._emulator, code)

    async def post(self, message: bytes) -> Posted:
        """Send the client what a function posts, as text whatever its bytes are."""
        if self._client.transport.get_write_buffer_size() > BUFFER_BYTES:
            return Posted.FULL
        self._rearm()
        try:
            await self._deliver(message.decode(errors="replace"))
        except ConnectionClosed:
            return Posted.GONE
        return Posted.SENT

    async def _receive(self) -> None:
        """Pass on what the client sends, to the last message that came before it closed."""
        with suppress(ConnectionClosed):
            while True:
                message = await self._client.recv()
                self._rearm()
                self.received += 1
                if isinstance(message, bytes):
                    # As API Gateway does. Source: "Binary media types for WebSocket APIs".
                    await _close(self._client, CloseCode.UNSUPPORTED_DATA, "Unsupported data")
                    return
                if refusal := self._refusal():
                    with suppress(ConnectionClosed):
                        await self._client.send(refusal)
                else:
                    await self._emulator.send(message)

    async def _send(self) -> None:
        """Pass on what the emulator sends; when the client is gone, until the emulator has noticed."""
        with suppress(ConnectionClosed):
            while True:
                message = await self._emulator.recv()
                self._rearm()
                with suppress(ConnectionClosed):
                    await self._deliver(message)

    async def _deliver(self, message: str | bytes) -> None:
        await self._client.send(message)
        self.sent += 1
        self._on_sent()

    def _rearm(self) -> None:
        if self._timer and not self._timer.expired():
            idle = asyncio.get_running_loop().time() + self._limits.idle
            self._timer.reschedule(min(idle, self._ends))


def _closing_code(connection: Connection) -> int:
    """Tell the code in a connection's close frame: the other end's, else this end's, else 1006 for none."""
    close = connection.protocol.close_rcvd or connection.protocol.close_sent
    return close.code if close else CloseCode.ABNORMAL_CLOSURE


async def _close(connection: Connection, code: int, reason: str = "") -> None:
    """Close it as its counterpart was closed; without effect on one that is closed. Takes no longer than a moment."""
    if code != CloseCode.ABNORMAL_CLOSURE:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                # 1005 stands for a close frame without a code.
                await connection.close(CloseCode.NORMAL_CLOSURE if code == CloseCode.NO_STATUS_RCVD else code, reason)
    connection.transport.abort()
    await connection.wait_closed()


async def _first(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them until one ends."""
    tasks = {asyncio.create_task(coroutine) for coroutine in coroutines}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
