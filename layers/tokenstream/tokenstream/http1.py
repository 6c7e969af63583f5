"""Reads an HTTP/1.1 response, fed with bytes as they come. Pure.

    HEAD ─▶ LENGTH ──────────────────────────────────▶ ENDED
      ├───▶ CHUNK_SIZE ─▶ CHUNK ─▶ CHUNK_END             ▲
      │         │  ▲────────────────────┘                │
      │         └──────────▶ TRAILERS ───────────────────┤
      └───▶ UNTIL_CLOSED ────────────────────────────────┘

What the answer to a POST may be: a body of known length, one in chunks, or one that ends with its connection. Source:
RFC 9112.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
_MAX_LINE_BYTES = 4096

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
_WHOLE_SIZE = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7})\r\n")
_INFORMATIONAL = range(100, 200)
_SWITCHING = 101
_BODILESS = frozenset({204, 304})


class ProtocolError(ValueError):
    """The bytes are no HTTP/1.1 response, or it broke off."""


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a response; the headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]

    def getheader(self, name: str, default: str = "") -> str:
        """Return a header's value, by its name in any case."""
        return self.headers.get(name.lower(), default)


class State(Enum):
    """What is read next."""

    HEAD = "head"
    LENGTH = "length"
    CHUNK_SIZE = "chunk_size"
    CHUNK = "chunk"
    CHUNK_END = "chunk_end"
    TRAILERS = "trailers"
    UNTIL_CLOSED = "until_closed"
    ENDED = "ended"


class ResponseReader:
    """Reads one response. `feed` first, then `head` until there is one, then `body`."""

    def __init__(self) -> None:
        self.state = State.HEAD
        self._received = bytearray()
        self._left = 0
        self._closed = False
        self._keeps_alive = False

    @property
    def begun(self) -> bool:
        """Whether anything has been received."""
        return self.state is not State.HEAD or bool(self._received)

    @property
    def ended(self) -> bool:
        """Whether the response is whole."""
        return self.state is State.ENDED

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection is good for another exchange."""
        return self.ended and self._keeps_alive and not self._closed and not self._received

    def feed(self, data: bytes) -> None:
        """Take what was received; nothing says that the other side has closed the connection."""
        if data:
            self._received += data
        else:
            self._closed = True

    def head(self) -> Response | None:
        """Return the head, None while it isn't whole; raises `ProtocolError`."""
        while (end := self._received.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)) >= 0:
            response, version = _head(self._received[:end].decode("latin-1"))
            del self._received[: end + 4]
            if response.status not in _INFORMATIONAL:
                self._begin_body(response, version)
                return response
            if response.status == _SWITCHING:
                raise ProtocolError("another protocol was not asked for")
        if len(self._received) >= MAX_HEAD_BYTES:
            raise ProtocolError("the head is too long")
        self._require_open()
        return None

    def body(self) -> bytes:
        """Return what has come of the body since the last call; raises `ProtocolError`."""
        if not self._received and not self._closed:
            return b""
        match self.state:
            case State.LENGTH:
                data = self._take()
                if not self._left:
                    self.state = State.ENDED
            case State.UNTIL_CLOSED:
                data, self._received = bytes(self._received), bytearray()
                if self._closed:
                    self.state = State.ENDED
            case State.ENDED | State.HEAD:
                return b""
            case _:
                data = self._chunks()
        if not data and not self.ended:
            self._require_open()
        return data

    def _begin_body(self, response: Response, version: str) -> None:
        connection = response.getheader("connection").lower()
        self._keeps_alive = version == "1" and "close" not in connection
        coding = response.headers.get("transfer-encoding")
        length = response.headers.get("content-length")
        if response.status in _BODILESS:
            self.state = State.ENDED
        elif coding is not None:
            if coding.lower() != "chunked":
                raise ProtocolError("the transfer coding is unknown")
            self.state = State.CHUNK_SIZE
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise ProtocolError("the length is none")
            self._left = int(length)
            self.state = State.LENGTH if self._left else State.ENDED
        else:
            self._keeps_alive = False
            self.state = State.UNTIL_CLOSED

    def _chunks(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            if self.state is State.CHUNK_SIZE and (piece := self._whole_chunk()):
                pieces.append(piece)
            elif self.state is State.CHUNK:
                pieces.append(self._take())
                if self._left:
                    break
                self.state = State.CHUNK_END
            elif (line := self._line()) is None or self._read_line(line) is State.ENDED:
                break
        return b"".join(pieces)

    def _whole_chunk(self) -> bytes | None:
        """Take a chunk that is there in one piece, as nearly all are; None leaves it to the states."""
        size = _WHOLE_SIZE.match(self._received)
        if size is None:
            return None
        start = size.end()
        end = start + int(size[1], 16)
        if self._received[end : end + 2] != b"\r\n":
            return None
        data = bytes(self._received[start:end])
        del self._received[: end + 2]
        return data

    def _read_line(self, line: bytes) -> State:
        match self.state:
            case State.CHUNK_END if line:
                raise ProtocolError("a chunk is longer than it says")
            case State.CHUNK_END:
                self.state = State.CHUNK_SIZE
            case State.TRAILERS if not line:
                self.state = State.ENDED
            case State.CHUNK_SIZE:
                size = _CHUNK_SIZE.fullmatch(line)
                if size is None:
                    raise ProtocolError("a chunk's size is none")
                self._left = int(size[1], 16)
                self.state = State.CHUNK if self._left else State.TRAILERS
        return self.state

    def _line(self) -> bytes | None:
        """Take a line, None while it isn't whole."""
        end = self._received.find(b"\r\n", 0, _MAX_LINE_BYTES)
        if end < 0:
            if len(self._received) >= _MAX_LINE_BYTES:
                raise ProtocolError("a line is too long")
            return None
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        return line

    def _take(self) -> bytes:
        data = bytes(self._received[: self._left])
        del self._received[: len(data)]
        self._left -= len(data)
        return data

    def _require_open(self) -> None:
        if self._closed:
            raise ProtocolError("the response broke off")


def _head(text: str) -> tuple[Response, str]:
    """Read a head; returns it with the minor version."""
    first, *lines = text.split("\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise ProtocolError("this is no HTTP response")
    if len(lines) > MAX_HEADERS:
        raise ProtocolError("there are too many headers")
    if not text.count("\n") == text.count("\r") == len(lines) or "\0" in text:
        raise ProtocolError("a header is malformed")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ProtocolError("a header is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Response(int(status[2]), headers), status[1]
