"""Streams answers as the functions do: the layer's own parts, made from a function's environment.

The sessions table alone is a stand-in within the process: it is off the delivery path, and no sink's cost.
"""

import os
from time import monotonic, time
from typing import Any
from uuid import uuid4

from benchmarks.delivery.jobs import Sink, serve
from tokenstream import attempt, settings, wiring
from tokenstream.delivery import WayOut
from tokenstream.frames import Delivery, Path
from tokenstream.lease import Lease
from tokenstream.pump import Ending
from tokenstream.request import Message, Options, StreamRequest
from tokenstream.runtime import response_stream
from tokenstream.runtime.invocation import Invocation
from tokenstream.sessions import Sessions
from tokenstream.sinks.http import HttpSink, JsonLines

_PATHS: dict[Sink, tuple[Path, Delivery]] = {
    "url": ("url", "direct"),
    "websocket": ("websocket", "direct"),
    "appsync": ("appsync", "direct"),
    "sns": ("websocket", "queued"),
}


class _Table:
    """DynamoDB, as far as a worker needs it that nobody disturbs."""

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}

    def update_item(self, **update: Any) -> dict[str, Any]:
        claimed = {"status": {"S": "running"}, "attempt": {"N": "1"}, "cancelRequested": {"BOOL": False}}
        worker = {"worker": update["ExpressionAttributeValues"][":worker"]}
        recipient = {
            "connectionId": {"S": "L0SM9cOFvHcCIhw="},
            "attempt": {"N": "0"},
            "sequence": {"N": "0"},
            "ticket": {"S": ""},
        }
        self._record = update["Key"] | claimed | worker | {"recipient": {"M": recipient}}
        return {"Attributes": self._record}

    def get_item(self, **_: Any) -> dict[str, Any]:
        return {"Item": self._record}

    def put_item(self, **_: Any) -> dict[str, Any]:
        return {}


class Worker:
    """A warm function."""

    def __init__(self, runtime_api: str) -> None:
        self._runtime_api = runtime_api
        self._bedrock = wiring.bedrock(settings.BedrockRuntime.from_environment(os.environ))
        self._websocket = wiring.websocket_delivery(os.environ)
        self._appsync = wiring.appsync_delivery(os.environ)
        self._flush_interval = settings.flush_interval(os.environ)
        self._sessions = Sessions(_Table(), "sessions", ttl=3600, store_answers=True)

    def stream(self, sink: Sink) -> None:
        """Stream one answer."""
        path, delivery = _PATHS[sink]
        session_id = str(uuid4())
        request = StreamRequest(
            session_id, (Message("user", "Go."),), None, "anthropic.model", Options(100_000), delivery
        )
        started_at = monotonic()
        claim = self._sessions.claim(session_id, "worker", time())
        lease = Lease(self._sessions, claim, time)

        def generate(way_out: WayOut) -> None:
            outcome = attempt.generate(
                claim,
                path,
                request,
                source=self._bedrock.source(request),
                way_out=way_out,
                keeper=lease,
                clock=monotonic,
                started_at=started_at,
                deadline=started_at + 900,
                flush_interval=self._flush_interval,
            )
            if outcome.ending is not Ending.TERMINAL:
                raise RuntimeError("the answer has not been streamed")

        match path:
            case "url" | "rest":
                Invocation.current = Invocation(self._runtime_api, str(uuid4()), None)
                with HttpSink(response_stream, JsonLines(), {}) as response:
                    generate(WayOut(response))
                    response.end()
            case "websocket":
                generate(self._websocket.stream(lease, session_id, "L0SM9cOFvHcCIhw=", delivery))
            case "appsync":
                generate(self._appsync.stream(lease, session_id, "owner", delivery))


if __name__ == "__main__":
    serve(Worker(os.environ["AWS_LAMBDA_RUNTIME_API"]).stream)
