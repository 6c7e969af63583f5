"""A Bedrock Runtime on loopback: its two streaming operations in front of any `Model`, with the real bytes.

`POST /model/{modelId}/invoke-with-response-stream` and `POST /model/{modelId}/converse-stream` answer as Bedrock does,
errors included. The response's head leaves with the first event, so that an error before it is an HTTP status. Beside:

- `GET /_streams` (`?times=1`): what was streamed and how it ended; `DELETE /_streams` forgets it;
- `PUT /_faults` with `{"fault", "times", "model"}`: a fault for the requests to come (`local.model.faults`);
  `DELETE /_faults` takes all back.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TypeAlias
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web

from local.loopback import loopback_only
from local.model.faults import inject
from local.model.interface import ErrorType, Model, ModelError, ModelRequest
from local.model.record import Api, StreamLog
from local.model.requests import parse_converse, parse_invoke
from local.model.response import StreamedAnswer
from local.model.signature import SignatureError, check_signature
from local.model.standing_faults import StandingFaults

_MAX_BODY = 25_000_000
_Parser: TypeAlias = Callable[[str, Mapping[str, str], bytes], ModelRequest]
_OPERATIONS: dict[str, tuple[Api, _Parser]] = {
    "invoke-with-response-stream": ("invoke", parse_invoke),
    "converse-stream": ("converse", parse_converse),
}
_STATUSES = {
    ErrorType.ACCESS_DENIED: 403,
    ErrorType.INTERNAL: 500,
    ErrorType.MODEL_ERROR: 424,
    ErrorType.MODEL_NOT_READY: 429,
    ErrorType.MODEL_STREAM_ERROR: 424,
    ErrorType.MODEL_TIMEOUT: 408,
    ErrorType.RESOURCE_NOT_FOUND: 404,
    ErrorType.SERVICE_QUOTA_EXCEEDED: 400,
    ErrorType.SERVICE_UNAVAILABLE: 503,
    ErrorType.THROTTLING: 429,
    ErrorType.VALIDATION: 400,
}


class PacedBedrock:
    """The server. It owns the model: closing the one closes the other."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._log = StreamLog()
        self._faults = StandingFaults()
        self._answering: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on this port, or on a free one; returns `http://127.0.0.1:PORT`."""
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[loopback_only])
        app.router.add_post("/model/{path:.+}", self._invoke)
        app.router.add_get("/_streams", self._show_streams)
        app.router.add_delete("/_streams", self._clear_streams)
        app.router.add_put("/_faults", self._put_fault)
        app.router.add_delete("/_faults", self._clear_faults)
        # Cancellation tells of a client's leaving at once, however silent the model is.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """End every stream, stop listening, close the model."""
        answering = list(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        if self._runner:
            await self._runner.cleanup()
        await self._model.close()

    async def _invoke(self, request: web.Request) -> web.StreamResponse:
        # The raw path: an ARN's own slashes and colons arrive percent-encoded.
        path, _, operation = request.raw_path.partition("?")[0].removeprefix("/model/").rpartition("/")
        if operation not in _OPERATIONS or not path:
            return _error(404, "UnknownOperationException", "There is no such operation here.")
        api, parse = _OPERATIONS[operation]
        try:
            check_signature(request.headers.get("Authorization"))
            parsed = parse(unquote(path), request.headers, await request.read())
        except SignatureError as error:
            return _error(403, error.type, error.message)
        except ModelError as error:
            return _error(_STATUSES[error.type], error.type, error.message)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 a handler always runs in a task
        self._answering.add(task)
        try:
            return await self._answer(request, api, parsed)
        finally:
            self._answering.discard(task)

    async def _answer(self, request: web.Request, api: Api, parsed: ModelRequest) -> web.StreamResponse:
        record = self._log.begin(parsed, api)
        batches = self._model.stream(parsed)
        if fault := self._faults.take(parsed.model):
            batches = inject(fault, batches)
        answer = StreamedAnswer(request, parsed, record)
        try:
            async with aclosing(batches):
                try:
                    first = await anext(batches)
                except ModelError as error:
                    record.end("fault")
                    return _error(_STATUSES[error.type], error.type, error.message)
                return await answer.write(first, batches)
        except (asyncio.CancelledError, ConnectionError):
            record.end("client")
            raise

    async def _show_streams(self, request: web.Request) -> web.Response:
        return web.json_response(self._log.to_json(times=request.query.get("times") == "1"))

    async def _clear_streams(self, _request: web.Request) -> web.Response:
        self._log.clear()
        return web.Response(status=204)

    async def _put_fault(self, request: web.Request) -> web.Response:
        try:
            self._faults.put(await request.json())
        except ValueError as error:  # no JSON, or a FaultSyntaxError
            return web.json_response({"message": str(error)}, status=400)
        return web.json_response(self._faults.to_json())

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return web.Response(status=204)


def _error(status: int, type_: str, message: str) -> web.Response:
    # SDKs take the type up to the colon; what follows it is AWS's own habit, which a client has to cope with.
    headers = {
        "x-amzn-RequestId": str(uuid4()),
        "x-amzn-ErrorType": f"{type_}:http://internal.amazon.com/coral/com.amazon.bedrock/",
    }
    return web.json_response({"message": message}, status=status, headers=headers)
