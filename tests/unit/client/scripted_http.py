"""An HTTP server that a test scripts down to the byte, on a free port of 127.0.0.1."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Cut(Exception):
    """The script has reached the byte after which the connection breaks."""


@dataclass
class Exchange:
    """One request and the means to answer it; `number` is its place among those of its connection.

    `cut_after` counts the bytes of the body with its chunk framing. With `keep_alive` another request may follow.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    number: int = 1
    keep_alive: bool = False
    cut_after: int | None = None
    sent: int = field(default=0)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def head(self, status: int, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", f"Connection: {'keep-alive' if self.keep_alive else 'close'}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self._send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._send(b"0\r\n\r\n")

    async def reply(self, status: int, body: Any, **headers: str) -> None:
        content = json.dumps(body).encode()
        await self.head(status, Content_Type="application/json", Content_Length=str(len(content)), **headers)
        await self._send(content)

    async def _send(self, data: bytes) -> None:
        if self.cut_after is not None and self.sent + len(data) > self.cut_after:
            self.writer.write(data[: self.cut_after - self.sent])
            await self.writer.drain()
            raise Cut
        self.sent += len(data)
        self.writer.write(data)
        await self.writer.drain()


Handler = Callable[[Exchange], Awaitable[None]]


@contextmanager
def serving(loop: asyncio.AbstractEventLoop, handler: Handler) -> Iterator[str]:
    """Serve until the block is left; gives the address. What the handler raises is raised at the end."""
    failures: list[BaseException] = []
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        try:
            await _converse(reader, writer, handler)
        except (Cut, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test shall see it
            failures.append(failure)
        finally:
            await _close(writer)
            open_tasks.discard(task)

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        # A connection that was accepted a moment ago goes through callbacks before it has a task.
        quiet_turns = 0
        while quiet_turns < 10:
            quiet_turns += 1
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others & open_tasks:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=0.01)
                quiet_turns = 0
            await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
    if failures:
        raise failures[0]


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    for number in itertools.count(1):
        exchange = await _read(reader, writer, number)
        await handler(exchange)
        if not exchange.keep_alive:
            return


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except (ConnectionError, asyncio.CancelledError):
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    return Exchange(method, url.path, query, headers, body, writer, number)
