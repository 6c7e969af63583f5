"""Streams one answer to a WebSocket connection, or replays one that has ended. Invoked asynchronously, without retries.

What it raises reaches the failure destination, which has the session recovered.
"""

import os
from time import monotonic, sleep, time
from typing import Any

from tokenstream import attempt, settings, telemetry, wiring
from tokenstream.frames import Position
from tokenstream.lease import Lease
from tokenstream.pump import Ending
from tokenstream.replay import Replayer, TimeUp
from tokenstream.request import read_request
from tokenstream.sessions import LeaseLost
from tokenstream.sinks import ClientGone, Sink
from tokenstream.telemetry import logger

ENDING_SECONDS = 10.0
"""What is left of the function's time when a stream is ended by its deadline."""

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
bedrock = wiring.bedrock(settings.BedrockRuntime.from_environment(os.environ))
delivery = wiring.websocket_delivery(os.environ)
limits = wiring.limits(os.environ)
flush_interval = settings.flush_interval(os.environ)


class AttemptGivenUp(Exception):
    """A passing fault of the model's has ended the attempt: the failure destination sees to the next."""


def answer(event: dict[str, Any], context: Any) -> None:
    """Do what the route `stream` or `resume` has asked for."""
    match event:
        case {"sessionId": str(session_id), "request": dict(request)}:
            _stream(session_id, request, context)
        case {
            "sessionId": str(session_id),
            "owner": str(owner),
            "connectionId": str(connection_id),
            "delivery": ("direct" | "queued") as way,
            "after": {"attempt": int(last_attempt), "sequence": int(sequence)},
        }:
            sink = delivery.replay(session_id, connection_id, context.aws_request_id, way)
            _replay(session_id, owner, Position(last_attempt, sequence), sink, context)
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
    lease = Lease(sessions, claim, time)
    outcome = attempt.generate(
        claim,
        "websocket",
        request,
        source=bedrock.source(request),
        way_out=delivery.stream(lease, session_id, recipient.connection_id, request.delivery),
        keeper=lease,
        clock=monotonic,
        started_at=started_at,
        deadline=monotonic() + _seconds_left(context),
        flush_interval=flush_interval,
        # The recovery reads what was asked from the table.
        recoverable=sessions.store_answers,
    )
    telemetry.stream_ended(claim, "websocket", outcome)
    if outcome.ending is Ending.GIVEN_UP:
        raise AttemptGivenUp


def _replay(session_id: str, owner: str, after: Position, sink: Sink, context: Any) -> None:
    replayer = Replayer(sessions, context.aws_request_id, clock=time, wait=sleep)
    ids = {"session_id": session_id, "path": "websocket"}
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
