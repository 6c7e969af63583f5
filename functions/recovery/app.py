"""The steps of the state machine `recovery`: looks a session up, generates its answer anew, or gives it up."""

import os
from dataclasses import replace
from random import random
from time import monotonic, time
from typing import Any, Literal

from msgspec.json import decode

from tokenstream import attempt, settings, telemetry, wiring
from tokenstream.delivery import WayOut
from tokenstream.ending import end
from tokenstream.errors import InvalidRequest, TokenstreamError
from tokenstream.frames import Delivery
from tokenstream.lease import Lease
from tokenstream.pump import Ending
from tokenstream.recovery import decide, final_error
from tokenstream.request import read_request
from tokenstream.session import Claim, Session
from tokenstream.sessions import LeaseLost, SessionsUnavailable
from tokenstream.sinks import ClientGone
from tokenstream.telemetry import logger

ENDING_SECONDS = 10.0
"""What is left of the function's time when a stream is ended by its deadline."""

Result = Literal["ended", "given_up", "taken"]
_RESULTS: dict[Ending, Result] = {Ending.TERMINAL: "ended", Ending.GIVEN_UP: "given_up", Ending.LOST: "taken"}

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
connections = wiring.connections(settings.ConnectionStore.from_environment(os.environ))
bedrock = wiring.bedrock(settings.BedrockRuntime.from_environment(os.environ))
websocket = wiring.websocket_delivery(os.environ)
appsync = wiring.appsync_delivery(os.environ)
limits = wiring.limits(os.environ)
flush_interval = settings.flush_interval(os.environ)
recovery = settings.Recovery.from_environment(os.environ)


def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do one step for a session."""
    match event:
        case {"step": "look", "sessionId": str(session_id), "tries": int(tries), "lingered": bool(lingered)}:
            return _look(session_id, tries, lingered=lingered)
        case {"step": "generate", "sessionId": str(session_id)}:
            return {"result": _generate(session_id, context)}
        case {"step": "give_up", "sessionId": str(session_id), "lingered": bool(lingered)}:
            return {"result": _give_up(session_id, context.aws_request_id, lingered=lingered)}
        case _:
            raise ValueError("this is no step of the recovery")


def _look(session_id: str, tries: int, *, lingered: bool) -> dict[str, Any]:
    session = sessions.find(session_id)
    decision = decide(
        session,
        time(),
        # What was asked is known only where answers are stored.
        tries_left=tries < recovery.attempts and sessions.store_answers,
        tries=tries,
        client_gone=session is not None and _client_gone(session),
        lingered=lingered,
        jitter=random(),  # noqa: S311 - spreads load
    )
    logger.info("looked", extra={"session_id": session_id, "next": decision.step, "seconds": decision.seconds})
    return {"next": decision.step, "seconds": decision.seconds}


def _generate(session_id: str, context: Any) -> Result:
    started_at = monotonic()
    try:
        session = sessions.find(session_id)
        if session is None or session.ended:
            return "ended"
        body = sessions.request(session_id)
        if body is None:
            # It was made while answers weren't stored: nothing can be generated, but it has to end.
            return "given_up"
        claim = sessions.claim(session_id, context.aws_request_id, time())
    except LeaseLost:
        return "taken"
    except SessionsUnavailable:
        # No attempt yet: the next look waits for the table.
        logger.warning("session not claimed", exc_info=True, extra={"session_id": session_id})
        return "taken"
    lease = Lease(sessions, claim, time)
    try:
        request = read_request(decode(body), limits, session_id)
    except InvalidRequest as error:
        # The stack's limits have changed in the meantime.
        return _end(claim, session, error, unwanted=False)
    request = replace(request, model=recovery.fallback_model or session.model)
    way_out = _way_out(session, claim, lease, request.delivery)
    if way_out is None:
        raise ValueError("nobody is to be reached on this session's path")
    outcome = attempt.generate(
        claim,
        session.path,
        request,
        source=bedrock.source(request),
        way_out=way_out,
        keeper=lease,
        clock=monotonic,
        started_at=started_at,
        deadline=monotonic() + context.get_remaining_time_in_millis() / 1000 - ENDING_SECONDS,
        flush_interval=flush_interval,
        recoverable=True,
    )
    telemetry.stream_ended(claim, session.path, outcome)
    telemetry.count("RecoveryAttempts", session.path, session_id)
    return _RESULTS[outcome.ending]


def _give_up(session_id: str, worker: str, *, lingered: bool) -> Result:
    session = sessions.find(session_id)
    if session is None or session.ended:
        return "ended"
    try:
        claim = sessions.claim(session_id, worker, time())
        return _end(claim, session, final_error(session.failure), unwanted=lingered and _client_gone(session))
    except LeaseLost:
        return "taken"


def _end(claim: Claim, session: Session, error: TokenstreamError, *, unwanted: bool) -> Result:
    """End a claimed session in a failed worker's place; raises `LeaseLost`."""
    ids = {"session_id": claim.session_id, "attempt": claim.attempt, "path": session.path}
    frames = end(sessions, claim, session, error, time(), unwanted=unwanted)
    logger.warning("session ended in its worker's place", extra={**ids, "error_code": error.code})
    telemetry.count("RecoveriesGivenUp", session.path, claim.session_id)
    way_out = _way_out(session, claim, Lease(sessions, claim, time), session.delivery)
    try:
        if way_out is not None:
            way_out.sink.send(frames)
    except ClientGone as reason:
        # They are stored: whoever asks for them is told.
        logger.info("end not delivered", extra={**ids, "reason": str(reason)})
    return "ended"


def _way_out(session: Session, claim: Claim, lease: Lease, delivery: Delivery) -> WayOut | None:
    """Make the way to the session's client; over HTTP, whose response is gone, there is none."""
    recipient = claim.instructions.recipient
    if session.path == "websocket" and recipient is not None:
        return websocket.stream(lease, session.session_id, recipient.connection_id, delivery)
    if session.path == "appsync":
        return appsync.stream(lease, session.session_id, session.owner, delivery)
    return None


def _client_gone(session: Session) -> bool:
    return session.recipient is not None and not connections.is_open(session.recipient.connection_id)


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
