"""One kept-alive, SigV4-signed HTTP connection to an AWS endpoint, whose exchange another thread can abort.

An SDK client gives no way to end a call that waits for the model, and pays for a session, a pool and a parser per
message. Credentials, their refresh and the signature stay botocore's.
"""

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import cast
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CONNECT_TIMEOUT_SECONDS = 3.0


class Aborted(Exception):
    """The exchange was ended by `abort`."""


class ConnectionFailed(Exception):
    """No answer came: the endpoint can't be reached, or the connection broke off."""


class ReadTimedOut(Exception):
    """The endpoint was silent for longer than the time-out."""


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
        self, endpoint: str, service: str, region: str, credentials: Credentials, *, read_timeout: float
    ) -> None:
        url = urlsplit(endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"not an HTTP endpoint: {endpoint}")
        self._endpoint = f"{url.scheme}://{url.netloc}"
        self._service = service
        self._region = region
        self._credentials = credentials
        self._read_timeout = read_timeout
        if url.scheme == "https":
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                url.hostname, url.port, timeout=CONNECT_TIMEOUT_SECONDS, context=_tls()
            )
        else:
            self._http = http.client.HTTPConnection(url.hostname, url.port, timeout=CONNECT_TIMEOUT_SECONDS)
        self._response: http.client.HTTPResponse | None = None
        # Kept apart: http.client forgets its own behind the head of a response with `Connection: close`.
        self._socket: socket.socket | None = None
        self._lock = Lock()
        self.aborted = False

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a signed request and wait for the head of the response; `path` is percent-encoded already.

        Raises `Aborted`, `ConnectionFailed`, `ReadTimedOut`. A kept connection that the other side has closed in the
        meantime is opened anew, once.
        """
        if self._response is not None and not self._response.isclosed():
            self.close()
        kept = self._http.sock is not None
        try:
            try:
                return self._exchange(method, path, body, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                if not kept or self.aborted:
                    raise
                self.close()
                return self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._translated(error) from error

    def read(self) -> bytes:
        """Return what has arrived of the response, at most 64 KiB, waiting for at least a byte; empty at its end.

        Raises as `request` does.
        """
        if self._response is None:
            raise ValueError("there is no response to read")
        try:
            data = self._response.read1(65536)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            raise self._translated(error) from error
        if self.aborted:
            self.close()
            raise Aborted
        if not data:
            # http.client leaves a response of known length open behind its last byte: that would cost the connection.
            self._response.close()
        return data

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
            if self._response is not None:
                self._response.close()
                self._response = None
            self._http.close()
            self._socket = None

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._http.sock is None:
            try:
                self._http.connect()
            except TimeoutError as error:
                # Not the silence of a model that thinks.
                raise ConnectionRefusedError from error
            self._socket = cast("socket.socket", self._http.sock)
            self._socket.settimeout(self._read_timeout)
        if self.aborted:
            raise ConnectionAbortedError
        request = AWSRequest(method, self._endpoint + path, headers=dict(headers), data=body)
        # Frozen: credentials that are refreshed between two reads would sign with halves of two pairs.
        SigV4Auth(self._credentials.get_frozen_credentials(), self._service, self._region).add_auth(request)
        self._http.request(method, path, body, dict(request.headers.items()))
        self._response = self._http.getresponse()
        return self._response

    def _translated(self, error: Exception) -> Exception:
        if self.aborted:
            return Aborted()
        if isinstance(error, TimeoutError):
            return ReadTimedOut()
        return ConnectionFailed()
