"""Follows one session's frames by a subscription, and by looking at what is stored of them.

AppSync loses events: right after it has confirmed a subscription, and when there are too many. And what was published
just before a subscription is stored up to half a second later: who reads what is stored in between lacks it. A frame
that is missing between others shows. That the first ones or the last one are missing shows in nothing but silence, and
so does a model that thinks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tokenstream_client.assembler import Assembler
from tokenstream_client.errors import ConnectionFailed, RequestRejected, SignInFailed
from tokenstream_client.frames import Heartbeat, Message, Position, parse
from tokenstream_client.transports.appsync_messages import Page

FINDS_LIMIT = 2
"""Times that frames are found which no event has brought, before the subscription counts as dead."""

FAILURES_LIMIT = 4
"""Times that looking fails before the server counts as silent. Until then events may come all the same."""


class Live(Protocol):
    """`appsync_connection.Subscription`."""

    async def __anext__(self) -> Message: ...

    def distrust(self) -> None:
        """Have the subscription that follows this one made on another connection."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds before a look: of silence, at first and at most, doubling while nothing is found; and of a gap."""

    first: float
    longest: float
    gap: float


class Following:
    """Looks, by `look`, at what is stored behind a position, while nothing comes from `live`."""

    def __init__(
        self, live: Live, look: Callable[[Position], Awaitable[Page]], after: Position, pauses: Pauses
    ) -> None:
        self._live = live
        self._look = look
        self._seen = Assembler(after)
        self._pauses = pauses
        self._pause = pauses.first
        self._gap_since: float | None = None
        self._finds = 0
        self._failures = 0

    async def messages(self, page: Page) -> AsyncGenerator[Message, None]:
        """Give frames as they come, not in order and some of them twice; `page` are those that are known to be stored.

        Raises what `live` raises; what `look` raises only where it is final, or fails time after time.
        """
        after = self._seen.position
        while True:
            last = after
            for message in page.frames:
                last = self._note(message, last)
                yield message
            if page.more and last > after:
                after = last
                page = await self._stored(after)
            else:
                page = await self._next()
                after = self._seen.position

    async def _next(self) -> Page:
        try:
            async with asyncio.timeout_at(self._patience()):
                message = await anext(self._live)
        except TimeoutError:
            return await self._missed()
        self._pause, self._finds, self._failures = self._pauses.first, 0, 0
        return Page((message,))

    def _patience(self) -> float:
        """Return the time until which an event is waited for."""
        now = asyncio.get_running_loop().time()
        if not self._seen.gap:
            self._gap_since = None
            return now + self._pause
        if self._gap_since is None:
            self._gap_since = now
        return min(now + self._pause, self._gap_since + self._pauses.gap)

    async def _missed(self) -> Page:
        if self._finds == FINDS_LIMIT:
            self._live.distrust()
            raise ConnectionFailed("The events of the answer have stopped coming.")
        self._gap_since = None
        page = await self._stored(self._seen.position)
        self._finds += bool(page.frames)
        self._pause = self._pauses.first if page.frames else min(2 * self._pause, self._pauses.longest)
        return page

    async def _stored(self, after: Position) -> Page:
        try:
            page = await self._look(after)
        except (ConnectionFailed, RequestRejected, SignInFailed) as error:
            self._failures += 1
            if error.code == "not_found" or self._failures == FAILURES_LIMIT:
                raise
            return Page()
        self._failures = 0
        return page

    def _note(self, message: Message, last: Position) -> Position:
        received = parse(message)
        if isinstance(received, Heartbeat):
            return last
        self._seen.add(received)
        return received.position
