"""Looks, on a schedule, for sessions that nobody looks after any more, and has them recovered."""

import os
from time import time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.recoveries import RecoveryUnavailable
from tokenstream.session import LEASE_SECONDS
from tokenstream.telemetry import logger

GRACE_SECONDS = 60
"""How long those who have been told of a failure, the prompt's queue or the failure destination, have to see to it."""

LEFT_SECONDS = 5.0
"""What is left of the function's time when it leaves the rest to the next sweep."""

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
recoveries = wiring.recoveries(settings.StateMachine.from_environment(os.environ))


def answer(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001 - the handler's interface
    """Go through the open sessions; tell how many there were, and how many were orphaned."""
    looked_at = orphaned = 0
    for session_id in sessions.open_since(time() - LEASE_SECONDS - GRACE_SECONDS):
        if context.get_remaining_time_in_millis() / 1000 < LEFT_SECONDS:
            logger.warning("sweep ended early", extra={"sessions": looked_at})
            break
        looked_at += 1
        session = sessions.find(session_id)
        if session is None or not session.orphaned(time() - GRACE_SECONDS):
            continue
        orphaned += 1
        ids = {"session_id": session_id, "path": session.path, "status": session.status}
        try:
            if recoveries.start(session_id, time()):
                logger.warning("session orphaned", extra=ids)
                telemetry.count("OrphanedSessions", session.path, session_id)
        except RecoveryUnavailable:
            # The next sweep finds it again.
            logger.exception("recovery not started", extra=ids)
    logger.info("swept", extra={"sessions": looked_at, "orphaned": orphaned})
    return {"sessions": looked_at, "orphaned": orphaned}


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
