"""A streamed ``POST …/response`` to the Runtime API, over a socket of its own.

Written on a plain socket: the framing is a few lines, ``http.client`` has no request trailers, and importing it would
add its e-mail parser and TLS to every cold start.
"""

import contextlib
import enum
import socket
from collections.abc import Mapping
from typing import Any

from tokenstream.runtime import function_error
from tokenstream.runtime.errors import RuntimeApiError
from tokenstream.runtime.prelude import CONTENT_TYPE

_ACCEPTED = b"202"
_REFUSAL_WAIT = 1.0
"""Seconds for the rest of a refusal: it is only read for the error's message."""
_MAX_REFUSAL_BYTES = 4096


class PostState(enum.Enum):
    """Where a response is; every state but OPEN is final."""

    OPEN = enum.auto()
    COMPLETE = enum.auto()
    FAILED = enum.auto()  # its trailers say how
    BROKEN = enum.auto()  # the connection is gone


class StreamedPost:
    """One streamed response, from its head (sent by the constructor) to its end.

    ``complete`` or ``fail`` ends it; each raises `RuntimeApiError` when the Runtime API doesn't answer 202. A write to
    a connection that broke raises it as well, and the response is over.
    """

    def __init__(self, api: str, request_id: str, invocation_id: str | None, prelude: bytes) -> None:
        """Connect to ``api`` (``host:port``) and send the request's head and the prelude in one packet."""
        self.state = PostState.OPEN
        head = [
            f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1",
            f"Host: {api}",
            "User-Agent: tokenstream-runtime",
            f"Content-Type: {CONTENT_TYPE}",
            "Lambda-Runtime-Function-Response-Mode: streaming",
            "Transfer-Encoding: chunked",
            f"Trailer: {function_error.TYPE_HEADER}, {function_error.BODY_HEADER}",
            "Connection: close",
        ]
        if invocation_id is not None:
            head.append(f"Lambda-Runtime-Invocation-Id: {invocation_id}")
        host, _, port = api.rpartition(":")
        try:
            self._socket = socket.create_connection((host, int(port)))
        except OSError as error:
            raise RuntimeApiError(f"no connection to the Runtime API at {api}: {error}") from error
        # Without it a token waits for the acknowledgement of the one before.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send("\r\n".join([*head, "", ""]).encode() + _chunk(prelude))

    @property
    def is_open(self) -> bool:
        """Tell whether the response can still be written to or ended."""
        return self.state is PostState.OPEN

    def write(self, data: bytes) -> None:
        """Send one chunk. Nothing is sent for no bytes: an empty chunk would end the body."""
        if data:
            self._send(_chunk(data))

    def complete(self) -> None:
        """End the body."""
        self._end(b"0\r\n\r\n", PostState.COMPLETE)

    def fail(self, described: Mapping[str, Any]) -> None:
        """End the body with the failure (see `function_error.describe`) in HTTP trailers."""
        self._end(b"0\r\n" + function_error.encode_trailers(described), PostState.FAILED)

    def _end(self, last: bytes, state: PostState) -> None:
        self._send(last)
        self.state = state
        with self._socket:
            status, answer = self._answer()
        if status != _ACCEPTED:
            self.state = PostState.BROKEN
            raise RuntimeApiError(f"the Runtime API did not accept the response: {answer!r}")

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            self.state = PostState.BROKEN
            with self._socket:
                _, answer = self._answer()
            raise RuntimeApiError(f"the Runtime API hung up during the response: {answer!r} ({error})") from error
        except BaseException:
            # A signal handler raised: part of a chunk may be out, and nothing can follow it.
            self.state = PostState.BROKEN
            self._socket.close()
            raise

    def _answer(self) -> tuple[bytes, str]:
        """Return the status code, empty without an answer, and the start of a refusal."""
        received = b""
        with contextlib.suppress(OSError):
            while b"\r\n" not in received and (data := self._socket.recv(_MAX_REFUSAL_BYTES)):
                received += data
            status = received[len(b"HTTP/1.1 ") :][:3]
            if status == _ACCEPTED:
                return status, ""
            self._socket.settimeout(_REFUSAL_WAIT)
            while len(received) < _MAX_REFUSAL_BYTES and (data := self._socket.recv(_MAX_REFUSAL_BYTES)):
                received += data
        return received[len(b"HTTP/1.1 ") :][:3], received.decode(errors="replace")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
