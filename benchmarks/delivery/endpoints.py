"""The services that frames are sent to, each a round trip away: they note what came when, and say yes."""

import asyncio
import re
import ssl
from collections.abc import Callable
from time import monotonic
from urllib.parse import parse_qs

from msgspec.json import decode

from benchmarks.delivery.http_server import HOST, Request, Server, response
from benchmarks.delivery.model import numbers

Arrivals = dict[int, float]

_TOPIC_ANSWER = (
    b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>'
    b"94f20ce6-0000-4000-8000-000000000000</MessageId><SequenceNumber>10000000000000003000</SequenceNumber>"
    b"</PublishResult><ResponseMetadata><RequestId>d74b8436-0000-4000-8000-000000000000</RequestId>"
    b"</ResponseMetadata></PublishResponse>"
)
_MUTATION_ANSWER = (
    b'{"data":{"publishToken":{"sessionId":"5f3e2c1a-0000-4000-8000-000000000000","owner":"owner","attempt":1,'
    b'"sequence":1,"type":"token","token":"w1 ","isComplete":false,"frame":"{}","timestamp":"2026-01-01T00:00:00Z"}}}'
)


class Endpoint:
    """One service. A request is answered `round_trip` seconds after it was read; 0 is at once.

    `text_of` finds the answer's text in the body of a request.
    """

    def __init__(self, tls: ssl.SSLContext, answer: bytes, content_type: str, text_of: Callable[[bytes], str]) -> None:
        self.round_trip = 0.0
        self.server = Server(self._answer, tls)
        self._response = response(answer, f"Content-Type: {content_type}", "x-amzn-RequestId: d74b8436-0000")
        self._text_of = text_of
        self._received: list[tuple[float, bytes]] = []

    def prepare(self, round_trip: float) -> None:
        """Forget what has come so far."""
        self.round_trip = round_trip
        self._received = []

    @property
    def requests(self) -> int:
        """How many requests have come."""
        return len(self._received)

    def arrivals(self) -> Arrivals:
        """Tell when each token came, in seconds of `time.monotonic`."""
        found: Arrivals = {}
        for at, body in self._received:
            for number in numbers(self._text_of(body)):
                found.setdefault(number, at)
        return found

    def _answer(self, request: Request, transport: asyncio.Transport) -> None:
        self._received.append((monotonic(), request.body))
        if self.round_trip:
            asyncio.get_running_loop().call_later(self.round_trip, transport.write, self._response)
        else:
            transport.write(self._response)


def connections_api(tls: ssl.SSLContext) -> Endpoint:
    """Stand in for API Gateway's `@connections`."""
    return Endpoint(tls, b"", "application/json", _token_of)


def graphql_api(tls: ssl.SSLContext) -> Endpoint:
    """Stand in for AppSync."""
    return Endpoint(tls, _MUTATION_ANSWER, "application/json", lambda body: decode(body)["variables"]["token"] or "")


def topics_api(tls: ssl.SSLContext) -> Endpoint:
    """Stand in for SNS."""
    return Endpoint(tls, _TOPIC_ANSWER, "text/xml", _tokens_of_message)


def _token_of(frame: bytes) -> str:
    return str(decode(frame).get("token", ""))


def _tokens_of_message(body: bytes) -> str:
    message = decode(parse_qs(body.decode())["Message"][0])
    return "".join(frame.get("token", "") for frame in message.get("frames", [message]))


class RuntimeApi:
    """Stands in for Lambda's Runtime API, as far as a streamed response is posted to it. On the same host: no TLS."""

    _TOKEN = re.compile(rb'"token":"([^"]*)"')

    def __init__(self) -> None:
        self.requests = 0
        self._received: list[tuple[float, bytes]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen on a free port; returns `127.0.0.1:PORT`."""
        self._server = await asyncio.start_server(self._read, HOST, 0)
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def prepare(self) -> None:
        """Forget what has come so far."""
        self.requests = 0
        self._received = []

    def arrivals(self) -> Arrivals:
        """Tell when each token came."""
        found: Arrivals = {}
        rest = b""
        for at, data in self._received:
            *lines, rest = (rest + data).split(b"\n")
            for text in self._TOKEN.findall(b"\n".join(lines)):
                for number in numbers(text.decode()):
                    found.setdefault(number, at)
        return found

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
        last = b""
        while data := await reader.read(65536):
            self._received.append((monotonic(), data))
            last = (last + data)[-5:]
            if last == b"0\r\n\r\n":
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                break
        writer.close()
