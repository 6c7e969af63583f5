"""The mutation `startStream`: checks what is asked for, records the session, has it generated, and returns."""

import os
from time import time
from typing import Any
from uuid import uuid4

from msgspec import to_builtins
from msgspec.json import encode

from tokenstream import settings, telemetry, wiring
from tokenstream.ending import end
from tokenstream.errors import Internal, InvalidRequest, TokenstreamError
from tokenstream.frames import ErrorDetail
from tokenstream.message_queue import QueueUnavailable
from tokenstream.request import read_request, require_size
from tokenstream.session import NewSession
from tokenstream.sessions import LeaseLost
from tokenstream.telemetry import logger

store = settings.SessionStore.from_environment(os.environ)
sessions = wiring.sessions(store)
queue = wiring.prompt_queue(settings.PromptQueue.from_environment(os.environ))
limits = wiring.limits(os.environ)


def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take the resolver's `{"arguments", "sub"}`; give its result or `{"error"}`."""
    try:
        session_id = _start(event["arguments"], event["sub"], context.aws_request_id)
    except TokenstreamError as error:
        logger.info("request rejected", extra={"path": "appsync", "error_code": error.code})
        return {"error": to_builtins(ErrorDetail.of(error))}
    return {"sessionId": session_id, "status": "accepted"}


def _start(arguments: dict[str, Any], owner: str, worker: str) -> str:
    try:
        require_size(encode(arguments))
    except UnicodeEncodeError:
        raise InvalidRequest("The text has half a character in it.") from None
    request = read_request(arguments, limits, str(uuid4()))
    given = {name: value for name, value in arguments.items() if value is not None}
    fields = given | {"sessionId": request.session_id}
    new = NewSession(request.session_id, owner, "appsync", request.delivery, request.model, encode(fields))
    # The prompt's queue keeps it for as long as there is a session.
    sessions.accept(new, None, time(), begin_within=store.ttl)
    try:
        queue.put(request.session_id, fields)
    except QueueUnavailable:
        logger.exception("prompt not queued", extra={"session_id": request.session_id, "path": "appsync"})
        if _given_up(new, worker):
            raise
    return request.session_id


def _given_up(new: NewSession, worker: str) -> bool:
    """End a session that no worker will hear of; False if one has: its message went through, the answer was lost."""
    now = time()
    try:
        end(sessions, sessions.claim(new.session_id, worker, now), new, Internal(), now)
    except LeaseLost:
        return False
    return True


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
