from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import pytest
from msgspec.json import decode

from tests.contract.sinks import FrameSinkContract, SinkContract
from tokenstream.runtime import ResponseStartedError, RuntimeApiError, StreamClosedError
from tokenstream.sinks.http import Body, EventStream, Format, HttpSink, JsonLines, PlainText


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
