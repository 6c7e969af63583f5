"""One answer, followed to its end over as many connections as it takes."""

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from enum import Enum, auto
from types import AsyncGeneratorType, TracebackType
from typing import Self

from tokenstream_client.assembler import Arrivals, Assembler
from tokenstream_client.errors import ClientError, ConnectionFailed, RequestRejected, StreamLost
from tokenstream_client.frames import Frame, Heartbeat, Message, Position, parse
from tokenstream_client.request import Request
from tokenstream_client.retry import Backoff, RetryPolicy
from tokenstream_client.transports import Transport

GAP_TIMEOUT = 5.0
"""Seconds that a missing frame is waited for before it is fetched by resuming."""

CANCEL_TIMEOUT = 5.0
"""Seconds within which a cancel has to reach the server."""

CANCEL_RETRY_DELAY = 0.2

logger = logging.getLogger(__name__)


class _Session(Enum):
    """What is known of the session on the server."""

    NONE = auto()  # no request has reached it
    POSSIBLE = auto()  # a request is on its way, or was lost with its response
    EXISTS = auto()


class Stream:
    """An asynchronous iterable of frames, in order and each once, that ends after the terminal frame.

    The request is sent when the iteration begins; iterate once. While the answer lasts, a broken connection is
    resumed. Leaving the iteration early, in whatever way, asks the server to stop generating; `async with` makes sure
    that this has happened when the block is left. Iterating raises `RequestRejected` when no answer begins,
    `ConnectionFailed` when the server isn't reached and `StreamLost` when the rest can't be fetched.
    """

    def __init__(
        self,
        transport: Transport,
        request: Request,
        *,
        retry: RetryPolicy,
        gap_timeout: float = GAP_TIMEOUT,
        on_heartbeat: Callable[[], None] | None = None,
        on_resuming: Callable[[], None] | None = None,
    ) -> None:
        self._transport = transport
        self._request = request
        self._retry = retry
        self._backoff = Backoff(retry)
        self._gap_timeout = gap_timeout
        self._on_heartbeat = on_heartbeat
        self._on_resuming = on_resuming
        self._assembler = Assembler()
        # Weak, or the frames would keep themselves alive: `break` in an `async for` drops the last reference to the
        # generator, and asyncio then closes it.
        self._frames: weakref.ref[AsyncGenerator[Frame, None]] | None = None
        self._sent_at: float | None = None
        self._session = _Session.NONE
        self._gap_deadline: float | None = None
        self._resuming = False
        self._resumes = 0
        self._given_up = False
        self._may_go_on = False
        self._cancel_wanted = False
        self._cancelling: asyncio.Task[None] | None = None

    @property
    def session_id(self) -> str:
        """The id of the answer's session."""
        return self._request.session_id

    @property
    def position(self) -> Position:
        """The last frame handed out."""
        return self._assembler.position

    @property
    def ended(self) -> bool:
        """Whether the terminal frame was handed out."""
        return self._assembler.ended

    @property
    def arrivals(self) -> Arrivals:
        """How the frames came: how many, and which of them twice, late or for nothing. Heartbeats don't count."""
        return self._assembler.arrivals

    @property
    def resumes(self) -> int:
        """How often the connection was lost: once for each loss, however many tries it took."""
        return self._resumes

    @property
    def may_go_on(self) -> bool:
        """Whether the stream was left but the server couldn't be told to stop generating."""
        return self._may_go_on

    def __aiter__(self) -> AsyncGenerator[Frame, None]:
        if self._frames is not None:
            raise RuntimeError("a stream is iterated once")
        frames = self._follow()
        self._frames = weakref.ref(frames)
        return frames

    async def cancel(self) -> None:
        """Ask the server to stop generating, and go on iterating: the terminal frame says `cancelled`.

        Returns when the server has taken the request in; raises what prevents it. Before the request is sent it
        prevents the sending, and the iteration ends without a frame.
        """
        self._cancel_wanted = True
        if self._stoppable:
            await self._stop()

    async def aclose(self) -> None:
        """Leave the stream; an answer that hasn't ended is stopped."""
        self._cancel_wanted = True
        frames = self._frames() if self._frames is not None else None
        if isinstance(frames, AsyncGeneratorType) and not frames.ag_running:
            await frames.aclose()
        await self._abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _follow(self) -> AsyncGenerator[Frame, None]:
        try:
            await self._transport.prepare()
            self._sent_at = time.monotonic()
            while self._session is _Session.EXISTS or not self._cancel_wanted:
                before = self._session
                try:
                    async with self._connect() as messages:
                        self._session = _Session.EXISTS
                        while (message := await self._next(messages)) is not None:
                            for frame in self._take(message):
                                yield frame
                            if self.ended:
                                return
                    failure: ConnectionFailed | RequestRejected = ConnectionFailed(
                        "The connection ended before the answer did."
                    )
                except (ConnectionFailed, RequestRejected) as error:
                    failure = error
                await asyncio.sleep(self._delay_after(failure, before))
        finally:
            await self._abandon()

    def _connect(self) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        if self._session is _Session.EXISTS:
            return self._transport.resume(self.session_id, self.position)
        self._session = _Session.POSSIBLE
        return self._transport.start(self._request)

    async def _next(self, messages: AsyncIterator[Message]) -> Message | None:
        """Return the next message, `None` at the end; a frame that stays missing counts as a broken connection."""
        if not self._assembler.gap:
            self._gap_deadline = None
        elif self._gap_deadline is None:
            self._gap_deadline = asyncio.get_running_loop().time() + self._gap_timeout
        try:
            async with asyncio.timeout_at(self._gap_deadline):
                return await anext(messages, None)
        except TimeoutError as error:
            self._gap_deadline = None
            raise ConnectionFailed("A frame is missing.") from error

    def _take(self, message: Message) -> list[Frame]:
        now = time.monotonic()
        received = parse(message, (now - (self._sent_at or now)) * 1000)
        if isinstance(received, Heartbeat):
            if self._on_heartbeat is not None:
                self._on_heartbeat()
            return []
        before = self.position
        frames = self._assembler.add(received)
        if self.position > before:
            self._backoff.progress()
            self._resuming = False
        return frames

    def _delay_after(self, failure: ConnectionFailed | RequestRejected, before: _Session) -> float:
        """Return the seconds until the next try; raise when there is to be none. `before` is the state before it."""
        if isinstance(failure, RequestRejected):
            if self._session is not _Session.EXISTS:
                # The session id was used before: by the try whose response never came.
                if failure.code == "conflict" and before is _Session.POSSIBLE:
                    self._session = _Session.EXISTS
                    return 0.0
                self._session = before
                raise failure
            if not failure.retryable:
                raise StreamLost(
                    f"The connection broke, and the rest of the answer can't be fetched: {failure.message}",
                    code=failure.code,
                ) from failure
        elif not failure.reached:
            self._session = before
        exists = self._session is _Session.EXISTS
        budget = self._retry.resume_budget if exists else self._retry.start_budget
        delay = self._backoff.next_delay(time.monotonic(), budget=budget, retry_after=failure.retry_after)
        if delay is not None:
            if exists:
                self._tell_resuming()
            return delay
        if not exists:
            raise failure
        self._given_up = True
        raise StreamLost(
            f"The connection broke after frame {self.position} and couldn't be resumed within {budget:g} s: "
            f"{failure.message}",
            retryable=True,
            retry_after=failure.retry_after,
        ) from failure

    def _tell_resuming(self) -> None:
        if not self._resuming:
            self._resumes += 1
            if self._on_resuming is not None:
                self._on_resuming()
        self._resuming = True

    @property
    def _stoppable(self) -> bool:
        return self._session is not _Session.NONE and not self.ended

    async def _abandon(self) -> None:
        if not self._stoppable:
            return
        try:
            await self._stop()
        except ClientError as error:
            if not self._may_go_on:
                self._may_go_on = True
                logger.warning("session %s may go on: it couldn't be told to stop (%s)", self.session_id, error.code)

    async def _stop(self) -> None:
        if self._cancelling is None:
            # A task of its own, shielded: the task that iterates may be in the midst of being cancelled.
            self._cancelling = asyncio.create_task(self._send_cancel())
        await asyncio.shield(self._cancelling)

    async def _send_cancel(self) -> None:
        failure: ClientError = ConnectionFailed("The cancel didn't reach the server.")
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT):
                while self._stoppable:
                    try:
                        return await self._transport.cancel(self.session_id)
                    except ConnectionFailed as error:
                        if self._given_up:  # the server has been away for the whole budget
                            raise
                        failure = error
                    except RequestRejected as error:
                        failure = error
                        # The request may still be on its way to where its session is made.
                        unborn = error.code == "not_found" and self._session is _Session.POSSIBLE
                        if not error.retryable and not unborn:
                            raise
                    await asyncio.sleep(CANCEL_RETRY_DELAY)
        except TimeoutError:
            raise failure from None
