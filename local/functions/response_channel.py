"""Carries one response from a worker's Runtime API to whoever invoked the function."""

import asyncio
import json
from collections import deque
from dataclasses import dataclass

HTTP_INTEGRATION = "application/vnd.awslambda.http-integration-response"
_DELIMITER = bytes(8)
_MAX_PRELUDE_BYTES = 16 * 1024
_HIGH_WATER = 256 * 1024
"""Bytes that may wait for the reader; beyond them the function is made to wait."""


@dataclass(frozen=True)
class Prelude:
    """The head of an HTTP response."""

    status: int
    headers: dict[str, str]
    cookies: list[str]


@dataclass(frozen=True)
class Head:
    """What is known before a response's first byte."""

    content_type: str
    prelude: Prelude | None


class InvalidPreludeError(Exception):
    """A response of the HTTP integration's type doesn't begin with status, headers and cookies."""


class ResponseChannel:
    """One writer, one reader. A reader who is gone doesn't hold the writer up: the rest is thrown away."""

    def __init__(self) -> None:
        self.head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        # Whoever waits for the head may be gone when it fails.
        self.head.add_done_callback(lambda head: head.cancelled() or head.exception())
        self._prelude: tuple[str, bytearray] | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._abandoned = False
        self._error: Exception | None = None
        self._readable = asyncio.Event()  # a chunk is there, or the end
        self._writable = asyncio.Event()  # the reader keeps up, or is gone
        self._writable.set()
        self.started = False
        self.ended = False

    def start(self, content_type: str) -> None:
        """Begin the response. Its head is known now, or when the prelude has been written."""
        self.started = True
        if content_type == HTTP_INTEGRATION:
            self._prelude = content_type, bytearray()
        else:
            self._set_head(Head(content_type, None))

    async def write(self, data: bytes) -> None:
        """Pass bytes on; returns when the reader is near enough. Raises `InvalidPreludeError`."""
        if self._prelude is not None:
            content_type, begin = self._prelude
            begin += data
            encoded, delimiter, data = bytes(begin).partition(_DELIMITER)
            if not delimiter:
                if len(begin) > _MAX_PRELUDE_BYTES:
                    raise InvalidPreludeError(f"no end within {_MAX_PRELUDE_BYTES} bytes")
                return
            self._prelude = None
            self._set_head(Head(content_type, _parse_prelude(encoded)))
        if data and not self.ended and not self._abandoned:
            self._chunks.append(data)
            self._buffered += len(data)
            self._readable.set()
            if self._buffered > _HIGH_WATER:
                self._writable.clear()
        await self._writable.wait()

    def finish(self) -> None:
        """End the response. Raises `InvalidPreludeError` if not even its head was complete."""
        if self._prelude is not None:
            raise InvalidPreludeError("the response ended within it")
        self._end(None)

    def fail(self, error: Exception) -> None:
        """End the response with an error; without effect on one that has ended."""
        if not self.ended:
            self._end(error)

    async def read(self) -> bytes | None:
        """Return the next chunk, None at the end. Raises the error that the response ended with."""
        await self._readable.wait()
        if self._chunks:
            chunk = self._chunks.popleft()
            self._buffered -= len(chunk)
            if self._buffered <= _HIGH_WATER:
                self._writable.set()
            if not self._chunks and not self.ended:
                self._readable.clear()
            return chunk
        if self._error is not None:
            raise self._error
        return None

    def abandon(self) -> None:
        """Throw away what the reader, who is gone, hasn't read, and whatever else is written."""
        self._abandoned = True
        self._chunks.clear()
        self._buffered = 0
        self._writable.set()

    def _set_head(self, head: Head) -> None:
        if not self.head.done():
            self.head.set_result(head)

    def _end(self, error: Exception | None) -> None:
        self.ended = True
        self._error = error
        if error is not None and not self.head.done():
            self.head.set_exception(error)
        self._readable.set()
        self._writable.set()


def _parse_prelude(encoded: bytes) -> Prelude:
    """Read ``statusCode``, ``headers`` and ``cookies``, all of them optional."""
    try:
        prelude = json.loads(encoded)
        return Prelude(
            status=int(prelude.get("statusCode", 200)),
            headers={str(name): str(value) for name, value in (prelude.get("headers") or {}).items()},
            cookies=[str(cookie) for cookie in prelude.get("cookies") or []],
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidPreludeError(str(error)) from error
