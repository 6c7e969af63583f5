"""The server's end of one HTTP/1.1 connection: h11 for the protocol, asyncio for the bytes."""

import asyncio
from collections.abc import Mapping

import h11

_READ = 64 * 1024
_MAX_HEAD_BYTES = 2 * 1024 * 1024
"""awslambdaric sends an X-Ray cause of up to 1 MB in a header."""


class HttpConnection:
    """Gives h11's events as they come and sends responses, one exchange after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)

    async def request(self) -> h11.Request | None:
        """Return the next request, None when there is none. Raises `h11.RemoteProtocolError`."""
        if self._protocol.our_state is h11.MUST_CLOSE:
            return None
        if self._protocol.our_state is h11.DONE:
            self._protocol.start_next_cycle()
        event = await self.event()
        return event if isinstance(event, h11.Request) else None

    async def event(self) -> h11.Event:
        """Return the next piece of a request: data, or its end with the trailers.

        Raises `h11.RemoteProtocolError` where the connection ends within the request.
        """
        while True:
            event = self._protocol.next_event()
            if event is h11.PAUSED:
                raise h11.RemoteProtocolError("a request was sent before the response to the one before")
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)  # noqa: S101 - the two sentinels are dealt with
                return event
            if self._protocol.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._protocol.receive_data(await self._reader.read(_READ))

    async def body(self) -> bytes:
        """Read the rest of a request's body."""
        received = bytearray()
        while isinstance(event := await self.event(), h11.Data):
            received += event.data
        return bytes(received)

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        sized = {**headers, "Content-Length": str(len(body))}
        await self._send(
            h11.Response(status_code=status, headers=list(sized.items())), h11.Data(data=body), h11.EndOfMessage()
        )

    def close(self) -> None:
        """Close the connection, whatever is still under way on it."""
        self._writer.close()

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            if data := self._protocol.send(event):
                self._writer.write(data)
        await self._writer.drain()
