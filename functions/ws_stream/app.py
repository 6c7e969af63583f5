"""Streams one answer to a WebSocket connection, or replays one that has ended. Invoked asynchronously, without retries.

What it raises reaches the failure destination, which ends the session.
"""

import os
from time import monotonic, sleep, time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.frames import Position, Sealed
from tokenstream.lease import Lease
from tokenstream.pump import Pump
from tokenstream.relay import Relay
from tokenstream.replay import Replayer, TimeUp
from tokenstream.request import Limits, read_request
from tokenstream.sessions import LeaseLost
from tokenstream.sinks import ClientGone
from tokenstream.sinks.websocket import WebSocketSink
from tokenstream.telemetry import logger

ENDING_SECONDS = 10.0
"""What is left of the function's time when a stream is ended by its deadline."""

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
bedrock = wiring.bedrock(settings.BedrockRuntime.from_environment(os.environ))
post = wiring.post_to_connection(settings.WebSocketApi.from_environment(os.environ))
model_limits = settings.ModelLimits.from_environment(os.environ)
limits = Limits(model_limits.allowed_models, model_limits.max_tokens_cap)


def answer(event: dict[str, Any], context: Any) -> None:
    """Do what the route `stream` or `resume` has asked for."""
    match event:
        case {"sessionId": str(session_id), "request": dict(request)}:
            _stream(session_id, request, context)
        case {
            "sessionId": str(session_id),
            "owner": str(owner),
            "connectionId": str(connection_id),
            "after": {"attempt": int(attempt), "sequence": int(sequence)},
        }:
            _replay(session_id, owner, connection_id, Position(attempt, sequence), context)
        case _:
            raise ValueError("this is no event of ws_message's")


def _stream(session_id: str, fields: dict[str, Any], context: Any) -> None:
    started_at = monotonic()
    try:
        claim = sessions.claim(session_id, context.aws_request_id, time())
    except LeaseLost:
        # Lambda may deliver an event twice.
        logger.info("session is taken or has ended", extra={"session_id": session_id, "path": "websocket"})
        return
    recipient = claim.instructions.recipient
    assert recipient is not None  # noqa: S101 - a session of this path is accepted with one
    request = read_request(fields, limits, session_id)
    relay = Relay(
        session_id=session_id,
        attempt=claim.attempt,
        model=request.model,
        path="websocket",
        delivery=request.delivery,
        started_at=started_at,
        max_frame_bytes=WebSocketSink.max_frame_bytes,
    )
    source = bedrock.source(request)
    if claim.instructions.cancel:
        # Stopped before it began: the model is not even called.
        relay.complete("cancelled", source.usage, monotonic())
        source.abort()
    sink = WebSocketSink(post, recipient.connection_id)
    lease = Lease(sessions, claim, time)

    def rejoin() -> None:
        frames: list[Sealed] = []
        if (missed := lease.missed()) is not None:
            recipient, frames = missed
            sink.move(recipient.connection_id)
        # Without frames too: it raises while the client is gone.
        sink.send(frames)

    outcome = Pump(
        source=source,
        relay=relay,
        sink=sink,
        keeper=lease,
        clock=monotonic,
        deadline=monotonic() + _seconds_left(context),
        rejoin=rejoin,
    ).run()
    telemetry.stream_ended(claim, "websocket", outcome)


def _replay(session_id: str, owner: str, connection_id: str, after: Position, context: Any) -> None:
    sink = WebSocketSink(post, connection_id)
    replayer = Replayer(sessions, context.aws_request_id, clock=time, wait=sleep)
    ids = {"session_id": session_id, "connection_id": connection_id, "path": "websocket"}
    try:
        for frames in replayer.frames(session_id, owner, after, time() + _seconds_left(context)):
            if frames:
                sink.send(frames)
            else:
                sink.heartbeat(session_id)
    except (ClientGone, TimeUp) as reason:
        logger.info("replay ended early", extra={**ids, "reason": type(reason).__name__})
    else:
        logger.info("replayed", extra=ids)


def _seconds_left(context: Any) -> float:
    return float(context.get_remaining_time_in_millis() / 1000 - ENDING_SECONDS)


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
