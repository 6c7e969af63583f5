"""The response stream that a handler writes to."""

import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tokenstream.runtime.errors import (
    InvalidResponseError,
    ResponseStartedError,
    RuntimeApiError,
    StreamClosedError,
    StreamingUnavailableError,
)
from tokenstream.runtime.function_error import describe
from tokenstream.runtime.invocation import Invocation
from tokenstream.runtime.post import StreamedPost
from tokenstream.runtime.prelude import encode_prelude

_log = logging.getLogger(__name__)


def response_stream(status: int, headers: Mapping[str, str], cookies: Sequence[str] = ()) -> "ResponseStream":
    """Return the stream of the current invocation's response, to be opened by ``with``.

    Entering posts the head. Leaving ends the response; leaving by an exception ends it with HTTP trailers that carry
    the exception, and lets it go on. Raises `InvalidResponseError` for a head that can't be sent and, on entering,
    `StreamingUnavailableError` or `ResponseStartedError`.
    """
    return ResponseStream(encode_prelude(status, headers, cookies))


class ResponseStream:
    """A response while it is being written, by one thread at a time."""

    def __init__(self, prelude: bytes) -> None:
        self._prelude = prelude
        self._invocation: Invocation | None = None
        self._post: StreamedPost | None = None

    def __enter__(self) -> Self:
        if self._post is not None:
            raise ResponseStartedError("a response stream opens once")
        self._invocation = Invocation.current
        if self._invocation is None:
            raise StreamingUnavailableError(
                "there is no invocation to stream to: the function must be running under "
                "AWS_LAMBDA_EXEC_WRAPPER=/opt/streaming-bootstrap, and be called"
            )
        self._post = self._invocation.start_response(self._prelude)
        return self

    def write(self, chunk: str | bytes) -> None:
        """Send ``chunk`` at once, text as UTF-8. Blocks while the receiver is behind.

        Raises `StreamClosedError` outside the ``with`` block and `RuntimeApiError` on a broken connection.
        """
        if self._post is None or not self._post.is_open:
            raise StreamClosedError("the response stream isn't open")
        self._post.write(encode_chunk(chunk))

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._post is None or self._invocation is None or not self._post.is_open:
            return
        if error is None:
            self._post.complete()
        else:
            try:
                self._post.fail(describe(error, self._invocation.request_id))
            except RuntimeApiError as unreported:
                # The handler's own exception goes on; this one must not take its place.
                _log.warning("the failure of a response could not be reported: %s", unreported)


def encode_chunk(chunk: object) -> bytes:
    """Return the bytes of one chunk of a body. Raises `InvalidResponseError` for anything but text and bytes."""
    match chunk:
        case str():
            return chunk.encode()
        case bytes() | bytearray() | memoryview():
            return bytes(chunk)
        case _:
            raise InvalidResponseError(f"a body consists of str or bytes, not {type(chunk).__name__}")
