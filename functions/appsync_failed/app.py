"""Reads the prompts whose deliveries are used up, and ends their sessions with an error."""

import os
from time import time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.ending import end
from tokenstream.errors import Internal
from tokenstream.prompt_queue import NoPrompt, Prompt
from tokenstream.sessions import LeaseLost
from tokenstream.sinks import DeliveryFailed
from tokenstream.sinks.appsync import AppSyncSink
from tokenstream.telemetry import logger

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
publish = wiring.publish_token(settings.GraphQLApi.from_environment(os.environ))


def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Work on a batch of dead letters; tell which are to come back."""
    failed = [record["messageId"] for record in event["Records"] if not _done(record, context.aws_request_id)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _done(record: dict[str, Any], worker: str) -> bool:
    """Work on a message; False if it has to come back."""
    try:
        prompt = Prompt.from_record(record)
    except NoPrompt:
        # It would come back for ever, and end nobody's session.
        logger.error("message is no prompt", extra={"message_id": record["messageId"]})
        return True
    return _ended(prompt.session_id, worker)


def _ended(session_id: str, worker: str) -> bool:
    """End a session; False if somebody is still working on it, who may die."""
    ids = {"session_id": session_id, "path": "appsync"}
    session = sessions.find(session_id)
    if session is None or session.ended:
        logger.info("nothing left to end", extra=ids)
        return True
    now = time()
    try:
        claim = sessions.claim(session_id, worker, now)
        frames = end(sessions, claim, session, Internal("The answer was interrupted."), now)
    except LeaseLost:
        logger.info("another worker has it", extra=ids)
        return False
    logger.warning("session ended in its worker's place", extra={**ids, "attempt": claim.attempt})
    try:
        AppSyncSink(publish, session.owner).send(frames)
    except DeliveryFailed:
        logger.warning("end not published", extra=ids)  # whoever asks for the session's frames is told
    return True


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
