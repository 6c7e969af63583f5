"""An HTTP/1.1 server that costs next to nothing, so that what is measured is the client."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its whole body. Header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Request, asyncio.Transport], None]


class Server:
    """Gives each request to `answer`, which writes the response to the transport, now or later.

    `connections` counts those that were opened.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None) -> None:
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()

    async def start(self) -> str:
        """Listen on a free port; returns the endpoint, `https://127.0.0.1:PORT`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, HOST, 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if self._tls else 'http'}://{HOST}:{port}"

    async def close(self) -> None:
        """Stop listening, end every connection."""
        if self._server is not None:
            self._server.close()
            for transport in list(self._transports):
                transport.abort()
            await self._server.wait_closed()

    def _connection(self) -> asyncio.Protocol:
        return _Connection(self._answer, self._opened, self._transports.discard)

    def _opened(self, transport: asyncio.Transport) -> None:
        self.connections += 1
        self._transports.add(transport)


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        answer: Answer,
        opened: Callable[[asyncio.Transport], None],
        closed: Callable[[asyncio.Transport], None],
    ) -> None:
        self._answer = answer
        self._opened = opened
        self._closed = closed
        self._transport: asyncio.Transport
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a TCP server gives
        self._transport = transport
        self._opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self._closed(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next()) is not None:
            self._answer(request, self._transport)

    def _next(self) -> Request | None:
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        first, *lines = self._received[:head_end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body_end = head_end + 4 + int(headers.get("content-length", 0))
        if len(self._received) < body_end:
            return None
        method, path, _ = first.split(" ")
        body = bytes(self._received[head_end + 4 : body_end])
        del self._received[:body_end]
        return Request(method, path, headers, body)


def response(body: bytes, *headers: str) -> bytes:
    """Write a whole response with status 200."""
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def chunk(data: bytes) -> bytes:
    """Write a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
