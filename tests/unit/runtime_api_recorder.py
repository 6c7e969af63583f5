"""A Runtime API for one process under test that records what is posted to it, piece by piece."""

import socket
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import h11

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_DEADLINE = 30.0


@dataclass
class RecordedPost:
    """A request: its head, then its body as it comes. None in `chunks` is the body's end."""

    target: str
    headers: dict[str, str]
    chunks: SimpleQueue[bytes | None] = field(default_factory=SimpleQueue)
    trailers: dict[str, str] = field(default_factory=dict)
    raw: bytearray = field(default_factory=bytearray)
    no_delay: bool = False

    def chunk(self) -> bytes | None:
        """Wait for the next piece of the body."""
        return self.chunks.get(timeout=_DEADLINE)

    def body(self) -> bytes:
        """Wait for the rest of the body."""
        return b"".join(iter(self.chunk, None))


class RuntimeApiRecorder:
    """Listens on `address`; answers each request with `answer` at its end, or hangs up after its head."""

    def __init__(self, answer: bytes = ACCEPTED, *, hang_up: bool = False) -> None:
        self._answer = answer
        self._hang_up = hang_up
        self._posts: SimpleQueue[RecordedPost] = SimpleQueue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_DEADLINE)
        self._listener.close()

    def post(self) -> RecordedPost:
        """Wait for the next request's head."""
        return self._posts.get(timeout=_DEADLINE)

    def nothing_posted(self) -> bool:
        """Tell whether every request has been taken."""
        return self._posts.empty()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._record(connection)

    def _record(self, connection: socket.socket) -> None:
        protocol, post, raw = h11.Connection(h11.SERVER), None, bytearray()
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                data = connection.recv(65536)
                raw += data
                protocol.receive_data(data)
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
                post = RecordedPost(event.target.decode(), headers, raw=raw)
                self._posts.put(post)
                if self._hang_up:
                    connection.sendall(self._answer)
                    return
            elif isinstance(event, h11.Data) and post is not None:
                post.chunks.put(bytes(event.data))
            else:
                if isinstance(event, h11.EndOfMessage) and post is not None:
                    post.trailers.update({name.decode(): value.decode() for name, value in event.headers})
                    post.chunks.put(None)
                    connection.sendall(self._answer)
                return
