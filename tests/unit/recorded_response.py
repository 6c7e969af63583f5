"""Stands in for `response_stream`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event

from tokenstream.runtime import RuntimeApiError, StreamClosedError


class RecordedResponse:
    """A response and what was written to it. While `breaks` is set, a write breaks it for good, as the real one's."""

    def __init__(self) -> None:
        self.head: tuple[int, Mapping[str, str]] | None = None
        self.writes: list[bytes] = []
        self.ended: str | None = None
        self.written = Event()
        self.breaks = False
        self._broken = False

    @contextmanager
    def open(
        self, status: int, headers: Mapping[str, str], cookies: Sequence[str] = ()
    ) -> Iterator["RecordedResponse"]:
        assert self.head is None, "a response opens once"
        self.head = (status, headers)
        try:
            yield self
        except BaseException as failure:
            self.ended = type(failure).__name__
            raise
        self.ended = "well"

    def write(self, data: bytes) -> None:
        assert data, "an empty chunk would end the body"
        if self._broken:
            raise StreamClosedError("the response stream isn't open")
        if self.breaks:
            self._broken = True
            raise RuntimeApiError("the Runtime API hung up")
        self.writes.append(data)
        self.written.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)
