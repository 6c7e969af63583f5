"""A WebSocket server that a test scripts down to the byte, on a free port of 127.0.0.1, with API Gateway's limits."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.unit.client.scripted_http import Cut

FRAME_LIMIT = 32 * 1024
MESSAGE_LIMIT = 128 * 1024


@dataclass
class Exchange:
    """One message of the client's and the means to answer it. `cut_after` counts the bytes sent behind the reply."""

    connection: ServerConnection
    message: dict[str, Any]
    cut_after: int | None = None
    sent: int = field(default=0)

    @property
    def path(self) -> str:
        assert self.connection.request is not None
        return self.connection.request.path

    async def reply(self, kind: str, **fields: Any) -> None:
        """Send what carries the message's `requestId`."""
        ids = {name: self.message[name] for name in ("requestId", "sessionId") if name in self.message}
        await self.connection.send(json.dumps({"type": kind, **ids, **fields}))

    async def send(self, message: Any) -> None:
        text = json.dumps(message, ensure_ascii=False)
        frame = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        if self.cut_after is not None and self.sent + len(frame) > self.cut_after:
            self.connection.transport.write(frame[: self.cut_after - self.sent])
            raise Cut
        self.sent += len(frame)
        await self.connection.send(text)

    def hang_up(self) -> None:
        """End the TCP connection without a word, behind what is sent already."""
        self.connection.transport.close()


Admission = Callable[[ServerConnection, Request], Response | None]
Handler = Callable[[Exchange], Awaitable[None]]


@contextmanager
def serving(loop: asyncio.AbstractEventLoop, admit: Admission, handler: Handler) -> Iterator[str]:
    """Serve until the block is left; gives the address. Messages are handled side by side.

    What the handler raises is raised at the end.
    """
    conversations = _Conversations(handler)

    async def start() -> Server:
        return await serve(
            conversations.hold,
            "127.0.0.1",
            0,
            process_request=admit,
            subprotocols=[Subprotocol("tokenstream")],
            compression=None,
            ping_interval=None,
            close_timeout=0.5,
            max_size=(MESSAGE_LIMIT, FRAME_LIMIT),
        )

    async def stop(server: Server) -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/dev"
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
    if conversations.failures:
        raise conversations.failures[0]


class _Conversations:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.failures: list[BaseException] = []

    async def hold(self, connection: ServerConnection) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for text in connection:
                tasks.add(asyncio.create_task(self._handle(Exchange(connection, json.loads(text)))))
        except ConnectionClosed:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except Cut:
            exchange.hang_up()
        except ConnectionClosed:
            pass
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test shall see it
            self.failures.append(failure)
