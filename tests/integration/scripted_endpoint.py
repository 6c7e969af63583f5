"""An HTTP/1.1 endpoint on loopback whose answers a test scripts down to the byte, one script a request, in order."""

import contextlib
import socket
import socketserver
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

PATIENCE_SECONDS = 20.0
"""How long anything is waited for before the test has failed."""


@dataclass(frozen=True)
class Received:
    """A request as it came; header names in lower case. `connection` counts from 1."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Exchange:
    """A request and the means to answer it."""

    received: Received
    connection: socket.socket
    hung_up: bool = field(default=False)

    def head(self, status: int = 200, *lines: str) -> None:
        """Send the head of a response whose body comes in chunks."""
        self.raw(status_line(status) + "".join(f"{line}\r\n" for line in lines).encode() + CHUNKED)

    def chunk(self, data: bytes) -> None:
        self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.raw(b"0\r\n\r\n")

    def raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def hang_up(self) -> None:
        """Close the connection in order, whatever is still missing."""
        self.hung_up = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)

    def await_leaving(self) -> None:
        """Wait until the client has closed the connection; fails if it doesn't."""
        self.hung_up = True
        self.connection.settimeout(PATIENCE_SECONDS)
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            assert self.connection.recv(1) == b"", "the client sent something instead of leaving"


Script = Callable[[Exchange], None]
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d Scripted\r\n" % status


class Endpoint:
    """What the scripts have seen. `faults` are failures within scripts; leaving the context raises the first."""

    def __init__(self, scripts: Iterable[Script], tls: ssl.SSLContext | None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.faults: list[BaseException] = []
        self._scripts = iter(scripts)
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._tls = tls
        self.url = ""

    def serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            number = self.connections
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            with connection, connection.makefile("rb") as reader:
                while self._answer(connection, number, reader):
                    pass
        except OSError:
            pass  # the client's leaving is not this end's concern: scripts that wait for it say so
        except BaseException as fault:  # noqa: BLE001 - raised again in the test's own thread
            self.faults.append(fault)
        finally:
            self._open.discard(connection)

    def close_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket, number: int, reader: Any) -> bool:
        request_line = reader.readline().decode().split()
        if not request_line:
            return False
        method, target, _ = request_line
        headers = {}
        while line := reader.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        received = Received(number, method, target, headers, reader.read(int(headers.get("content-length", 0))))
        with self._lock:
            self.requests.append(received)
            script = next(self._scripts, None)
        assert script is not None, f"nobody expected another request: {received}"
        exchange = Exchange(received, connection)
        script(exchange)
        return not exchange.hung_up


class _Server(socketserver.ThreadingTCPServer):
    endpoint: Endpoint
    request_queue_size = 50

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.endpoint.serve(request)
        self.shutdown_request(request)


@contextmanager
def scripted_endpoint(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    """Listen on a free port while the context lasts."""
    endpoint = Endpoint(scripts, tls)
    server = _Server(("127.0.0.1", 0), socketserver.BaseRequestHandler)
    server.endpoint = endpoint
    endpoint.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        endpoint.close_connections()
        server.server_close()
    for fault in endpoint.faults:
        raise fault


def streamed(messages: Iterable[bytes]) -> Script:
    """Answer with a whole stream, a chunk a message."""

    def script(exchange: Exchange) -> None:
        exchange.head()
        for message in messages:
            exchange.chunk(message)
        exchange.end()

    return script


def refused(status: int, error_type: str = "") -> Script:
    """Answer with an error as AWS's services do."""

    def script(exchange: Exchange) -> None:
        body = b'{"message": "details of theirs"}'
        lines = [f"Content-Length: {len(body)}"]
        if error_type:
            lines.append(f"x-amzn-ErrorType: {error_type}:http://internal.amazon.com/coral/com.amazon.bedrock/")
        exchange.raw(status_line(status) + "\r\n".join([*lines, "", ""]).encode() + body)

    return script


@dataclass
class Watched:
    """A script that waits, and lets the test know where it is."""

    script: Script
    reached: Event = field(default_factory=Event)
    left: Event = field(default_factory=Event)

    def __call__(self, exchange: Exchange) -> None:
        self.script(exchange)
        self.reached.set()
        exchange.await_leaving()
        self.left.set()
