"""The path `appsync`: requests over HTTP, answers as events of GraphQL subscriptions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from tokenstream_client.errors import ConnectionFailed, RequestRejected
from tokenstream_client.frames import BEGINNING, Message, Position
from tokenstream_client.request import Request
from tokenstream_client.tokens import TokenProvider
from tokenstream_client.transports.appsync_connection import AppSyncConnection, Subscription
from tokenstream_client.transports.appsync_following import Following, Pauses
from tokenstream_client.transports.appsync_handshake import AppSyncHandshake
from tokenstream_client.transports.appsync_messages import Page, authorization
from tokenstream_client.transports.appsync_operations import Operations
from tokenstream_client.transports.shared_attempt import SharedAttempt

T = TypeVar("T")

ACK_TIMEOUT = 15.0
"""Seconds for AppSync to confirm a connection or a subscription."""

PAUSES = Pauses(first=5.0, longest=30.0, gap=1.0)


class AppSyncTransport:
    """Talks to one API, over `http`, which is closed with it, and over real-time connections.

    A connection is opened by the first use, and another where those there are have no room for a further stream. One
    that ended is replaced by the next use; the streams on it are resumed by their `Stream`. A model's silence is
    nothing unusual here: after `pauses`, none of them longer than `idle_timeout`, what is stored is looked at.
    """

    def __init__(
        self,
        url: str,
        realtime_url: str,
        tokens: TokenProvider,
        http: httpx.AsyncClient,
        *,
        idle_timeout: float,
        pauses: Pauses = PAUSES,
    ) -> None:
        self._host = urlsplit(url).netloc
        self._operations = Operations(url, http)
        self._handshake = AppSyncHandshake(realtime_url, self._host, ack_timeout=min(ACK_TIMEOUT, idle_timeout))
        self._tokens = tokens
        self._http = http
        self._pauses = Pauses(*(min(pause, idle_timeout) for pause in (pauses.first, pauses.longest, pauses.gap)))
        self._closed = False
        self._opening = SharedAttempt(self._open)
        self._connections: set[AppSyncConnection] = set()

    async def prepare(self) -> None:
        """Fetch a token and connect, so that the request that follows measures nothing but itself.

        A connection that fails is told by that request, which is tried again.
        """
        await self._tokens.token()
        with suppress(ConnectionFailed):
            await self._connection()

    async def connect(self) -> None:
        """Fetch a token and connect, for events and for mutations."""
        await self._connection()
        await self._operations.connect()

    @asynccontextmanager
    async def start(self, request: Request) -> AsyncIterator[AsyncIterator[Message]]:
        """Subscribe, and only then send `startStream`: an event that nobody has subscribed to is lost."""
        try:
            live = await self._subscribed(request.session_id)
        except ConnectionFailed as error:  # whatever it reached, it wasn't the request
            raise ConnectionFailed(error.message, reached=False, retry_after=error.retry_after) from error
        with closing(live):
            await self._authorized(partial(self._operations.start, request=request))
            async with aclosing(self._follow(live, request.session_id, BEGINNING).messages(Page())) as messages:
                yield messages

    @asynccontextmanager
    async def resume(self, session_id: str, after: Position) -> AsyncIterator[AsyncIterator[Message]]:
        """Subscribe, and only then read what is stored: nothing falls in between."""
        with closing(await self._subscribed(session_id)) as live:
            page = await self._stored(session_id, after)
            async with aclosing(self._follow(live, session_id, after).messages(page)) as messages:
                yield messages

    async def cancel(self, session_id: str) -> None:
        """Send `cancelStream`."""
        await self._authorized(partial(self._operations.cancel, session_id=session_id))

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        await self._opening.cancel()
        await asyncio.gather(*(connection.aclose() for connection in self._connections))
        await self._http.aclose()

    def _follow(self, live: Subscription, session_id: str, after: Position) -> Following:
        return Following(live, partial(self._stored, session_id), after, self._pauses)

    async def _stored(self, session_id: str, after: Position) -> Page:
        return await self._authorized(partial(self._operations.stored, session_id=session_id, after=after))

    async def _subscribed(self, session_id: str) -> Subscription:
        await self._connection()  # whose own refusals are not to be taken for the subscription's
        return await self._authorized(partial(self._subscribe, session_id))

    async def _subscribe(self, session_id: str, token: str) -> Subscription:
        connection = await self._connection()
        return await connection.subscribe(session_id, authorization(self._host, token))

    async def _connection(self) -> AppSyncConnection:
        """Return an open connection with room for a subscription, to be used at once."""
        while True:
            if self._closed:
                raise RuntimeError("the client has been closed")
            for connection in self._connections:
                if connection.has_room:
                    return connection
            await self._opening.result()

    async def _open(self) -> None:
        open_ = partial(self._handshake.open, on_closed=self._connections.discard)
        self._connections.add(await self._authorized(open_))

    async def _authorized(self, do: Callable[[str], Awaitable[T]]) -> T:
        """Do something with a token; once more with another one when it is refused."""
        token = await self._tokens.token()
        try:
            return await do(token)
        except RequestRejected as rejection:
            if rejection.code != "unauthorized":
                raise
            renewed = await self._tokens.token(refused=token)
            if renewed == token:
                raise
        return await do(renewed)
