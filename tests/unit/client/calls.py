"""What a client asks of a fake stack: the same on every path, but for how it is said."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tests.unit.client import scripted_appsync, scripted_http, scripted_websocket

_BY_METHOD = {"POST": "start", "GET": "resume", "DELETE": "cancel"}
_BY_ACTION = {"stream": "start", "resume": "resume", "cancel": "cancel"}


class Call(Protocol):
    """`asked` is `start`, `resume` or `cancel`, `body` what a `start` asks, `after` where a `resume` goes on.

    With AppSync, `look` is the same as `resume`, but without a new subscription.
    """

    address: str
    asked: str
    session_id: str
    after: tuple[int, int]
    body: Any
    rejected: bool

    def cut_after(self, count: int) -> None: ...
    async def reject(self, status: int, error: Mapping[str, Any], **headers: str) -> None: ...
    async def accept(self) -> None: ...
    async def send(self, frame: Mapping[str, Any]) -> None: ...
    async def end(self) -> None: ...


class HttpCall:
    def __init__(self, exchange: scripted_http.Exchange) -> None:
        self.exchange = exchange
        self.address = exchange.path or "/"
        self.asked = _BY_METHOD[exchange.method]
        self.body = exchange.json if exchange.body else None
        self.session_id = self.body["sessionId"] if self.body else exchange.path.rpartition("/")[2]
        attempt, _, sequence = exchange.query.get("after", "0.0").partition(".")
        self.after = (int(attempt), int(sequence))
        self.rejected = False

    def cut_after(self, count: int) -> None:
        self.exchange.cut_after = count

    async def reject(self, status: int, error: Mapping[str, Any], **headers: str) -> None:
        self.rejected = True
        await self.exchange.reply(status, {"error": error}, **headers)

    async def accept(self) -> None:
        if self.asked == "cancel":
            await self.exchange.reply(202, {"sessionId": self.session_id, "status": "running"})
        else:
            await self.exchange.head(200, Content_Type="application/x-ndjson", Transfer_Encoding="chunked")

    async def send(self, frame: Mapping[str, Any]) -> None:
        await self.exchange.chunk(json.dumps(frame).encode() + b"\n")

    async def end(self) -> None:
        await self.exchange.end()


class WebSocketCall:
    def __init__(self, exchange: scripted_websocket.Exchange) -> None:
        message = exchange.message
        self.exchange = exchange
        self.address = exchange.path
        self.asked = _BY_ACTION[message["action"]]
        self.body = {name: value for name, value in message.items() if name not in {"action", "requestId"}}
        self.session_id = message["sessionId"]
        after = message.get("after", {"attempt": 0, "sequence": 0})
        self.after = (after["attempt"], after["sequence"])
        self.rejected = False

    def cut_after(self, count: int) -> None:
        self.exchange.cut_after = count

    async def reject(self, status: int, error: Mapping[str, Any], **headers: str) -> None:
        self.rejected = True
        await self.exchange.reply("rejected", error=error)

    async def accept(self) -> None:
        await self.exchange.reply("accepted")

    async def send(self, frame: Mapping[str, Any]) -> None:
        await self.exchange.send(frame)

    async def end(self) -> None:
        """The connection stays."""


class AppSyncCall:
    """A query or a mutation. What a `start` sends are events for the subscribers."""

    def __init__(
        self, exchange: scripted_http.Exchange, realtime: scripted_appsync.Realtime, resuming: set[str]
    ) -> None:
        self.exchange = exchange
        self.address = exchange.path
        self.operation = scripted_appsync.Operation(exchange.json)
        self.body = self.operation.variables
        self.session_id = self.body["sessionId"]
        self.after = (self.body.get("afterAttempt", 0), self.body.get("afterSequence", 0))
        self.asked = {"startStream": "start", "cancelStream": "cancel", "getStream": "look"}[self.operation.field]
        if self.asked == "look" and self.session_id in resuming:
            resuming.remove(self.session_id)
            self.asked = "resume"
        self.rejected = False
        self._realtime = realtime

    def cut_after(self, count: int) -> None:
        self._realtime.cut_after(self.session_id, count)

    async def reject(self, status: int, error: Mapping[str, Any], **headers: str) -> None:
        self.rejected = True
        info = dict(error)
        reason = {
            "path": [self.operation.field],
            "data": None,
            "errorType": "".join(map(str.capitalize, info["code"].split("_"))),
            "message": info.pop("message"),
            "errorInfo": info,
        }
        await self.exchange.reply(200, {"data": None, "errors": [reason]})

    async def accept(self) -> None:
        await self._answer({"sessionId": self.session_id, "status": "running"})

    async def give(self, frames: Sequence[Mapping[str, Any]], *, more: bool) -> None:
        """Answer with what is stored."""
        texts = [json.dumps(frame) for frame in frames]
        await self._answer({"sessionId": self.session_id, "status": "running", "frames": texts, "more": more})

    async def _answer(self, value: Mapping[str, Any]) -> None:
        await self.exchange.reply(200, {"data": self.operation.data(value)})

    async def send(self, frame: Mapping[str, Any]) -> None:
        await self._realtime.publish(frame)

    async def end(self) -> None:
        """The subscriptions stay."""
