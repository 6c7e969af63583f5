"""Opens WebSocket connections, and says in the library's own words why one couldn't be opened."""

import logging
import ssl
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidProxy, InvalidStatus, ProxyError
from websockets.typing import Subprotocol

from tokenstream_client.errors import ConnectionFailed, ErrorDetail, ProtocolError, RequestRejected
from tokenstream_client.transports.statuses import failure_of

CONNECT_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0

RECEIVED_LIMIT = 1024 * 1024
"""Bytes of a message beyond which the sender can't be tokenstream; API Gateway sends at most 128 KB."""

WRITE_LIMIT = 1024 * 1024
"""Bytes that may wait to be sent before sending waits too: more than a request has, so that a request isn't divided."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

# At DEBUG the library logs the handshake with its token, and every prompt.
_wire_logger = logging.getLogger(f"{__name__}.wire")
_wire_logger.setLevel(logging.INFO)


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow none: the token would go along to whatever address the server names."""
        return exc


class Handshake:
    """How to open a connection to one address that speaks a subprotocol. `server` is its name for messages."""

    def __init__(self, url: str, subprotocol: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self.server = f"{host}:{parts.port}" if parts.port else host
        self._url = url
        self._subprotocol = Subprotocol(subprotocol)
        # A local stack is never behind the proxy of the environment.
        self._proxy: Literal[True] | None = None if host in _LOOPBACK else True
        self._secure = parts.scheme == "wss"
        self._tls: ssl.SSLContext | None = None

    async def open(self, credential: str) -> ClientConnection:
        """Open a connection; the credential goes along as a subprotocol, for browsers have no other way.

        Raises `RequestRejected` when it is refused (`unauthorized` for 401 and 403), `ConnectionFailed` when it fails,
        `ProtocolError` when something else answers.
        """
        connecting = self._connecting(credential)
        try:
            websocket = await connecting
        except InvalidStatus as error:
            raise self._refusal(error) from error
        except (OSError, InvalidMessage, InvalidProxy, ProxyError) as error:
            raise ConnectionFailed(f"{self.server} can't be reached.", reached=False) from error
        except InvalidHandshake as error:
            raise ProtocolError(f"{self.server} doesn't speak WebSocket.") from error
        if websocket.subprotocol != self._subprotocol:
            await websocket.close()
            raise ProtocolError(f"{self.server} doesn't speak {self._subprotocol}.")
        return websocket

    def _connecting(self, credential: str) -> connect:
        if self._secure and self._tls is None:
            self._tls = httpx.create_ssl_context()  # the roots of the other paths
        try:
            return _Connect(
                self._url,
                subprotocols=[self._subprotocol, Subprotocol(credential)],
                compression=None,
                proxy=self._proxy,
                open_timeout=CONNECT_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                ping_interval=None,
                max_size=RECEIVED_LIMIT,
                max_queue=None,  # what comes is handed out at once
                write_limit=WRITE_LIMIT,
                logger=_wire_logger,
                ssl=self._tls,
            )
        except ValueError:
            # Not chained: its text has the token in it.
            raise _unauthorized("The token has characters that no token has.") from None

    def _refusal(self, error: InvalidStatus) -> RequestRejected | ConnectionFailed | ProtocolError:
        status = error.response.status_code
        if status in _REFUSALS:
            return _unauthorized(f"{self.server} refuses the token.")
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return ProtocolError(f"{self.server} doesn't speak WebSocket.")
        return failure_of(status, retry_after=error.response.headers.get("Retry-After"), reached=False)


def _unauthorized(message: str) -> RequestRejected:
    return RequestRejected(HTTPStatus.UNAUTHORIZED, ErrorDetail("unauthorized", message))
