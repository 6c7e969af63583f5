"""The asynchronous client of one stack."""

import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypedDict, Unpack

from tokenstream_client.delivery import Delivery, require_delivery
from tokenstream_client.endpoints import Endpoints, PathName
from tokenstream_client.errors import AnswerFailed
from tokenstream_client.frames import ErrorFrame, Frame, Start, Token
from tokenstream_client.request import Request
from tokenstream_client.retry import RetryPolicy
from tokenstream_client.stream import Stream
from tokenstream_client.tokens import FixedToken, TokenProvider
from tokenstream_client.transports import open_transport

IDLE_TIMEOUT = 45.0
"""Seconds without a sign of life after which a stream's connection counts as broken; heartbeats come more often."""


class RequestFields(TypedDict, total=False):
    """What may be asked for; the fields of `Request`."""

    prompt: str
    messages: Sequence[Mapping[str, str]]
    system: str | None
    model: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: Sequence[str] | None
    delivery: Delivery | None
    session_id: str


class Client:
    """Streams answers from a stack over one path. Safe for many streams at once; close it, or use `async with`.

    `endpoints` defaults to the local stack's file. The user of the endpoints signs in on first use; `token`, an ID
    token or what provides one, replaces that.
    """

    def __init__(
        self,
        endpoints: Endpoints | None = None,
        *,
        path: PathName = "url",
        token: str | TokenProvider | None = None,
        retry: RetryPolicy | None = None,
        idle_timeout: float = IDLE_TIMEOUT,
    ) -> None:
        self._path: PathName = path
        tokens = FixedToken(token) if isinstance(token, str) else token
        self._transport = open_transport(path, endpoints or Endpoints.load(), tokens, idle_timeout=idle_timeout)
        self._retry = retry or RetryPolicy()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def stream(
        self,
        *,
        on_heartbeat: Callable[[], None] | None = None,
        on_resuming: Callable[[], None] | None = None,
        **request: Unpack[RequestFields],
    ) -> Stream:
        """Return the answer to a prompt or a conversation as a stream of frames.

        `on_heartbeat` is called for each heartbeat, `on_resuming` when the connection was lost: once, however many
        tries it takes until the next frame. Raises `ValueError` for a delivery that the path doesn't have.
        """
        require_delivery(self._path, request.get("delivery"))
        stream = Stream(
            self._transport,
            Request(**request),
            retry=self._retry,
            on_heartbeat=on_heartbeat,
            on_resuming=on_resuming,
        )
        self._streams.add(stream)
        return stream

    async def text(self, **request: Unpack[RequestFields]) -> str:
        """Return the whole text of an answer, also of one that was cut short (`max_tokens`, a deadline, a cancel).

        Raises `AnswerFailed` for a terminal `error` frame.
        """
        pieces: list[str] = []
        async with self.stream(**request) as frames:
            async for frame in frames:
                match frame:
                    case Start():
                        pieces.clear()
                    case Token():
                        pieces.append(frame.token)
                    case ErrorFrame():
                        raise AnswerFailed(frame.error)
                    case _:
                        pass
        return "".join(pieces)

    async def connect(self) -> None:
        """Sign in and open the connections that the next stream uses, which then measures nothing but itself.

        Nobody has to: a stream does it by itself. A connection over HTTP waits half a minute for it. Raises
        `SignInFailed`, `ConnectionFailed` and `RequestRejected`.
        """
        await self._transport.connect()

    async def cancel(self, session_id: str) -> None:
        """Stop the generation of any session of the user's."""
        await self._transport.cancel(session_id)

    async def aclose(self) -> None:
        """Stop the answers that haven't ended and close every connection."""
        for stream in list(self._streams):
            await stream.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def stream(
    *, endpoints: Endpoints | None = None, path: PathName = "url", **request: Unpack[RequestFields]
) -> AsyncGenerator[Frame, None]:
    """Stream one answer with a client of its own; see `Client.stream`."""
    async with Client(endpoints, path=path) as client, client.stream(**request) as frames:
        async for frame in frames:
            yield frame
