"""One open connection to AppSync's real-time endpoint: hands the events to the subscriptions that they are for."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from tokenstream_client.errors import ClientError, ConnectionFailed, ProtocolError
from tokenstream_client.frames import Message
from tokenstream_client.transports import appsync_messages as messages
from tokenstream_client.transports.graphql_errors import realtime_failure
from tokenstream_client.transports.websocket_messages import decode

SUBSCRIPTION_LIMIT = 100
"""Subscriptions that AppSync takes on one connection."""


class AppSyncConnection:
    """Reads and sends, in tasks of its own, until the connection ends.

    AppSync keeps it alive: when nothing comes for `keep_alive` seconds, it is dead. `ack_timeout` is how long a
    subscription's acknowledgement is waited for. `on_closed` is called when everything is over.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        server: str,
        *,
        keep_alive: float,
        ack_timeout: float,
        on_closed: Callable[["AppSyncConnection"], object],
    ) -> None:
        self._websocket = websocket
        self._server = server
        self._keep_alive = keep_alive
        self._ack_timeout = ack_timeout
        self._broken = partial(ConnectionFailed, f"The connection to {server} broke.")
        self._silent = partial(ConnectionFailed, f"{server} has gone silent.")
        self._on_closed = on_closed
        self._failure: Callable[[], ClientError] | None = None
        self._retired = False
        self._subscriptions: dict[str, Subscription] = {}
        self._stopping: set[str] = set()
        self._numbers = itertools.count(1)
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._task = self._loop.create_task(self._run(), name="tokenstream-appsync")
        self._task.add_done_callback(self._over)

    @property
    def has_room(self) -> bool:
        """Whether it can be used for another subscription."""
        open_ = not self._retired and self._failure is None and self._websocket.state is State.OPEN
        # AppSync counts one until it has confirmed its end.
        return open_ and len(self._subscriptions) + len(self._stopping) < SUBSCRIPTION_LIMIT

    async def subscribe(self, session_id: str, headers: Mapping[str, str]) -> "Subscription":
        """Have the frames of a session sent here from now on; to be closed. Takes its place before it waits.

        Raises `RequestRejected` when AppSync refuses and `ConnectionFailed`.
        """
        if self._failure is not None:
            raise self._failure()
        subscription = Subscription(self, str(next(self._numbers)))
        self._subscriptions[subscription.id] = subscription
        self._outgoing.put_nowait(messages.start(subscription.id, session_id, headers))
        try:
            await self._acknowledged(subscription)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def unsubscribe(self, subscription: "Subscription") -> None:
        """End a subscription."""
        if self._subscriptions.pop(subscription.id, None) is not None:
            self._stopping.add(subscription.id)
            self._outgoing.put_nowait(messages.stop(subscription.id))
        if self._retired and not self._subscriptions:
            self._give_up(self._broken)

    def retire(self) -> None:
        """Take no more subscriptions, and close when the last of those there are is left."""
        self._retired = True

    async def aclose(self) -> None:
        """Close, whatever uses it."""
        self._give_up(self._broken)
        await asyncio.wait({self._task})

    async def _acknowledged(self, subscription: "Subscription") -> None:
        since = self._loop.time()
        try:
            async with asyncio.timeout(self._ack_timeout):
                await subscription.acknowledgement
        except TimeoutError as error:
            if self._heard_at <= since:
                self._give_up(self._silent)
            raise self._silent() from error

    def _give_up(self, failure: Callable[[], ClientError]) -> None:
        if self._failure is None:
            self._end(failure)
            self._task.cancel()

    def _end(self, failure: Callable[[], ClientError]) -> None:
        """Tell everyone who waits; the first reason counts."""
        if self._failure is not None:
            return
        self._failure = failure
        for subscription in self._subscriptions.values():
            subscription.fail(failure())
        self._subscriptions.clear()

    async def _run(self) -> None:
        sending = self._loop.create_task(self._send(), name="tokenstream-appsync-sending")
        try:
            await self._read()
        except ProtocolError as error:
            self._end(partial(ProtocolError, error.message))
        except TimeoutError:
            self._end(self._silent)
        except ConnectionClosed:
            pass
        finally:
            self._end(self._broken)
            sending.cancel()
            await self._websocket.close()

    def _over(self, _task: asyncio.Task[None]) -> None:
        self._end(self._broken)
        # Has an effect only if the task was cancelled before it began, or while it closed.
        self._websocket.transport.abort()
        self._on_closed(self)

    async def _send(self) -> None:
        with suppress(ConnectionClosed):  # the one who reads learns of it as well
            while True:
                await self._websocket.send(await self._outgoing.get())

    async def _read(self) -> None:
        while True:
            async with asyncio.timeout(self._keep_alive):
                text = await self._websocket.recv()
            self._heard_at = self._loop.time()
            self._dispatch(decode(text))

    def _dispatch(self, message: Message) -> None:
        kind, id_, payload = message.get("type"), message.get("id"), message.get("payload")
        subscription = self._subscriptions.get(id_) if isinstance(id_, str) else None
        match kind:
            case "start_ack" if subscription is not None:
                subscription.acknowledge()
            case "data" if subscription is not None:
                if (frame := messages.frame_of(payload)) is not None:
                    subscription.put(frame)
            case "error" | "complete" if subscription is not None:
                del self._subscriptions[subscription.id]  # AppSync has ended it, so it isn't stopped
                failure = realtime_failure(payload, self._server)
                # One that was confirmed can be made anew, if need be with a new token.
                subscription.fail(ConnectionFailed(failure.message) if subscription.acknowledged else failure)
            case "error" | "complete" if isinstance(id_, str):
                self._stopping.discard(id_)
            case "error":
                # It doesn't say to what: whoever waits for an answer asks again.
                told = realtime_failure(payload, self._server).message
                for waiting in self._subscriptions.values():
                    waiting.refuse(ConnectionFailed(told))
            case _:  # `ka`, and what belongs to subscriptions that have ended
                pass


class Subscription:
    """An asynchronous iterator of one session's frames; what ended the subscription is raised behind the last.

    It holds what isn't fetched, without a bound: an answer has an end, and one stream that isn't read must not keep
    the events of the others from being read.
    """

    def __init__(self, connection: AppSyncConnection, id_: str) -> None:
        self.id = id_
        self.acknowledgement: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._arrived: asyncio.Queue[Message | ClientError] = asyncio.Queue()

    @property
    def acknowledged(self) -> bool:
        """Whether AppSync has confirmed it."""
        return self.acknowledgement.done()

    def acknowledge(self) -> None:
        """Note that events come from now on."""
        if not self.acknowledgement.done():
            self.acknowledgement.set_result(None)

    def refuse(self, failure: ClientError) -> None:
        """Tell who waits for the acknowledgement that none comes."""
        if not self.acknowledgement.done():
            self.acknowledgement.set_exception(failure)

    def put(self, frame: Message) -> None:
        """Take a frame."""
        self._arrived.put_nowait(frame)

    def fail(self, failure: ClientError) -> None:
        """Take the end."""
        self.refuse(failure)
        self._arrived.put_nowait(failure)

    def distrust(self) -> None:
        """Have the connection used by none but those who use it already: events don't come although there are some."""
        self._connection.retire()

    def close(self) -> None:
        """Want no more frames."""
        self._connection.unsubscribe(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self._arrived.get()
        if isinstance(message, ClientError):
            self._arrived.put_nowait(message)
            raise message
        return message
