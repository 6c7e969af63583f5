"""Starts the recovery of sessions that something has failed for, knowing no more of them than their ids.

Two kinds of events reach it: prompts from the dead-letter queue, and Lambda's records of failed invocations of
`ws_stream`. Both have a prompt in them: they are not logged.
"""

import os
from collections.abc import Mapping
from time import time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.prompt_queue import NoPrompt, Prompt
from tokenstream.recoveries import RecoveryUnavailable
from tokenstream.telemetry import logger

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
recoveries = wiring.recoveries(settings.StateMachine.from_environment(os.environ))


def answer(event: dict[str, Any], context: Any) -> dict[str, Any] | None:  # noqa: ARG001 - the handler's interface
    """Start a recovery for each session in the event; of a queue's batch, tell which messages have to come back."""
    match event:
        case {"Records": list(records)}:
            failed = [record["messageId"] for record in records if not _dead_letter(record)]
            return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
        case {"requestPayload": dict(payload), "requestContext": {"requestId": str(worker), "condition": condition}}:
            _failed_invocation(payload, worker, condition)
            return None
        case _:
            raise ValueError("this is neither a dead letter nor a failed invocation")


def _dead_letter(record: Mapping[str, Any]) -> bool:
    """Take a prompt whose deliveries are used up; False if it has to come back."""
    try:
        prompt = Prompt.from_record(record)
    except NoPrompt:
        # It would come back for ever, and end nobody's session.
        logger.error("message is no prompt", extra={"message_id": record["messageId"]})
        return True
    try:
        _start(prompt.session_id, "dead letter")
    except RecoveryUnavailable:
        logger.exception("recovery not started", extra={"session_id": prompt.session_id})
        return False
    return True


def _failed_invocation(payload: Mapping[str, Any], worker: str, condition: str) -> None:
    """Take a stream whose worker has failed, or was never started; Lambda tries again what this raises."""
    session_id: str = payload["sessionId"]
    if "request" not in payload:
        logger.info("a replay has failed", extra={"session_id": session_id})
        return
    # Its lease is waited for no longer.
    sessions.abandon(session_id, worker, time())
    _start(session_id, condition)


def _start(session_id: str, reason: str) -> None:
    started = recoveries.start(session_id, time())
    logger.warning("recovery started" if started else "recovery runs", extra={"session_id": session_id, "why": reason})


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
