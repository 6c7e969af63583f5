"""One client's real-time connection: its subscriptions, and what is sent to it.

Source of the limits: AppSync quotas.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from local.edge import appsync_messages as messages
from local.edge.appsync_errors import FieldErrors, RefusedError
from local.edge.appsync_messages import ConnectionInit, Start, Stop, UnreadableMessageError
from local.edge.appsync_subscription import Payload, Subscription, Subscriptions

MESSAGE_BYTES = 240 * 1024
CLOSE_SECONDS = 1.0
"""How long the client has to answer a close frame."""
_REFUSAL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RealtimeLimits:
    """`keep_alive` is in seconds. A client for which more than `waiting_bytes` wait is too slow, and is cut off."""

    keep_alive: float = 60.0
    subscriptions: int = 100
    message_bytes: int = MESSAGE_BYTES
    waiting_bytes: int = 4 * 1024 * 1024


class InternalFailureError(Exception):
    """A subscription fails for a reason that is not the client's; the text is for the log."""


class RealtimeConnection:
    """Serves an open connection. `subscribe` makes the subscription that a message asks for.

    It raises `RefusedError`, `FieldErrors` and `InternalFailureError`. `on_sent` is called behind every message that
    was sent; `log` takes what neither side is told.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        subscribe: Callable[[Start], Awaitable[Subscription]],
        subscriptions: Subscriptions,
        limits: RealtimeLimits,
        *,
        on_sent: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self.received = 0
        self.sent = 0
        self._socket = socket
        self._transport = transport
        self._subscribe = subscribe
        self._subscriptions = subscriptions
        self._limits = limits
        self._on_sent = on_sent
        self._log = log
        self._own: dict[str, Subscription] = {}
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._waiting_bytes = 0
        self._keep_alive: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until the client is gone."""
        sending = asyncio.create_task(self._send())
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    self.received += 1
                    await self._receive(message.data)
                elif message.type is WSMsgType.BINARY:
                    await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
        finally:
            for subscription in self._own.values():
                self._subscriptions.remove(subscription)
            tasks = [task for task in (sending, self._keep_alive) if task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse(self, refusal: str) -> None:
        """Answer the client's first message with this one, and close."""
        with suppress(ConnectionError, TimeoutError):
            await self._socket.receive(_REFUSAL_SECONDS)
            await self._socket.send_str(refusal)
        await self._socket.close()

    async def go_away(self) -> None:
        """Close, as going away; takes no longer than a moment."""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self._socket.close(code=WSCloseCode.GOING_AWAY)
        self._transport.abort()

    async def _receive(self, text: str) -> None:
        try:
            message = messages.parse_message(text)
        except UnreadableMessageError as error:
            self._write(error.reply)
            return
        match message:
            case ConnectionInit():
                self._write(messages.connection_ack())
                if not self._keep_alive:
                    self._keep_alive = asyncio.create_task(self._keep_up())
            case Start():
                await self._start(message)
            case Stop(id_) if subscription := self._own.pop(id_, None):
                self._subscriptions.remove(subscription)
                self._write(messages.complete(id_))
            case Stop(id_):
                self._write(messages.error(id_, "UnknownOperationError", f"Unknown operation id {id_}"))

    async def _start(self, message: Start) -> None:
        id_ = message.id
        if id_ in self._own:
            self._write(messages.error(id_, "DuplicatedOperationError", f"Duplicated operation id {id_}"))
            return
        if len(self._own) >= self._limits.subscriptions:
            reason = f"Max number of {self._limits.subscriptions} subscriptions reached"
            self._write(messages.error(id_, "MaxSubscriptionsReachedError", reason))
            return
        try:
            subscription = await self._subscribe(message)
        except (RefusedError, FieldErrors) as error:
            self._write(messages.errors(id_, error.errors))
            return
        except InternalFailureError as error:
            self._log(str(error))
            self._write(messages.error(id_, "InternalFailure", "Internal failure."))
            return
        self._own[id_] = subscription
        self._write(messages.start_ack(id_))
        self._subscriptions.add(subscription, lambda payload: self._deliver(id_, payload))

    def _deliver(self, id_: str, payload: Payload) -> None:
        text = messages.data(id_, payload)
        if (size := len(text.encode())) > self._limits.message_bytes:
            # As AppSync does, without a word to either side. Source: aws-appsync-community #33.
            self._log(f"an event of {size} B dropped")
            return
        self._write(text)

    def _write(self, text: str) -> None:
        if self._transport.is_closing():
            return
        self._waiting_bytes += len(text.encode())
        if self._waiting_bytes > self._limits.waiting_bytes:
            self._log("a client cut off: too slow")
            self._transport.abort()
            return
        self._waiting.put_nowait(text)

    async def _send(self) -> None:
        with suppress(ConnectionError):
            while True:
                text = await self._waiting.get()
                await self._socket.send_str(text)
                self._waiting_bytes -= len(text.encode())
                self.sent += 1
                self._on_sent()

    async def _keep_up(self) -> None:
        while True:
            self._write(messages.keep_alive())
            await asyncio.sleep(self._limits.keep_alive)
