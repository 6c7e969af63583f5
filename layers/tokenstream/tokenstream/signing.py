"""One kept-alive, SigV4-signed HTTP connection to an AWS endpoint, whose exchange another thread can abort.

An SDK client gives no way to end a call that waits for the model, and pays for a session, a pool and a parser per
message. Credentials and their refresh stay botocore's. See docs/adr/0004 and docs/adr/0011.
"""

import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from threading import Lock
from time import time
from urllib.parse import urlsplit

from tokenstream.credentials import Credentials
from tokenstream.http1 import ProtocolError, Response, ResponseReader, State
from tokenstream.sigv4 import Signer

CONNECT_TIMEOUT_SECONDS = 3.0

_READ_BYTES = 16 * 1024
"""What a TLS record may have."""


class Aborted(Exception):
    """The exchange was ended by `abort`."""


class ConnectionFailed(Exception):
    """No answer came: the endpoint can't be reached, or the connection broke off."""


class ReadTimedOut(Exception):
    """The endpoint was silent for longer than the time-out."""


class _ClosedBefore(Exception):
    """The other side has closed the connection without a byte of an answer."""


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificate authorities takes tens of milliseconds: once a process.
    return ssl.create_default_context()


class SignedConnection:
    """An HTTP/1.1 connection for one exchange at a time; the next one reuses it if the response was read to its end.

    `endpoint` is `https://host[:port]` (plain `http` for local stand-ins), `read_timeout` seconds of silence. After
    `abort` it is of no more use.
    """

    def __init__(
        self,
        endpoint: str,
        service: str,
        region: str,
        credentials: Credentials,
        *,
        read_timeout: float,
        connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        url = urlsplit(endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"not an HTTP endpoint: {endpoint}")
        self._tls = _tls() if url.scheme == "https" else None
        self._address = (url.hostname, url.port or (443 if self._tls else 80))
        self._signer = Signer(service, region, url.netloc.rpartition("@")[2])
        self._credentials = credentials
        self._read_timeout = read_timeout
        self._connect_timeout = connect_timeout
        self._response: ResponseReader | None = None
        self._socket: socket.socket | None = None
        self._lock = Lock()
        self.aborted = False

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send a signed request and wait for the head of the response; `path` is percent-encoded already.

        Raises `Aborted`, `ConnectionFailed`, `ReadTimedOut`. A kept connection that the other side has closed in the
        meantime is opened anew, once.
        """
        if self._socket is not None and not self._reusable(self._socket):
            self.close()
        kept = self._socket is not None
        self._response = None
        try:
            try:
                return self._asked(method, path, body, headers)
            except (_ClosedBefore, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                if not kept or self.aborted or (self._response is not None and self._response.begun):
                    raise
                self.close()
                return self._asked(method, path, body, headers)
        except (OSError, ProtocolError, _ClosedBefore) as error:
            self.close()
            raise self._translated(error) from error

    def read(self) -> bytes:
        """Return what has arrived of the response, waiting for at least a byte; empty at its end.

        Raises as `request` does.
        """
        response = self._response
        if response is None:
            raise ValueError("there is no response to read")
        try:
            while not (data := response.body()) and response.state is not State.ENDED:
                self._receive(response)
        except (OSError, ProtocolError) as error:
            self.close()
            raise self._translated(error) from error
        if self.aborted:
            self.close()
            raise Aborted
        return data

    def exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[Response, bytes]:
        """Send a request; returns the response with its whole body. Raises as `request` does."""
        response = self.request(method, path, body, headers)
        return response, b"".join(iter(self.read, b""))

    def abort(self) -> None:
        """End the exchange under way, from any thread: the one that waits in it gets `Aborted`."""
        with self._lock:
            self.aborted = True
            if self._socket is not None:
                # Closing the descriptor would not wake the reader; SSLSocket's own shutdown drops the state that it
                # reads with. An OSError means that the other side was quicker.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        with self._lock:
            self._response = None
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _asked(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        if self._socket is None:
            try:
                self._socket = self._connected()
            except TimeoutError as error:
                # Not the silence of a model that thinks.
                raise ConnectionRefusedError from error
        if self.aborted:
            raise ConnectionAbortedError
        # Frozen: credentials that are refreshed between two reads would sign with halves of two pairs.
        keys = self._credentials.get_frozen_credentials()
        # In one piece: as two, head and body would be two packets.
        self._socket.sendall(self._signer.head(keys, method, path, headers, body, time()) + body)
        self._response = response = ResponseReader()
        while (answer := response.head()) is None:
            self._receive(response)
        return answer

    def _reusable(self, kept: socket.socket) -> bool:
        """Tell whether nothing is left of the last exchange, and nothing has come since: an end, or what isn't ours."""
        if self._response is None or not self._response.keeps_alive:
            return False
        waiting = select.poll()
        waiting.register(kept, select.POLLIN)
        return not waiting.poll(0)

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self._address, self._connect_timeout)
        try:
            # Without it a message waits for the acknowledgement of the one before.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_hostname=self._address[0])
            connected.settimeout(self._read_timeout)
        except BaseException:
            connected.close()
            raise
        return connected

    def _receive(self, response: ResponseReader) -> None:
        if self._socket is None:
            raise ConnectionAbortedError
        data = self._socket.recv(_READ_BYTES)
        if not data and not response.begun:
            raise _ClosedBefore
        response.feed(data)

    def _translated(self, error: Exception) -> Exception:
        if self.aborted:
            return Aborted()
        if isinstance(error, TimeoutError):
            return ReadTimedOut()
        return ConnectionFailed()
