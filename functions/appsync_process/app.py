"""Takes a prompt from the queue and publishes its answer to AppSync.

A message is delivered at least once, and an answer generated once: whoever claims the session generates. A worker that
dies leaves its message to come back within a minute; a worker that finds the session taken leaves it to come back when
the other one must be done.
"""

import os
from time import monotonic, time
from typing import Any

from tokenstream import attempt, settings, telemetry, wiring
from tokenstream.ending import end
from tokenstream.errors import InvalidRequest
from tokenstream.held_message import HeldMessage
from tokenstream.lease import Lease
from tokenstream.message_queue import QueueUnavailable
from tokenstream.prompt_queue import HOLD_SECONDS, NoPrompt, Prompt
from tokenstream.pump import Ending
from tokenstream.request import read_request
from tokenstream.session import Claim, Session
from tokenstream.sessions import LeaseLost
from tokenstream.sinks import DeliveryFailed
from tokenstream.telemetry import logger

ENDING_SECONDS = 10.0
"""What is left of the function's time when a stream is ended by its deadline."""

NEXT_ATTEMPT_SECONDS = 2
"""How soon an attempt that was given up is followed by the next."""

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
bedrock = wiring.bedrock(settings.BedrockRuntime.from_environment(os.environ))
delivery = wiring.appsync_delivery(os.environ)
queue = wiring.prompt_queue(settings.PromptQueue.from_environment(os.environ))
max_receives = settings.prompt_max_receives(os.environ)
limits = wiring.limits(os.environ)
flush_interval = settings.flush_interval(os.environ)


def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Work on the batch, which is one message; tell which are to come back."""
    failed = [record["messageId"] for record in event["Records"] if not _done(record, context)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _done(record: dict[str, Any], context: Any) -> bool:
    """Work on a message; False if it has to come back."""
    try:
        prompt = Prompt.from_record(record)
    except NoPrompt:
        # It would come back for ever, and end nobody's session.
        logger.error("message is no prompt", extra={"message_id": record["messageId"]})
        return True
    try:
        return _answered(prompt, context)
    except Exception:
        # By itself the message is back when this function's time would be up at the earliest.
        _hide(prompt, HOLD_SECONDS)
        raise


def _answered(prompt: Prompt, context: Any) -> bool:
    """Generate the answer; False if the message has to come back."""
    started_at = monotonic()
    ids = {"session_id": prompt.session_id, "path": "appsync"}
    session = sessions.find(prompt.session_id)
    if session is None or session.ended:
        logger.info("nothing left to do", extra=ids)
        return True
    try:
        claim = sessions.claim(prompt.session_id, context.aws_request_id, time())
    except LeaseLost:
        logger.info("another worker has it", extra=ids)
        # As long as that one can take at most; when it dies its own message is back sooner.
        _hide(prompt, context.get_remaining_time_in_millis() / 1000)
        return False
    # From here on the lease says whose the session is: if this worker dies, the message is back behind it.
    _hide(prompt, HOLD_SECONDS)
    try:
        request = read_request(prompt.request, limits, prompt.session_id)
    except InvalidRequest as error:
        _refuse(claim, session, error)
        return True
    lease = Lease(sessions, claim, time)
    outcome = attempt.generate(
        claim,
        "appsync",
        request,
        source=bedrock.source(request),
        way_out=delivery.stream(lease, prompt.session_id, session.owner, request.delivery),
        keeper=HeldMessage(lease, queue, prompt, monotonic),
        clock=monotonic,
        started_at=started_at,
        deadline=monotonic() + context.get_remaining_time_in_millis() / 1000 - ENDING_SECONDS,
        flush_interval=flush_interval,
        # The last delivery leaves the session to the recovery, which reads what was asked from the table.
        recoverable=sessions.store_answers or prompt.receives < max_receives,
    )
    telemetry.stream_ended(claim, "appsync", outcome)
    if outcome.ending is Ending.GIVEN_UP:
        _hide(prompt, NEXT_ATTEMPT_SECONDS)
    # A lost one may be nobody's: its message is back when the lease must have run out, and whoever gets it will see.
    return outcome.ending is Ending.TERMINAL


def _refuse(claim: Claim, session: Session, error: InvalidRequest) -> None:
    """End a session whose request is not allowed any more: the stack's limits have changed while it was queued."""
    ids = {"session_id": claim.session_id, "attempt": claim.attempt, "path": "appsync"}
    logger.warning("request not allowed any more", extra={**ids, "error_code": error.code})
    frames = end(sessions, claim, session, error, time())
    try:
        lease = Lease(sessions, claim, time)
        delivery.stream(lease, claim.session_id, session.owner, session.delivery).sink.send(frames)
    except DeliveryFailed:
        logger.warning("end not published", extra=ids)  # whoever asks for the session's frames is told


def _hide(prompt: Prompt, seconds: float) -> None:
    try:
        queue.hide(prompt, seconds)
    except QueueUnavailable:
        # It comes back when its present time is up.
        logger.warning("message not hidden", exc_info=True, extra={"session_id": prompt.session_id})


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
