"""One open WebSocket connection: hands what arrives to whom it concerns."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from tokenstream_client.errors import ClientError, ConnectionFailed, ErrorDetail, ProtocolError
from tokenstream_client.frames import Message, parse_error
from tokenstream_client.transports.statuses import rejection_of
from tokenstream_client.transports.websocket_messages import decode, encode, fragments, gateway_failure

T = TypeVar("T")

_PING = encode({"action": "ping"})


class WebSocketConnection:
    """Reads, in a task of its own, until the connection ends; `token` is the one that it was opened with.

    On a connection that is idle for `ping_interval` a ping asks for a sign of life: API Gateway closes it after ten
    idle minutes. `on_closed` is called when everything is over.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        token: str,
        server: str,
        *,
        idle_timeout: float,
        ping_interval: float,
        on_closed: Callable[["WebSocketConnection"], object],
    ) -> None:
        self.token = token
        self._websocket = websocket
        self._idle_timeout = idle_timeout
        self._ping_interval = ping_interval
        self._broken = partial(ConnectionFailed, f"The connection to {server} broke.")
        self._silent = partial(ConnectionFailed, f"{server} has gone silent.")
        self._on_closed = on_closed
        self._failure: Callable[[], ClientError] | None = None
        self._retired = False
        self._listeners: dict[str, list[Listener]] = {}
        self._replies: dict[str, asyncio.Future[ClientError | None]] = {}
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._task = self._loop.create_task(self._run(), name="tokenstream-websocket")
        self._task.add_done_callback(self._over)

    @property
    def ended(self) -> bool:
        """Whether it can't be used any more."""
        return self._failure is not None or self._websocket.state is not State.OPEN

    @contextmanager
    def listen(self, session_id: str) -> Iterator["Listener"]:
        """Gather the frames and heartbeats of a session, within the block; those of others are dropped."""
        listener = Listener(self)
        self._listeners.setdefault(session_id, []).append(listener)
        try:
            yield listener
        finally:
            self._listeners[session_id].remove(listener)
            if not self._listeners[session_id]:
                del self._listeners[session_id]
            self._close_if_done()

    async def request(self, message: Mapping[str, Any]) -> None:
        """Send a message and wait until the server has taken it in.

        Raises `RequestRejected` when the server turns it down and `ConnectionFailed` when no reply comes.
        """
        request_id = str(next(self._numbers))
        data = encode({**message, "requestId": request_id})
        if self._failure is not None:
            raise self._failure()
        reply: asyncio.Future[ClientError | None] = self._loop.create_future()
        self._replies[request_id] = reply
        try:
            failure = await self.hear(self._exchange(data, reply))
        finally:
            del self._replies[request_id]
            self._close_if_done()
        if failure is not None:
            raise failure

    async def hear(self, arrival: Awaitable[T]) -> T:
        """Wait for something of the server's, at most for the idle timeout; raises `ConnectionFailed` after it.

        A connection on which nothing else has come meanwhile either is given up.
        """
        since = self._loop.time()
        try:
            async with asyncio.timeout(self._idle_timeout):
                return await arrival
        except TimeoutError as error:
            if self._heard_at <= since:
                self._give_up(self._silent)
            raise self._silent() from error

    def retire(self) -> None:
        """Close once the streams and requests that use it are done."""
        self._retired = True
        self._close_if_done()

    async def aclose(self) -> None:
        """Close, whatever uses it."""
        self._give_up(self._broken)
        await asyncio.wait({self._task})

    def _close_if_done(self) -> None:
        if self._retired and not self._listeners and not self._replies:
            self._give_up(self._broken)

    def _give_up(self, failure: Callable[[], ClientError]) -> None:
        if self._failure is None:
            self._end(failure)
            self._task.cancel()

    def _end(self, failure: Callable[[], ClientError]) -> None:
        """Tell everyone who waits; the first reason counts."""
        if self._failure is not None:
            return
        self._failure = failure
        for listener in itertools.chain.from_iterable(self._listeners.values()):
            listener.put(failure())
        self._settle(failure)

    async def _exchange(self, data: bytes, reply: Awaitable[T]) -> T:
        parts = fragments(data)
        try:
            await self._websocket.send(parts if len(parts) > 1 else data, text=True)
        except ConnectionClosed as error:
            raise self._broken() from error
        except asyncio.CancelledError:
            if len(parts) > 1:  # half a message may be out, and any other would be taken for its rest
                self._give_up(self._broken)
            raise
        return await reply

    async def _run(self) -> None:
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
            await self._websocket.close()

    def _over(self, _task: asyncio.Task[None]) -> None:
        self._end(self._broken)
        # Has an effect only if the task was cancelled before it began, or while it closed.
        self._websocket.transport.abort()
        self._on_closed(self)

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._ping_interval):
                    text = await self._websocket.recv()
            except TimeoutError:
                async with asyncio.timeout(self._idle_timeout):
                    await self._websocket.send(_PING, text=True)
                    text = await self._websocket.recv()  # a pong or anything else
            self._heard_at = self._loop.time()
            self._dispatch(decode(text))

    def _dispatch(self, message: Message) -> None:
        session_id = message.get("sessionId")
        match message.get("type"):
            case "accepted" | "pong":
                self._reply(message, None)
            case "rejected":
                detail = parse_error(message.get("error")) or ErrorDetail(
                    "internal", "The server rejected the request."
                )
                if not self._reply(message, rejection_of(detail)):
                    # What was accepted could not be begun after all.
                    self._hand_out(session_id, rejection_of(detail))
            case str() if isinstance(session_id, str):
                self._hand_out(session_id, message)
            case None if "message" in message:
                self._settle(partial(gateway_failure, message, waiting=len(self._replies)))
            case _:  # of a later version
                pass

    def _hand_out(self, session_id: object, message: Message | ClientError) -> None:
        for listener in self._listeners.get(session_id, ()) if isinstance(session_id, str) else ():
            listener.put(message)

    def _reply(self, message: Message, failure: ClientError | None) -> bool:
        """Give a request its reply; False if none waits for it."""
        request_id = message.get("requestId")
        reply = self._replies.get(request_id) if isinstance(request_id, str) else None
        if reply is None or reply.done():
            return False
        reply.set_result(failure)
        return True

    def _settle(self, failure: Callable[[], ClientError]) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_result(failure())


class Listener:
    """An asynchronous iterator of one session's messages; what ended the connection is raised behind the last.

    It holds what isn't fetched, without a bound: an answer has an end, and one stream that isn't read must not keep
    the messages of the others from being read.
    """

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._arrived: asyncio.Queue[Message | ClientError] = asyncio.Queue()

    def put(self, message: Message | ClientError) -> None:
        """Take a message, or the end."""
        self._arrived.put_nowait(message)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self._connection.hear(self._arrived.get())
        if isinstance(message, ClientError):
            self._arrived.put_nowait(message)
            raise message
        return message
