"""The ways to a stack: one transport a file, behind this small base."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, assert_never

from tokenstream_client.endpoints import Endpoints, PathName
from tokenstream_client.frames import Message, Position
from tokenstream_client.request import Request
from tokenstream_client.tokens import TokenProvider


class Transport(Protocol):
    """Carries requests out and messages in; knows nothing of their order.

    Every method raises `RequestRejected` when the server turns it down and `ConnectionFailed` when the connection
    fails, also when nothing at all, not even a heartbeat, came for the idle timeout; iterating does as well. Messages
    that end without an exception don't mean that the answer did.
    """

    async def prepare(self) -> None:
        """Get ready to send: sign in if need be."""

    async def connect(self) -> None:
        """Get ready to send, and open the connections that the next request goes over. No function is woken by it."""

    def start(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Ask for an answer; entering returns once the server has accepted it."""

    def resume(self, session_id: str, after: Position) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Ask for the frames after a position, those stored and those to come."""

    async def cancel(self, session_id: str) -> None:
        """Ask for the generation to stop. The terminal frame comes on the stream, not from here."""

    async def aclose(self) -> None:
        """Close every connection."""


def open_transport(
    path: PathName, endpoints: Endpoints, tokens: TokenProvider | None, *, idle_timeout: float
) -> Transport:
    """Return the transport of a path; without `tokens` it signs in as the user of the endpoints."""
    url = endpoints.url(path)
    # httpx takes 0.1 s to import, websockets as long: the command's --help and usage errors don't wait for them, and
    # one path doesn't wait for what another needs.
    from tokenstream_client.cognito import CognitoTokens  # noqa: PLC0415
    from tokenstream_client.transports.http import HttpTransport, http_client  # noqa: PLC0415

    http = http_client(idle_timeout)
    tokens = tokens or CognitoTokens(endpoints, http)
    match path:
        case "url" | "rest":
            return HttpTransport(url, tokens, http)
        case "websocket":
            from tokenstream_client.transports.websocket import WebSocketTransport  # noqa: PLC0415

            return WebSocketTransport(url, tokens, http, idle_timeout=idle_timeout)
        case "appsync":
            from tokenstream_client.transports.appsync import AppSyncTransport  # noqa: PLC0415

            return AppSyncTransport(url, endpoints.realtime_url, tokens, http, idle_timeout=idle_timeout)
        case _:
            assert_never(path)
