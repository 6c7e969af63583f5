"""A stack as a client meets it, on every path: sessions, resuming, cancelling; with faults on request."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.unit.client import scripted_appsync, scripted_http, scripted_websocket
from tests.unit.client.calls import AppSyncCall, Call, HttpCall, WebSocketCall
from tests.unit.client.scripted_http import Cut
from tests.unit.client.server_thread import server_loop
from tokenstream_client import Endpoints

JsonFrame = dict[str, Any]
Fault = Callable[[Call], Awaitable[None]]
TOKEN = "header.eyJpYXQiOiAwLCAiZXhwIjogMzYwMH0.signature"  # shaped like a JWT that lives for an hour


def numbered(*frames: JsonFrame, attempt: int = 1, session_id: str = "s") -> list[JsonFrame]:
    return [
        {"sessionId": session_id, "attempt": attempt, "sequence": sequence, **frame}
        for sequence, frame in enumerate(frames, start=1)
    ]


def start() -> JsonFrame:
    return {"type": "start", "model": "paced", "path": "url", "delivery": "direct"}


def token(text: str) -> JsonFrame:
    return {"type": "token", "token": text}


def complete(stop_reason: str = "end_turn") -> JsonFrame:
    return {
        "type": "complete",
        "stopReason": stop_reason,
        "usage": {"inputTokens": 3, "outputTokens": 5},
        "timings": {"timeToFirstTokenMs": 210, "durationMs": 1900},
    }


def error(code: str = "model_error", message: str = "The model failed.", **more: Any) -> JsonFrame:
    return {"type": "error", "error": {"code": code, "message": message, "retryable": True, **more}}


def answer(*texts: str) -> list[JsonFrame]:
    return numbered(start(), *(token(text) for text in texts), complete())


def reject(status: int, code: str, message: str = "No.", *, field: str | None = None, **headers: str) -> Fault:
    """Answer the next request with an error of the server's."""
    error = {"code": code, "message": message, "retryable": status >= 429, **({"field": field} if field else {})}

    async def fault(call: Call) -> None:
        await call.reject(status, error, **headers)

    return fault


def cut_after(count: int) -> Fault:
    """Break the connection after so many bytes of what is streamed next."""

    async def fault(call: Call) -> None:
        call.cut_after(count)

    return fault


async def close(call: Call) -> None:
    """Hang up before anything is answered."""
    raise Cut


