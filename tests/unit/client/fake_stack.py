"""A stack as a client meets it over HTTP: sessions, resuming, cancelling; with faults on request."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.client.scripted_http import Cut, Exchange, serving
from tokenstream_client import Endpoints

JsonFrame = dict[str, Any]
Fault = Callable[[Exchange], Awaitable[None]]
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

    async def fault(exchange: Exchange) -> None:
        await exchange.reply(status, {"error": error}, **headers)

    return fault


def cut_after(count: int) -> Fault:
    """Break the next streamed response after so many bytes of its body."""

    async def fault(exchange: Exchange) -> None:
        exchange.cut_after = count

    return fault


async def close(exchange: Exchange) -> None:
    """Hang up before the response's head."""
    raise Cut


@dataclass
class FakeStack:
    """`frames` is what every session gets. With `hold_at` the frames from that index on come only after a cancel.

    It stands for Cognito as well, and believes every password unless `refuse_sign_in`, or asks for `challenge`.
    """

    frames: list[JsonFrame] = field(default_factory=lambda: answer("Hello", " world"))
    hold_at: int | None = None
    ignore_cancel: bool = False
    refuse_sign_in: bool = False
    challenge: str | None = None
    users: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    requests: list[Exchange] = field(default_factory=list)
    sessions: dict[str, asyncio.Event] = field(default_factory=dict)
    holding: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def questions(self) -> list[Any]:
        return [exchange.json for exchange in self.requests if exchange.method == "POST"]

    def methods(self) -> list[str]:
        return [exchange.method for exchange in self.requests]

    async def handle(self, exchange: Exchange) -> None:
        if "x-amz-target" in exchange.headers:
            return await self._sign_in(exchange)
        self.requests.append(exchange)
        if exchange.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return await exchange.reply(
                401, {"error": {"code": "unauthorized", "message": "The token isn't valid.", "retryable": False}}
            )
        if exchange.method == "DELETE":
            return await self._cancel(exchange)
        if self.faults:
            await self.faults.popleft()(exchange)
            if exchange.sent:
                return None
        if exchange.method == "POST":
            return await self._start(exchange)
        return await self._resume(exchange)

    async def _sign_in(self, exchange: Exchange) -> None:
        self.users.append(exchange.json["AuthParameters"]["USERNAME"])
        if self.refuse_sign_in:
            await exchange.reply(400, {"__type": "NotAuthorizedException"})
        elif self.challenge is not None:
            await exchange.reply(200, {"ChallengeName": self.challenge})
        else:
            await exchange.reply(200, {"AuthenticationResult": {"IdToken": TOKEN}})

    async def _start(self, exchange: Exchange) -> None:
        session_id = exchange.json["sessionId"]
        if session_id in self.sessions:
            return await exchange.reply(409, {"error": {"code": "conflict", "message": "Used.", "retryable": False}})
        self.sessions[session_id] = asyncio.Event()
        return await self._stream(exchange, session_id, after=(0, 0))

    async def _resume(self, exchange: Exchange) -> None:
        session_id = exchange.path.rpartition("/")[2]
        if session_id not in self.sessions:
            return await self._not_found(exchange)
        attempt, _, sequence = exchange.query["after"].partition(".")
        return await self._stream(exchange, session_id, after=(int(attempt), int(sequence)))

    async def _cancel(self, exchange: Exchange) -> None:
        session_id = exchange.path.rpartition("/")[2]
        if session_id not in self.sessions:
            return await self._not_found(exchange)
        if not self.ignore_cancel:
            self.sessions[session_id].set()
        self.cancelled.set()
        return await exchange.reply(202, {"sessionId": session_id, "status": "running"})

    async def _not_found(self, exchange: Exchange) -> None:
        await exchange.reply(404, {"error": {"code": "not_found", "message": "No such session.", "retryable": False}})

    async def _stream(self, exchange: Exchange, session_id: str, *, after: tuple[int, int]) -> None:
        await exchange.head(200, Content_Type="application/x-ndjson", Transfer_Encoding="chunked")
        for index, frame in enumerate(self.frames):
            if index == self.hold_at:
                self.holding.set()
                await self.sessions[session_id].wait()
            if (frame["attempt"], frame["sequence"]) > after:
                await exchange.chunk(json.dumps({**frame, "sessionId": session_id}).encode() + b"\n")
        await exchange.end()


@contextmanager
def running(stack: FakeStack) -> Iterator[Endpoints]:
    with serving(stack.handle) as url:
        yield endpoints_of(url)


def endpoints_of(url: str) -> Endpoints:
    return Endpoints(
        function_url=url,
        rest_url=f"{url}/dev",
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
        "awsEndpointUrl": endpoints.aws_endpoint_url,
        "region": endpoints.region,
        "userPoolId": endpoints.user_pool_id,
        "userPoolClientId": endpoints.user_pool_client_id,
        "username": endpoints.username,
        "password": endpoints.password,
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(values))
