"""One answer of the model on its HTTP response, with what breaks it off and the record of it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import assert_never
from uuid import uuid4

from aiohttp import web

from local.model.eventstream import CONTENT_TYPE, with_wrong_checksum
from local.model.interface import (
    Batch,
    MessageStop,
    ModelError,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    WireFaultError,
    WireFaultKind,
)
from local.model.record import StreamRecord
from local.model.wire import ConverseWire, InvokeWire, Latency, Wire, encode_exception


class StreamedAnswer:
    """Writes a stream of events; made when the request arrives, for the latencies that Bedrock reports."""

    def __init__(self, http: web.Request, request: ModelRequest, record: StreamRecord) -> None:
        self._http = http
        self._record = record
        self._clock = asyncio.get_running_loop().time
        self._arrived = self._first_byte = self._clock()
        headers = {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": str(uuid4())}
        self._wire: Wire
        match record.api:
            case "invoke":
                self._wire = InvokeWire(request.model, self._latency, guarded=request.guardrail is not None)
                headers["X-Amzn-Bedrock-Content-Type"] = "application/json"
            case "converse":
                self._wire = ConverseWire(self._latency)
            case _:
                assert_never(record.api)
        self._response = web.StreamResponse(headers=headers)
        self._response.enable_chunked_encoding()

    async def write(self, first: Batch, rest: AsyncGenerator[Batch, None]) -> web.StreamResponse:
        """Head, first batch, and all others, each in one write; ends the record unless the client has gone."""
        self._first_byte = self._clock()
        await self._response.prepare(self._http)
        try:
            await self._send(first)
            async for batch in rest:
                await self._send(batch)
        except ModelError as error:
            await self._response.write(encode_exception(error))
            self._record.end("fault")
        except WireFaultError as fault:
            await self._break_off(fault.kind)
            self._record.end("fault")
        return self._response

    async def _send(self, batch: Batch) -> None:
        data = b"".join(map(self._wire.encode, batch))
        if tokens := sum(isinstance(event, TextDelta | ReasoningDelta) for event in batch):
            self._record.sent(tokens)
        await self._response.write(data)
        if isinstance(batch[-1], MessageStop):
            self._record.end("complete")

    async def _break_off(self, how: WireFaultKind) -> None:
        following = self._wire.encode(TextDelta(" lost"))
        match how:
            case WireFaultKind.BREAK:
                await self._response.write(following[: len(following) // 2])
                self._hang_up()
            case WireFaultKind.DROP:
                self._hang_up()
            case WireFaultKind.CORRUPT:
                await self._response.write(with_wrong_checksum(following))
            case WireFaultKind.TRUNCATE:
                pass
            case _:
                assert_never(how)

    def _hang_up(self) -> None:
        if self._http.transport:
            self._http.transport.close()

    def _latency(self) -> Latency:
        arrived = self._arrived
        return Latency(
            first_byte=round(1000 * (self._first_byte - arrived)), whole=round(1000 * (self._clock() - arrived))
        )
