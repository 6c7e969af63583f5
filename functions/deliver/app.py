"""Takes frames and replies from the queue to their client: a WebSocket connection, or AppSync's subscribers.

Messages of one session come in order, and stay in order: behind one that could not be delivered, the session's others
wait for it. Those of other sessions go on.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.frames import encode_heartbeat
from tokenstream.message_queue import QueueUnavailable
from tokenstream.queued_frames import NoMessage, QueuedFrames, QueuedReply, read_record
from tokenstream.session import Session
from tokenstream.sessions import SessionsUnavailable
from tokenstream.sinks import ClientGone, DeliveryFailed, Refused
from tokenstream.telemetry import logger

LONGEST_PAUSE_SECONDS = 10
"""With it, the queue's count of receives lasts for the better part of its retention."""

MAX_REFUSALS = 6
"""How often a message that a service refuses is tried, for half a minute: the frames behind it wait for so long."""

LEFT_SECONDS = 8.0
"""What is left of the function's time when it leaves the rest of a batch to the next invocation: one message may take
so long whose service is silent."""

MAX_FAILURES = 2
"""With so many failures on a path, or of the table, the other messages of the batch that need it aren't tried: the
function's time is limited."""

BEHIND_SECONDS = 0.5
"""After so long in the queue a worker's frames are too many: there are to be fewer and longer ones."""

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
post = wiring.post_to_connection(settings.WebSocketApi.from_environment(os.environ))
publish = wiring.publish_token(settings.GraphQLApi.from_environment(os.environ))
queue = wiring.frames_queue(settings.FramesQueue.from_environment(os.environ))
ready_at = time()


class Batch:
    """The records of one event, and what has come of them so far.

    `seconds_left` is the function's time, `clock` gives epoch seconds.
    """

    def __init__(self, seconds_left: Callable[[], float], clock: Callable[[], float]) -> None:
        self._seconds_left = seconds_left
        self._clock = clock
        self._noted: set[str] = set()
        self._sessions: dict[str, Session | None] = {}
        self._failures: Counter[str] = Counter()
        self._waiting: set[str] = set()

    def delivered(self, record: Mapping[str, Any]) -> bool:
        """Deliver a message; False if it has to come back."""
        group = record["attributes"]["MessageGroupId"]
        if group not in self._waiting and self._seconds_left() > LEFT_SECONDS and self._settled(record):
            return True
        self._waiting.add(group)
        return False

    def _settled(self, record: Mapping[str, Any]) -> bool:
        try:
            message = read_record(record)
        except NoMessage:
            # It would come back for ever, and hold up whatever has the same group.
            logger.error("message is none of ours", extra={"message_id": record["messageId"]})
            return True
        if isinstance(message, QueuedReply):
            return self._sent(message, None)
        if self._failures["table"] >= MAX_FAILURES:
            return False
        try:
            session = self._session(message.session_id)
        except SessionsUnavailable:
            self._failures["table"] += 1
            logger.warning("session not found out", exc_info=True, extra=_ids(message))
            return False
        if session is None:
            logger.info("session has expired", extra=_ids(message))
            return True
        # What was there before this function has waited for its cold start.
        waited = self._clock() - max(message.sent_at, ready_at)
        sent = self._sent(message, session)
        # What comes again has waited because it failed.
        if sent and waited >= BEHIND_SECONDS and message.receives == 1:
            self._note_wait(message, session)
        return sent

    def _note_wait(self, message: QueuedFrames, session: Session) -> None:
        """Tell the worker, who can't know, that its frames had to wait; behind the end there is none."""
        if session.behind or session.ended or session.session_id in self._noted or self._failures["table"]:
            return
        self._noted.add(session.session_id)
        try:
            sessions.fallen_behind(session.session_id)
        except SessionsUnavailable:
            self._failures["table"] += 1
            logger.warning("worker not told", exc_info=True, extra=_ids(message))

    def _session(self, session_id: str) -> Session | None:
        # Once a batch: what was published before a client came back on another connection is sent again there anyway.
        if session_id not in self._sessions:
            self._sessions[session_id] = sessions.find(session_id)
        return self._sessions[session_id]

    def _sent(self, message: QueuedFrames | QueuedReply, session: Session | None) -> bool:
        path = session.path if session else "websocket"
        ids = {**_ids(message), "path": path}
        if self._failures[path] >= MAX_FAILURES:
            return False
        try:
            _send(message, session, patient=not self._failures[path])
        except Refused as failure:
            if message.receives < MAX_REFUSALS:
                return False
            logger.exception("message dropped", extra={**ids, "reason": str(failure)})
            telemetry.count("DroppedMessages", path, ids.get("session_id", ""))
        except DeliveryFailed as failure:
            self._failures[path] += 1
            logger.warning("message not delivered yet", extra={**ids, "reason": str(failure)})
            return False
        except ClientGone:
            logger.info("nobody there to deliver to", extra=ids)
            return message.connection_id is not None or session is None or _client_noted_as_gone(session)
        return True


def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver a batch; tell which messages have to come back."""
    batch = Batch(lambda: context.get_remaining_time_in_millis() / 1000, time)
    failed = [record for record in event["Records"] if not batch.delivered(record)]
    _hide(failed)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


def _send(message: QueuedFrames | QueuedReply, session: Session | None, *, patient: bool) -> None:
    """Send what the message holds; raises `ClientGone`."""
    match message:
        case QueuedReply(connection_id, reply):
            post(connection_id, reply, patient=patient)
        case QueuedFrames(frames=frames) if session and session.path == "appsync":
            for frame in frames:
                publish(session.owner, frame, patient=patient)
        case QueuedFrames(session_id, frames, connection_id):
            if connection_id is None and session and session.recipient:
                connection_id = session.recipient.connection_id
            if connection_id is None:
                raise ClientGone  # an HTTP response is its function's own
            for body in [frame.json for frame in frames] or [encode_heartbeat(session_id)]:
                post(connection_id, body, patient=patient)


def _client_noted_as_gone(session: Session) -> bool:
    """Tell the worker, who can't know, that the connection is closed; False where that failed."""
    if session.recipient is None:
        return True
    try:
        sessions.client_gone(session.session_id, session.recipient)
    except SessionsUnavailable:
        logger.warning("worker not told", exc_info=True, extra={"session_id": session.session_id})
        return False
    return True


def _ids(message: QueuedFrames | QueuedReply) -> dict[str, str]:
    match message:
        case QueuedFrames(session_id=session_id):
            return {"session_id": session_id}
        case QueuedReply(connection_id=connection_id):
            return {"connection_id": connection_id}


def _hide(records: list[dict[str, Any]]) -> None:
    """Have messages come back soon, the later the more often they have failed."""
    for record in records:
        receives = int(record["attributes"]["ApproximateReceiveCount"])
        try:
            queue.hide(record["receiptHandle"], min(2 ** (receives - 1), LONGEST_PAUSE_SECONDS))
        except QueueUnavailable:
            # It comes back when the queue's own time-out is up; so do the others, for which there may be no time left.
            logger.warning("messages not hidden", exc_info=True, extra={"message_id": record["messageId"]})
            return


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
