"""Lambda's Runtime API (2018-06-01) for one worker process, on a loopback port of its own."""

import asyncio
import base64
import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import h11

from local.functions.http_connection import HttpConnection
from local.functions.invocation import FunctionFailed
from local.functions.response_channel import InvalidPreludeError, ResponseChannel

_VERSION = "/2018-06-01/runtime"
_INVOCATION = re.compile(_VERSION + r"/invocation/([^/]+)/(response|error)")
_ERROR_TYPE = b"lambda-runtime-function-error-type"
_ERROR_BODY = b"lambda-runtime-function-error-body"
_MAX_TRAILER_BYTES = 4096
"""Go's ``net/http``, which serves the real API, gives up a request with more."""


@dataclass(frozen=True, eq=False)
class Task:
    """One invocation as the worker gets it, and where its response goes."""

    request_id: str
    invocation_id: str
    arn: str
    event: bytes
    timeout: float
    channel: ResponseChannel


@dataclass(frozen=True)
class WorkerEvents:
    """What the worker's owner is told. `waiting`: it asks for work, so it is started or done with the task before."""

    waiting: Callable[[], None]
    delivered: Callable[[Task], None]
    responded: Callable[[], None]
    init_failed: Callable[[FunctionFailed], None]


class RuntimeApi:
    """Serves one worker, which works on one task at a time."""

    def __init__(self, events: WorkerEvents) -> None:
        self._events = events
        self._tasks: asyncio.Queue[Task] = asyncio.Queue()
        self._task: Task | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._receiving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; return ``host:port``."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def deliver(self, task: Task) -> None:
        """Answer the worker's current or next request for work with ``task``."""
        self._tasks.put_nowait(task)

    async def close(self, patience: float) -> None:
        """Stop listening; let a response come in for up to ``patience`` seconds, then end every connection."""
        self._server.close()
        if self._receiving:
            await asyncio.wait(self._receiving, timeout=patience)
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = asyncio.current_task()
        assert served is not None  # noqa: S101 - asyncio runs it as one
        self._connections.add(served)
        connection = HttpConnection(reader, writer)
        try:
            # A worker that breaks off has died, which its owner notices, or asks for work anew: see `_next`.
            with contextlib.suppress(h11.RemoteProtocolError, ConnectionError, asyncio.CancelledError):
                while (request := await connection.request()) is not None:
                    await self._serve(connection, request, served)
        finally:
            self._connections.discard(served)
            self._receiving.discard(served)
            connection.close()

    async def _serve(self, connection: HttpConnection, request: h11.Request, served: asyncio.Task[None]) -> None:
        method, path = request.method.decode(), request.target.decode()
        headers = dict(request.headers)
        if (invocation := _INVOCATION.fullmatch(path)) and method == "POST":
            if self._task is None or invocation[1] != self._task.request_id:
                await self._refuse(connection, 400, "InvalidRequestID", "Invalid request ID")
            elif self._task.channel.started:
                await self._refuse(connection, 403, "InvalidStateTransition", "State transition is not allowed")
            elif invocation[2] == "response":
                self._receiving.add(served)
                await self._receive_response(connection, self._task.channel, headers)
                self._receiving.discard(served)
            else:
                self._task.channel.started = True
                self._task.channel.fail(_read_error(await connection.body()))
                await self._accepted(connection)
                self._events.responded()
            return
        match method, path.removeprefix(_VERSION):
            case "GET", "/invocation/next":
                await self._next(connection)
            case "POST", "/init/error" | "/restore/error":
                self._events.init_failed(_read_error(await connection.body()))
                await self._accepted(connection)
            case "GET", "/restore/next":
                await connection.body()
                await connection.respond(200, b"", {})
            case _:
                await self._refuse(connection, 404, "NotFound", f"{method} {path}")

    async def _next(self, connection: HttpConnection) -> None:
        await connection.body()
        if self._task is not None:
            self._task.channel.fail(FunctionFailed("Runtime.NoResponse", "the runtime didn't complete its response"))
            self._task = None
        self._events.waiting()
        task = self._task = await self._tasks.get()
        self._events.delivered(task)
        root = f"{int(time.time()):08x}-{uuid.UUID(task.request_id).hex[:24]}"
        await connection.respond(
            200,
            task.event,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": task.request_id,
                "Lambda-Runtime-Invocation-Id": task.invocation_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + task.timeout) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": task.arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{root};Sampled=0",
            },
        )

    async def _receive_response(
        self, connection: HttpConnection, channel: ResponseChannel, headers: dict[bytes, bytes]
    ) -> None:
        channel.start(headers.get(b"content-type", b"application/octet-stream").decode("latin-1"))
        try:
            while isinstance(event := await connection.event(), h11.Data):
                await channel.write(bytes(event.data))
            assert isinstance(event, h11.EndOfMessage)  # noqa: S101 - h11 gives nothing else here
            if (failure := _read_trailers(event)) is not None:
                channel.fail(failure)
            else:
                channel.finish()
        except InvalidPreludeError as error:
            channel.fail(FunctionFailed("Runtime.InvalidPrelude", str(error)))
            if not isinstance(event, h11.EndOfMessage):
                await connection.body()
        await self._accepted(connection)
        self._events.responded()

    async def _accepted(self, connection: HttpConnection) -> None:
        await connection.respond(202, b'{"status":"OK"}\n', {"Content-Type": "application/json"})

    async def _refuse(self, connection: HttpConnection, status: int, error_type: str, message: str) -> None:
        await connection.body()
        answer = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
        await connection.respond(status, answer, {"Content-Type": "application/json"})


def _read_error(body: bytes) -> FunctionFailed:
    try:
        error = json.loads(body)
        return FunctionFailed(str(error.get("errorType", "")), str(error.get("errorMessage", "")))
    except (ValueError, AttributeError):
        return FunctionFailed("Runtime.Unknown", body.decode(errors="replace"))


def _read_trailers(end: h11.EndOfMessage) -> FunctionFailed | None:
    """Return the failure that a response ends with, if it does."""
    trailers = dict(end.headers)
    if (
        sum(len(name) + len(value) + len(": \r\n") for name, value in trailers.items()) + len("\r\n")
        > _MAX_TRAILER_BYTES
    ):
        raise h11.RemoteProtocolError("suspiciously long trailer after chunked body")
    if _ERROR_TYPE not in trailers:
        return None
    try:
        body = base64.b64decode(trailers.get(_ERROR_BODY, b""), validate=True)
    except ValueError:
        body = b""
    return FunctionFailed(trailers[_ERROR_TYPE].decode("latin-1"), _read_error(body).message)
