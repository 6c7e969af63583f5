"""A model behind Bedrock's wire format: thinks, then emits numbered tokens at a steady rate, and notes when."""

import asyncio
import re
import ssl
from time import monotonic

from benchmarks.delivery.http_server import Request, Server, chunk
from local.model.interface import MessageStart, MessageStop, TextDelta
from local.model.wire import InvokeWire, Latency

THINKING_SECONDS = 0.3
"""How long the model is silent before its first token: less than any that Bedrock offers."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n"
    b"x-amzn-RequestId: 6f1c2d5e-0000-4000-8000-000000000000\r\n\r\n"
)
_MAX_UNREAD_BYTES = 64 * 1024
_NUMBER = re.compile(r"w(\d+) ")


def token(number: int) -> str:
    """Write a token's text."""
    return f"w{number} "


def numbers(text: str) -> list[int]:
    """Tell which tokens a text is made of."""
    return [int(number) for number in _NUMBER.findall(text)]


class PacedModel:
    """Answers every call alike: `tokens` at `rate` a second, or as fast as they are read where that is None.

    `called_at` is when the last call came and `emitted` when its answer's tokens left, in seconds of `time.monotonic`.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.tokens = 0
        self.rate: float | None = None
        self.called_at = 0.0
        self.emitted: list[float] = []
        self.server = Server(self._answer, tls)
        self._streams: set[asyncio.Task[None]] = set()

    def prepare(self, tokens: int, rate: float | None) -> None:
        """Set what the next calls get."""
        self.tokens = tokens
        self.rate = rate
        self.emitted = []

    def _answer(self, _: Request, transport: asyncio.Transport) -> None:
        stream = asyncio.create_task(self._stream(transport))
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)

    async def _stream(self, transport: asyncio.Transport) -> None:
        wire = InvokeWire("model", lambda: Latency(1, 1), guarded=False)
        begin = chunk(wire.encode(MessageStart(7)))
        self.called_at = monotonic()
        due = self.called_at + THINKING_SECONDS
        transport.write(_HEAD)
        await asyncio.sleep(THINKING_SECONDS / 2)
        transport.write(begin)
        for number in range(self.tokens):
            event = chunk(wire.encode(TextDelta(token(number))))
            if self.rate is not None:
                await asyncio.sleep(max(0, due - monotonic()))
                due += 1 / self.rate
            else:
                await _writable(transport)
            self.emitted.append(monotonic())
            transport.write(event)
        transport.write(chunk(wire.encode(MessageStop("end_turn", 7, self.tokens))) + b"0\r\n\r\n")


async def _writable(transport: asyncio.Transport) -> None:
    # A model that is read slowly waits; what it has written is bounded.
    while transport.get_write_buffer_size() > _MAX_UNREAD_BYTES and not transport.is_closing():
        await asyncio.sleep(0.001)
