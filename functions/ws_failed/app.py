"""The failure destination of `ws_stream`: ends a session whose worker has failed, or never started, with an error."""

import os
from time import time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.ending import end
from tokenstream.errors import Internal
from tokenstream.sessions import LeaseLost
from tokenstream.sinks import ClientGone
from tokenstream.telemetry import logger

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
post = wiring.post_to_connection(settings.WebSocketApi.from_environment(os.environ))


def answer(event: dict[str, Any], context: Any) -> None:
    """Take a record of Lambda's about an asynchronous invocation that failed (version 1.0)."""
    # The record is not logged: it has the prompt in it.
    payload: dict[str, Any] = event["requestPayload"]
    session_id: str = payload["sessionId"]
    failed_worker: str = event["requestContext"]["requestId"]
    ids = {"session_id": session_id, "path": "websocket", "condition": event["requestContext"]["condition"]}
    session = sessions.find(session_id) if "request" in payload else None  # a replay that failed ends nothing
    if session is None or session.ended:
        logger.info("nothing left to end", extra=ids)
        return
    now = time()
    try:
        claim = sessions.claim(session_id, context.aws_request_id, now, failed_worker=failed_worker)
        frames = end(sessions, claim, session, Internal("The answer was interrupted."), now)
    except LeaseLost:
        logger.info("another worker has it", extra=ids)
        return
    logger.warning("session ended in its worker's place", extra={**ids, "attempt": claim.attempt})
    recipient = claim.instructions.recipient
    if recipient is None:
        return
    try:
        for frame in frames:
            post(recipient.connection_id, frame.json)
    except ClientGone:
        logger.info("nobody there to tell", extra=ids)


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
