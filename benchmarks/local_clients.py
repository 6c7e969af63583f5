"""Clients of a stack that cost as little as they can: one for each path, for one stream after the other."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import assert_never
from urllib.parse import urlsplit
from uuid import uuid4

import h11
import msgspec
from websockets.client import ClientProtocol
from websockets.frames import Frame as WebSocketFrame
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from benchmarks.recorder import Piece, Recorder
from tokenstream_client.endpoints import Endpoints, PathName
from tokenstream_client.transports import appsync_messages as appsync

_TERMINAL = (b'"type":"complete"', b'"type":"error"')
_PUBLISHED_TERMINAL = tuple(mark.replace(b'"', b'\\"') for mark in _TERMINAL)
"""In an event of AppSync's the frame is a string."""


class Received(msgspec.Struct, frozen=True):
    """What one stream brought: its tokens' texts, and the moments of each and of its end (seconds since the epoch)."""

    prompt: str
    texts: list[str]
    moments: list[float]
    started_at: float
    ended_at: float


class _Frame(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    session_id: str = ""
    token: str = ""


class Client(ABC):
    """A client for one stream after the other."""

    def __init__(self, endpoints: Endpoints, token: str) -> None:
        self.endpoints = endpoints
        self.token = token

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Hold the connection that streams share, where there is one."""
        yield

    @abstractmethod
    async def stream(self, prompt: str) -> Received:
        """Have a prompt answered."""


class _Http(Client):
    """A connection for each stream: its end is the stream's."""

    def __init__(self, endpoints: Endpoints, token: str, url: str) -> None:
        super().__init__(endpoints, token)
        self._url = urlsplit(url)

    async def stream(self, prompt: str) -> Received:
        loop = asyncio.get_running_loop()
        _, recorder = await loop.create_connection(Recorder, self._url.hostname or "", self._url.port or 80)
        protocol = h11.Connection(h11.CLIENT)
        body = json.dumps({"prompt": prompt}).encode()
        request = h11.Request(
            method="POST",
            target=self._url.path or "/",
            headers=[
                ("Host", self._url.netloc),
                ("Authorization", f"Bearer {self.token}"),
                ("Accept", "application/x-ndjson"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        started_at = time.time()
        sent = (protocol.send(request), protocol.send(h11.Data(data=body)), protocol.send(h11.EndOfMessage()))
        recorder.send(b"".join(filter(None, sent)))
        await recorder.closed()
        frames = list(_ndjson(_body(protocol, recorder.pieces)))
        return _received(prompt, frames, started_at)


def _body(protocol: h11.Connection, pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        protocol.receive_data(piece.data)
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                break
            match event:
                case h11.Response(status_code=status) if status != 200:  # noqa: PLR2004 any other is a failure
                    raise ConnectionResetError(pieces)
                case h11.Data(data=data):
                    yield Piece(bytes(data), piece.moment)
                case h11.EndOfMessage():
                    return
    raise ConnectionResetError(pieces)


def _ndjson(pieces: Iterable[Piece]) -> Iterator[tuple[_Frame, float]]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece.data).split(b"\n")
        for line in lines:
            yield msgspec.json.decode(line, type=_Frame), piece.moment


class _Socket(Client):
    """One WebSocket connection for all its streams."""

    marks: tuple[bytes, ...] = _TERMINAL

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        url, subprotocols = self.address()
        uri = parse_uri(url)
        self._protocol = ClientProtocol(uri, subprotocols=subprotocols, max_size=None)
        loop = asyncio.get_running_loop()
        _, self.recorder = await loop.create_connection(Recorder, uri.host, uri.port)
        try:
            self._protocol.send_request(self._protocol.connect())
            await self.ask(b"\r\n\r\n")
            self._protocol.receive_data(self.recorder.since(0))
            self._read = len(self.recorder.pieces)
            if self._protocol.handshake_exc:
                raise self._protocol.handshake_exc
            self._protocol.events_received()
            await self.greet()
            yield
        finally:
            self.recorder.close()

    def address(self) -> tuple[str, list[Subprotocol]]:
        """Where to connect to, and what to offer."""
        return self.endpoints.websocket_url or "", [Subprotocol("tokenstream"), Subprotocol(self.token)]

    async def greet(self) -> None:
        """Say what comes before the first stream."""

    async def ask(self, *answers: bytes) -> None:
        """Send what waits in the protocol, and wait for one of these answers."""
        self.recorder.expect(*answers)
        self.recorder.send(b"".join(self._protocol.data_to_send()))
        await self.recorder.seen()

    async def say(self, text: str, *answers: bytes) -> None:
        """Send a message, and wait for one of these answers."""
        self._protocol.send_text(text.encode())
        await self.ask(*answers)

    async def stream(self, prompt: str) -> Received:
        session_id = str(uuid4())
        await self.prepare(session_id)
        started_at = time.time()
        await self.start(session_id, prompt)
        return _received(prompt, list(self._frames(session_id)), started_at)

    async def prepare(self, session_id: str) -> None:
        """Do what comes before a stream is asked for."""

    async def start(self, session_id: str, prompt: str) -> None:
        """Ask for a stream; return behind its end."""
        await self.say(json.dumps({"action": "stream", "sessionId": session_id, "prompt": prompt}), *self.marks)

    def frame(self, message: bytes) -> _Frame:
        """Read a message."""
        return msgspec.json.decode(message, type=_Frame)

    def _frames(self, session_id: str) -> Iterator[tuple[_Frame, float]]:
        pieces, self._read = self.recorder.pieces[self._read :], len(self.recorder.pieces)
        for piece in pieces:
            self._protocol.receive_data(piece.data)
            for event in self._protocol.events_received():
                if (
                    isinstance(event, WebSocketFrame)
                    and (frame := self.frame(bytes(event.data))).session_id == session_id
                ):
                    yield frame, piece.moment


class _AppSync(_Socket):
    marks = _PUBLISHED_TERMINAL

    def address(self) -> tuple[str, list[Subprotocol]]:
        self._url = urlsplit(self.endpoints.graphql_url or "")
        self._headers = appsync.authorization(self._url.netloc, self.token)
        credential = Subprotocol(appsync.credential(self._headers))
        return self.endpoints.graphql_realtime_url or "", [Subprotocol("graphql-ws"), credential]

    async def greet(self) -> None:
        await self.say(appsync.CONNECTION_INIT, b'"connection_ack"')

    async def prepare(self, session_id: str) -> None:
        await self.say(appsync.start(session_id, session_id, self._headers), b'"start_ack"', b'"error"')

    async def start(self, session_id: str, prompt: str) -> None:
        self.recorder.expect(*self.marks)
        content = json.dumps({"query": appsync.START_STREAM, "variables": {"sessionId": session_id, "prompt": prompt}})
        await self._post(content.encode())
        await self.recorder.seen()

    def frame(self, message: bytes) -> _Frame:
        match msgspec.json.decode(message):
            case {"type": "data", "payload": {"data": {"onTokenReceived": {"frame": str(frame)}}}}:
                return super().frame(frame.encode())
        return _Frame("")

    async def _post(self, content: bytes) -> None:
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        head = (
            f"POST {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nAuthorization: {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + content)
        answer = await reader.read()
        writer.close()
        if b'"errors"' in answer or not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionResetError(answer)


def _received(prompt: str, frames: list[tuple[_Frame, float]], started_at: float) -> Received:
    last, ended_at = frames[-1]
    if last.type != "complete":
        raise ConnectionResetError(last)
    tokens = [(frame.token, moment) for frame, moment in frames if frame.type == "token"]
    texts, moments = [text for text, _ in tokens], [moment for _, moment in tokens]
    return Received(prompt, texts, moments, started_at, ended_at)


def client_of(path: PathName, endpoints: Endpoints, token: str) -> Client:
    """Make a client."""
    match path:
        case "url":
            return _Http(endpoints, token, endpoints.function_url)
        case "rest":
            return _Http(endpoints, token, endpoints.rest_url)
        case "websocket":
            return _Socket(endpoints, token)
        case "appsync":
            return _AppSync(endpoints, token)
        case _:
            assert_never(path)
