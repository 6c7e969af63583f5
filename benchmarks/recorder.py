"""Notes what a connection brings and when, at the least cost, to be read afterwards."""

import asyncio
import time
from typing import NamedTuple

_SECONDS = 120.0


class Piece(NamedTuple):
    """What came at once, and when: seconds since the epoch."""

    data: bytes
    moment: float


class Recorder(asyncio.Protocol):
    """One connection's incoming side; it looks for marks and for the end, and for nothing else."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._closed = asyncio.Event()
        self._marks: tuple[bytes, ...] = ()
        self._from = 0
        self._seen = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 a TCP connection's
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.pieces.append(Piece(data, time.time()))
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's
        """See `asyncio.BaseProtocol`."""
        self._closed.set()
        self._seen.set()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def expect(self, *marks: bytes) -> None:
        """Wait for one of these in what comes from now on."""
        self._marks, self._from = marks, len(self.pieces)
        self._seen.clear()

    async def seen(self) -> None:
        """Return when it has come; raises `ConnectionResetError`."""
        async with asyncio.timeout(_SECONDS):
            await self._seen.wait()
        if self._closed.is_set():
            raise ConnectionResetError(self.since(0)[-500:])

    async def closed(self) -> None:
        """Return when the other end has closed it."""
        async with asyncio.timeout(_SECONDS):
            await self._closed.wait()

    def since(self, first: int) -> bytes:
        """Give what came from a piece on."""
        return b"".join(piece.data for piece in self.pieces[first:])

    def _look(self) -> None:
        # A mark may come in two pieces.
        last = b"".join(piece.data for piece in self.pieces[max(self._from, len(self.pieces) - 2) :])
        if any(mark in last for mark in self._marks):
            self._seen.set()
