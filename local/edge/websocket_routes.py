"""What API Gateway does around a WebSocket route's function and the emulator doesn't.

- `$connect` chooses the subprotocol by a response header, and its status is the handshake's.
- A route without a route response sends the client nothing of what its function returns; the emulator sends the body.
- A function that fails gives the client API Gateway's own message; the emulator sends the error's text.
- `$disconnect` is told the client's closing code; the emulator says 1006 whatever it was.
- A route waits 29 s for its function, which then runs on by itself; the emulator waits for as long as it takes.

Sources: API Gateway developer guide, "WebSocket APIs: set up route responses", "$connect route"; "Quotas".
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from local.edge.websocket_refusals import INTEGRATION_FAILED, INTEGRATION_TIMED_OUT, own_message
from local.functions.invocation import InvocationError
from local.functions.invoke_api import Invoke

HANDSHAKE_HEADER = "x-tokenstream-handshake"
"""Tells the emulator's `$connect` event which of the edge's handshakes it belongs to; no function sees it."""

_INTEGRATION_SECONDS = 29.0


@dataclass(eq=False, slots=True)
class Handshake:
    """A client's handshake; what is None isn't known, because the authorizer or the emulator refused it before."""

    key: str
    connection_id: str | None = None
    status: int | None = None
    """What `$connect` answered."""
    subprotocol: str | None = None


class WebSocketRoutes:
    """Wraps `invoke` for the events of WebSocket routes; other events pass as they are.

    `warn` is told what no function's log has: an answer that is none, and one that comes too late.
    """

    def __init__(self, invoke: Invoke, warn: Callable[[str], None], *, timeout: float = _INTEGRATION_SECONDS) -> None:
        self._invoke = invoke
        self._warn = warn
        self._timeout = timeout
        self._handshakes: dict[str, Handshake] = {}
        self._closing_codes: dict[str, int] = {}

    @contextmanager
    def handshake(self) -> Iterator[Handshake]:
        """Watch out for the `$connect` whose request has this key in its `HANDSHAKE_HEADER`."""
        handshake = Handshake(str(uuid4()))
        self._handshakes[handshake.key] = handshake
        try:
            yield handshake
        finally:
            del self._handshakes[handshake.key]

    def closing(self, connection_id: str, code: int) -> None:
        """Tell the code that a client's connection closed with: of the emulator's end it is not known."""
        self._closing_codes[connection_id] = code

    async def invoke(self, function: str, event: bytes, request_id: str) -> bytes:
        """Invoke a function as API Gateway would. Raises `InvocationError`."""
        document = json.loads(event)
        context = document.get("requestContext") if isinstance(document, dict) else None
        match context.get("eventType") if isinstance(context, dict) else None:
            case "CONNECT":
                handshake = self._handshake(document)
                event = json.dumps(document).encode()
                if "type" in document:  # the authorizer's
                    return await self._invoke(function, event, request_id)
                return await self._connect(function, event, request_id, handshake)
            case "MESSAGE":
                return await self._message(function, event, request_id, document["requestContext"])
            case "DISCONNECT":
                if code := self._closing_codes.pop(document["requestContext"]["connectionId"], None):
                    document["requestContext"]["disconnectStatusCode"] = code
                return await self._invoke(function, json.dumps(document).encode(), request_id)
            case _:
                return await self._invoke(function, event, request_id)

    def _handshake(self, event: dict[str, Any]) -> Handshake:
        """Find whose it is, and take the key out of the event."""
        key = event["headers"].pop(HANDSHAKE_HEADER, "")
        event["multiValueHeaders"].pop(HANDSHAKE_HEADER, None)
        # Somebody may connect to the emulator itself, or be gone again.
        handshake = self._handshakes.get(key) or Handshake(key)
        handshake.connection_id = event["requestContext"]["connectionId"]
        return handshake

    async def _connect(self, function: str, event: bytes, request_id: str, handshake: Handshake) -> bytes:
        try:
            answer = await self._answer(function, event, request_id)
        except InvocationError as error:
            timed_out = isinstance(error, _IntegrationTimedOut)
            handshake.status = HTTPStatus.GATEWAY_TIMEOUT if timed_out else HTTPStatus.BAD_GATEWAY
            raise
        handshake.status = answer.status
        handshake.subprotocol = answer.headers.get("sec-websocket-protocol")
        return answer.result

    async def _message(self, function: str, event: bytes, request_id: str, context: Mapping[str, Any]) -> bytes:
        try:
            await self._answer(function, event, request_id)
        except InvocationError as error:
            message = str(error) if isinstance(error, _IntegrationTimedOut) else INTEGRATION_FAILED
            body = own_message(message, context["connectionId"], context["requestId"])
            return json.dumps({"statusCode": 500, "body": body}).encode()
        return b'{"statusCode": 200}'

    async def _answer(self, function: str, event: bytes, request_id: str) -> "_ProxyAnswer":
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._invoke(function, event, request_id)
        except TimeoutError:
            self._warn(f"{function} takes longer than the {self._timeout:.0f} s that API Gateway waits for a route")
            raise _IntegrationTimedOut(INTEGRATION_TIMED_OUT) from None
        match answer := json.loads(result):
            case {"statusCode": int(status)}:
                headers = answer.get("headers") or {}
                return _ProxyAnswer(result, status, {name.lower(): str(value) for name, value in headers.items()})
        self._warn(f"{function} returned no statusCode, which is an internal server error to the client")
        raise _MalformedAnswer("no statusCode")


class _IntegrationTimedOut(InvocationError):
    """The function takes longer than API Gateway waits."""


class _MalformedAnswer(InvocationError):
    """The function's result isn't a proxy integration's."""


@dataclass(frozen=True, slots=True)
class _ProxyAnswer:
    """A proxy integration's; `result` is all of it."""

    result: bytes
    status: int
    headers: Mapping[str, str]