@dataclass
class FakeStack:
    """`frames` is what every session gets. With `hold_at` the frames from that index on come only after a cancel.

    AppSync's `realtime` endpoint is a part of it; `page` is how many stored frames it gives at once. What goes the
    queued way arrives as `queue` leaves it. `held` counts the streams that have come to `hold_at`.

    It stands for Cognito as well, and believes every password unless `refuse_sign_in`, or asks for `challenge`.
    `handshakes` are the statuses of the next WebSocket handshakes, in the place of 101.
    """

    frames: list[JsonFrame] = field(default_factory=lambda: answer("Hello", " world"))
    hold_at: int | None = None
    ignore_cancel: bool = False
    refuse_sign_in: bool = False
    challenge: str | None = None
    users: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    handshakes: deque[int] = field(default_factory=deque)
    calls: list[Call] = field(default_factory=list)
    connections: list[ServerConnection] = field(default_factory=list)
    sessions: dict[str, asyncio.Event] = field(default_factory=dict)
    queue: Callable[[list[JsonFrame]], list[JsonFrame]] = list
    queued: set[str] = field(default_factory=set)
    preflights: list[str] = field(default_factory=list)
    ignore_preflights: bool = False
    held: int = 0
    holding: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    page: int = 500
    realtime: scripted_appsync.Realtime = field(init=False)
    _resuming: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.realtime = scripted_appsync.Realtime(self.tokens, self._subscribed)

    def questions(self) -> list[Any]:
        return [call.body for call in self.calls if call.asked == "start"]

    def asked(self) -> list[str]:
        """Tell what was asked for, in its order: `start`, `resume`, `cancel`."""
        return [call.asked for call in self.calls if call.asked != "look"]

    def looks(self) -> list[tuple[int, int]]:
        """Tell behind which positions was looked for what an event may have failed to bring."""
        return [call.after for call in self.calls if call.asked == "look"]

    async def handle_http(self, exchange: scripted_http.Exchange) -> None:
        if "x-amz-target" in exchange.headers:
            return await self._sign_in(exchange)
        if exchange.method == "OPTIONS":
            self.preflights.append(exchange.path)
            if self.ignore_preflights:
                await asyncio.Event().wait()
            exchange.keep_alive = True
            return await exchange.reply(403, {"message": "Missing Authentication Token"})
        if exchange.path == "/graphql":
            return await self._handle_graphql(exchange)
        call = HttpCall(exchange)
        if exchange.headers.get("authorization", "").removeprefix("Bearer ") in self.tokens:
            return await self.handle(call)
        self.calls.append(call)
        return await call.reject(401, {"code": "unauthorized", "message": "The token isn't valid.", "retryable": False})

    async def _handle_graphql(self, exchange: scripted_http.Exchange) -> None:
        assert exchange.method == "POST"
        if exchange.headers["authorization"] not in self.tokens:
            reason = {"errorType": "UnauthorizedException", "message": "Token has expired."}
            return await exchange.reply(401, {"errors": [reason]})
        return await self.handle(AppSyncCall(exchange, self.realtime, self._resuming))

    def _subscribed(self, session_id: str) -> None:
        if session_id in self.sessions:
            self._resuming.add(session_id)

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Decide about a WebSocket handshake."""
        if self.handshakes:
            return connection.respond(self.handshakes.popleft(), "")
        protocol, _, token = request.headers["Sec-WebSocket-Protocol"].partition(", ")
        if protocol != "tokenstream" or token not in self.tokens:
            return connection.respond(HTTPStatus.FORBIDDEN, '{"message": "Forbidden"}')
        self.connections.append(connection)
        return None

    async def handle_message(self, exchange: scripted_websocket.Exchange) -> None:
        if exchange.message["action"] == "ping":
            return await exchange.reply("pong")
        return await self.handle(WebSocketCall(exchange))

    async def handle(self, call: Call) -> None:
        self.calls.append(call)
        if call.asked == "cancel":
            return await self._cancel(call)
        if self.faults:
            await self.faults.popleft()(call)
            if call.rejected:
                return None
        if call.asked == "start":
            return await self._start(call)
        return await self._resume(call)

    async def _sign_in(self, exchange: scripted_http.Exchange) -> None:
        self.users.append(exchange.json["AuthParameters"]["USERNAME"])
        if self.refuse_sign_in:
            await exchange.reply(400, {"__type": "NotAuthorizedException"})
        elif self.challenge is not None:
            await exchange.reply(200, {"ChallengeName": self.challenge})
        else:
            await exchange.reply(200, {"AuthenticationResult": {"IdToken": TOKEN}})

    async def _start(self, call: Call) -> None:
        if call.session_id in self.sessions:
            return await call.reject(409, {"code": "conflict", "message": "Used.", "retryable": False})
        self.sessions[call.session_id] = asyncio.Event()
        if call.body.get("delivery") == "queued":
            self.queued.add(call.session_id)
        return await self._stream(call)

    async def _resume(self, call: Call) -> None:
        if call.session_id not in self.sessions:
            return await self._not_found(call)
        if isinstance(call, AppSyncCall):
            return await self._look(call)
        return await self._stream(call)

    async def _look(self, call: AppSyncCall) -> None:
        held = self.hold_at is not None and not self.sessions[call.session_id].is_set()
        frames = self._frames_of(call.session_id)
        stored = frames[: self.hold_at] if held else frames
        attempt = stored[-1]["attempt"] if stored else 0
        behind = [
            {**frame, "sessionId": call.session_id}
            for frame in stored
            if frame["attempt"] == attempt and (attempt, frame["sequence"]) > call.after
        ]
        await call.give(behind[: self.page], more=len(behind) > self.page)

    async def _cancel(self, call: Call) -> None:
        if call.session_id not in self.sessions:
            return await self._not_found(call)
        if not self.ignore_cancel:
            self.sessions[call.session_id].set()
        self.cancelled.set()
        return await call.accept()

    async def _not_found(self, call: Call) -> None:
        await call.reject(404, {"code": "not_found", "message": "No such session.", "retryable": False})

    def _frames_of(self, session_id: str) -> list[JsonFrame]:
        if session_id not in self.queued:
            return self.frames
        return [{**frame, "delivery": "queued"} if frame["type"] == "start" else frame for frame in self.frames]

    async def _stream(self, call: Call) -> None:
        await call.accept()
        frames = self._frames_of(call.session_id)
        for index, frame in enumerate(self.queue(frames) if call.session_id in self.queued else frames):
            if index == self.hold_at:
                self.held += 1
                self.holding.set()
                await self.sessions[call.session_id].wait()
            if (frame["attempt"], frame["sequence"]) > call.after:
                await call.send({**frame, "sessionId": call.session_id})
                await asyncio.sleep(0)  # so that streams on one connection take turns
        await call.end()


@contextmanager
def running(stack: FakeStack) -> Iterator[Endpoints]:
    with (
        server_loop() as loop,
        scripted_http.serving(loop, stack.handle_http) as url,
        scripted_websocket.serving(loop, stack.admit, stack.handle_message) as websocket_url,
        scripted_appsync.serving(loop, stack.realtime) as realtime_url,
    ):
        stack.realtime.host = url.removeprefix("http://")
        yield replace(endpoints_of(url), websocket_url=websocket_url, graphql_realtime_url=realtime_url)


def endpoints_of(url: str) -> Endpoints:
    return Endpoints(
        function_url=url,
        rest_url=f"{url}/dev",
        websocket_url=url.replace("http", "ws", 1),
        graphql_url=f"{url}/graphql",
        graphql_realtime_url=f"{url}/graphql".replace("http", "ws", 1),
        region="us-east-1",
        user_pool_id="us-east-1_Pool",
        user_pool_client_id="client",
        aws_endpoint_url=url,
        username="alice",
        password="a-password",
    )


def write_endpoints(endpoints: Endpoints, file: Path) -> None:
    values = {
        "functionUrl": endpoints.function_url,
        "restUrl": endpoints.rest_url,
        "websocketUrl": endpoints.websocket_url,
        "graphqlUrl": endpoints.graphql_url,
        "graphqlRealtimeUrl": endpoints.graphql_realtime_url,
        "awsEndpointUrl": endpoints.aws_endpoint_url,
        "region": endpoints.region,
        "userPoolId": endpoints.user_pool_id,
        "userPoolClientId": endpoints.user_pool_client_id,
        "username": endpoints.username,
        "password": endpoints.password,
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values))
