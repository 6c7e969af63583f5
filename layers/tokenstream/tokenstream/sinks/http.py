"""Frames as an HTTP response: server-sent events, newline-delimited JSON or the bare text."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol, Self

from tokenstream.errors import Internal
from tokenstream.frames import Complete, Error, ErrorDetail, Frame, Sealed, Start, Token, encode_heartbeat
from tokenstream.runtime import RuntimeApiError
from tokenstream.sinks import ClientGone


class Format(Protocol):
    """How frames are written into a response's body."""

    content_type: str
    tells_errors: bool

    def encode(self, sealed: Sealed) -> bytes:
        """Write a frame; empty where the format has no place for it."""
        ...

    def heartbeat(self, session_id: str) -> bytes:
        """Write a heartbeat; empty where the format has no place for it."""
        ...


class EventStream:
    """Server-sent events: `id` is the frame's position, what a browser sends back as `Last-Event-ID`."""

    content_type = "text/event-stream; charset=utf-8"
    tells_errors = True

    def encode(self, sealed: Sealed) -> bytes:
        """Write a frame as an event; its JSON has no line break."""
        frame = sealed.frame
        head = f"id: {frame.attempt}.{frame.sequence}\nevent: {frame.__struct_config__.tag}\ndata: "
        return head.encode() + sealed.json + b"\n\n"

    def heartbeat(self, session_id: str) -> bytes:
        """Write a heartbeat, without an id."""
        return b"event: heartbeat\ndata: " + encode_heartbeat(session_id) + b"\n\n"


class JsonLines:
    """A frame a line."""

    content_type = "application/x-ndjson"
    tells_errors = True

    def encode(self, sealed: Sealed) -> bytes:
        """Write a frame and end its line."""
        return sealed.json + b"\n"

    def heartbeat(self, session_id: str) -> bytes:
        """Write a heartbeat as a line."""
        return encode_heartbeat(session_id) + b"\n"


class PlainText:
    """The answer's text and nothing else."""

    content_type = "text/plain; charset=utf-8"
    tells_errors = False

    def encode(self, sealed: Sealed) -> bytes:
        """Write a token frame's text; other frames have none."""
        return sealed.frame.token.encode() if isinstance(sealed.frame, Token) else b""

    def heartbeat(self, session_id: str) -> bytes:  # noqa: ARG002 - the interface's
        """Write nothing: a byte more would be text."""
        return b""


_FORMATS: dict[str, type[Format]] = {
    "text/event-stream": EventStream,
    "application/x-ndjson": JsonLines,
    "text/plain": PlainText,
}
_QUALITY = re.compile(r";\s*q=([01](?:\.[0-9]{0,3})?)\s*(?:;|$)")


def negotiated(accept: str) -> Format:
    """Choose the format that the `Accept` header names with the highest quality, plain text where it names none."""
    best: type[Format] = PlainText
    highest = 0.0
    for media_range in accept.lower().split(","):
        name = media_range.partition(";")[0].strip()
        stated = _QUALITY.search(media_range)
        quality = float(stated[1]) if stated else 1.0
        if name in _FORMATS and quality > highest:
            best, highest = _FORMATS[name], quality
    return best()


def ensure_told(last: Frame | None, body_format: Format) -> None:
    """Raise `BrokenOff` if a response whose last frame this is doesn't say how the answer ended."""
    match last:
        case Complete():
            return
        case Error() if body_format.tells_errors:
            return
        case Error(error=error):
            raise BrokenOff(error.code)
        case _:
            raise BrokenOff("unfinished")


class Body(Protocol):
    """An open response body, `tokenstream.runtime.ResponseStream` on Lambda."""

    def write(self, data: bytes) -> None:
        """Send a chunk."""
        ...


class BrokenOff(Exception):
    """The response ends before the answer, or can't say that it failed.

    Raised within the response, it ends it by error trailers: the client sees a response that is not whole.
    """


class HttpSink:
    """A streamed response. Used as a context manager, it ends the response on the way out.

    The head is sent with the first frames. When those are the stream's end already, and a failure, the response is not
    opened: the caller answers with `rejection` and an HTTP status instead.
    """

    max_frame_bytes = 64 * 1024
    starts_early = False
    interval = 0.0

    def __init__(
        self,
        open_response: Callable[[int, Mapping[str, str]], AbstractContextManager[Body]],
        body_format: Format,
        headers: Mapping[str, str],
    ) -> None:
        self._open_response = open_response
        self._format = body_format
        self._headers = {**headers, "Content-Type": body_format.content_type}
        self._response = ExitStack()
        self._body: Body | None = None
        self._gone = False
        self._last: Frame | None = None
        self.rejection: ErrorDetail | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> bool | None:
        return self._response.__exit__(*exception)  # type: ignore[arg-type] # passed on as they came

    def send(self, frames: Sequence[Sealed]) -> None:
        """Write frames; raises `ClientGone` when the response can't be written any more."""
        match [sealed.frame for sealed in frames]:
            case [Start(), Error(error=error)] if self._body is None:
                self.rejection = error
                return
            case [*_, last]:
                self._last = last
        self._write(b"".join(self._format.encode(sealed) for sealed in frames))

    def heartbeat(self, session_id: str) -> None:
        """Write a heartbeat; raises as `send` does."""
        self._write(self._format.heartbeat(session_id))

    def end(self) -> None:
        """Look back on the response; raises `BrokenOff` where it must not pass for a whole one.

        An answer of which nothing was sent, another worker having it now, becomes a rejection.
        """
        if self.rejection is not None:
            return
        if self._body is None:
            self.rejection = ErrorDetail.of(Internal())
        else:
            ensure_told(self._last, self._format)

    def _write(self, data: bytes) -> None:
        if self._gone:
            raise ClientGone
        try:
            if self._body is None:
                self._body = self._response.enter_context(self._open_response(200, self._headers))
            if data:
                self._body.write(data)
        except RuntimeApiError as error:
            self._gone = True  # a broken response is never mended
            raise ClientGone from error
