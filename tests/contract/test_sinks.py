from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from time import monotonic, sleep

import pytest
from botocore.credentials import Credentials
from msgspec.json import decode

from tests.contract.sinks import FrameSinkContract, SinkContract
from tests.fakes.connections_api import ConnectionsApi, connections_api
from tests.fakes.observed import PATIENCE_SECONDS
from tokenstream.post_to_connection import PostToConnection
from tokenstream.runtime import ResponseStartedError, RuntimeApiError, StreamClosedError
from tokenstream.signing import SignedConnection
from tokenstream.sinks.http import Body, EventStream, Format, HttpSink, JsonLines, PlainText
from tokenstream.sinks.websocket import WebSocketSink


class Response:
    """A response stream whose connection can break; behaves then as `tokenstream.runtime` does."""

    def __init__(self) -> None:
        self.received = b""
        self._opened = False
        self._broken = False
        self._open = True

    def open(self, status: int, headers: Mapping[str, str]) -> AbstractContextManager[Body]:
        if self._broken:
            raise RuntimeApiError
        if self._opened:
            raise ResponseStartedError
        self._opened = True
        return nullcontext(self)

    def write(self, data: bytes) -> None:
        if not self._open:
            raise StreamClosedError
        if self._broken:
            self._open = False
            raise RuntimeApiError
        self.received += data

    def break_off(self) -> None:
        self._broken = True


class HttpClient:
    """A client of a function URL or a REST API."""

    def __init__(self, body_format: Format) -> None:
        self._response = Response()
        self.sink = HttpSink(self._response.open, body_format, {})

    @property
    def body(self) -> bytes:
        return self._response.received

    def leave(self) -> None:
        self._response.break_off()


class PlainTextClient(HttpClient):
    def __init__(self) -> None:
        super().__init__(PlainText())

    def text(self) -> str:
        return self.body.decode()


class JsonLinesClient(HttpClient):
    def __init__(self) -> None:
        super().__init__(JsonLines())

    def frames(self) -> list[bytes]:
        *lines, rest = self.body.split(b"\n")
        assert rest == b""
        return lines

    def text(self) -> str:
        return text(self.frames())


class EventStreamClient(HttpClient):
    """Reads events as the HTML standard says, as far as it goes with one `data` line each."""

    def __init__(self) -> None:
        super().__init__(EventStream())

    def events(self) -> list[dict[str, str]]:
        # Any of the three is a line's end to the standard.
        lines = self.body.decode().replace("\r\n", "\n").replace("\r", "\n")
        *events, rest = lines.split("\n\n")
        assert rest == ""
        return [dict(line.split(": ", 1) for line in event.split("\n")) for event in events]

    def frames(self) -> list[bytes]:
        return [event["data"].encode() for event in self.events()]

    def text(self) -> str:
        return text(self.frames())


class WebSocketClient:
    """A client of the WebSocket API, behind the real requests to `@connections`."""

    connection_id = "VqYb2cO1IAMCIhw="

    def __init__(self, api: ConnectionsApi, post: PostToConnection) -> None:
        self._api = api
        self.sink = WebSocketSink(post, self.connection_id)

    def frames(self) -> list[bytes]:
        return self._api.raw(self.connection_id)

    def text(self) -> str:
        return text(self.frames())

    def leave(self) -> None:
        self._api.close(self.connection_id)


def text(frames: list[bytes]) -> str:
    return "".join(frame["token"] for frame in map(decode, frames) if frame["type"] == "token")


class TestPlainText(SinkContract):
    @pytest.fixture
    def client(self) -> PlainTextClient:
        return PlainTextClient()


class TestJsonLines(FrameSinkContract):
    @pytest.fixture
    def client(self) -> JsonLinesClient:
        return JsonLinesClient()


class TestEventStream(FrameSinkContract):
    @pytest.fixture
    def client(self) -> EventStreamClient:
        return EventStreamClient()


class TestWebSocketSink(FrameSinkContract):
    @pytest.fixture
    def client(self) -> Iterator[WebSocketClient]:
        credentials = Credentials("AKIDEXAMPLE", "secret")
        with connections_api() as api:

            def connect() -> SignedConnection:
                return SignedConnection(api.url, "execute-api", "us-east-1", credentials, read_timeout=PATIENCE_SECONDS)

            with closing(PostToConnection(connect, api.url, clock=monotonic, wait=sleep)) as post:
                yield WebSocketClient(api, post)
