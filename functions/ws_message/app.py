"""The routes of the WebSocket path: validates a message, sets going what it asks for, says so and returns.

Nothing here waits for the model: API Gateway gives a route 29 seconds.
"""

import os
from http import HTTPStatus
from time import time
from typing import Any, assert_never
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from messages import Cancel, Ping, Resume, Stream, read_message, request_id_of, session_id_of
from msgspec import UNSET
from msgspec.json import encode

from tokenstream import settings, telemetry, wiring
from tokenstream.ending import end
from tokenstream.errors import Internal, NotFound, TokenstreamError, Unauthorized
from tokenstream.frames import BEGINNING, Delivery, ErrorDetail
from tokenstream.replies import Accepted, Pong, Rejected, Reply, encode_reply
from tokenstream.request import parse_json, require_size
from tokenstream.session import NewSession, Recipient
from tokenstream.sessions import LeaseLost
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.telemetry import logger

connections = wiring.connections(settings.ConnectionStore.from_environment(os.environ))
sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
delivery = wiring.websocket_delivery(os.environ)
stream_function = settings.StreamFunction.from_environment(os.environ)
functions = wiring.functions(stream_function)
limits = wiring.limits(os.environ)

BEGIN_SECONDS = 90
"""How long a stream may wait for its worker: an asynchronous invocation waits for a minute at most."""


class Call:
    """One message of a client's, and what the front door knows of its sender."""

    def __init__(self, event: dict[str, Any]) -> None:
        context = event["requestContext"]
        self.connection_id: str = context["connectionId"]
        self.ticket: str = context["requestId"]
        self.owner: str = context["authorizer"]["sub"]
        self.expires_at = int(context["authorizer"]["expiresAt"])
        self.body: bytes = (event.get("body") or "").encode()
        self.document: object = None

    def reply(self, reply: Reply, session_id: str | None = None) -> Delivery:
        """Answer the message; tells which way the answer went. Raises `ClientGone`."""
        group = session_id or self.connection_id
        return delivery.reply(self.connection_id, encode_reply(reply), group=group, ticket=self.ticket)

    def accept(self, session_id: str) -> Delivery:
        """Say that what was asked of a session is under way; otherwise as `reply`."""
        reply = Accepted(session_id=session_id, request_id=request_id_of(self.document) or UNSET)
        return self.reply(reply, session_id)


def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serve a route."""
    call = Call(event)
    ids = {"connection_id": call.connection_id, "path": "websocket"}
    try:
        try:
            _serve(call, context)
        except TokenstreamError as error:
            logger.info("message rejected", extra={**ids, "error_code": error.code})
            _reject(call, error)
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 - the last resort of a front door
            logger.exception("message failed", extra=ids)
            _reject(call, Internal())
    except ClientGone:
        logger.info("nobody there to answer", extra=ids)
    return {"statusCode": HTTPStatus.OK}


def _serve(call: Call, context: Any) -> None:
    try:
        # Ahead of the rest, because a rejection has to carry the request's id. API Gateway takes no more than 128 KB.
        call.document = parse_json(call.body)
    finally:
        # Whatever a message is, it counts.
        connections.admit(call.connection_id, time())
    require_size(call.body)
    match read_message(call.document, limits, str(uuid4())):
        case Stream() as message:
            _stream(call, message, context)
        case Cancel(session_id):
            sessions.request_cancel(session_id, call.owner)
            call.accept(session_id)
        case Resume() as message:
            _resume(call, message)
        case Ping():
            call.reply(Pong(request_id=request_id_of(call.document) or UNSET))
        case other:
            assert_never(other)


def _stream(call: Call, message: Stream, context: Any) -> None:
    if call.expires_at <= time():
        raise Unauthorized("The token that the connection was opened with has expired: connect anew.")
    request = message.request
    new = NewSession(request.session_id, call.owner, "websocket", request.delivery, request.model, message.body)
    recipient = Recipient(call.connection_id, BEGINNING, call.ticket)
    sessions.accept(new, recipient, time(), begin_within=BEGIN_SECONDS)
    try:
        # Ahead of the start, so that it comes before every frame: on the same way as they.
        way = _accept(call, request.session_id)
        fields = message.fields if way == "direct" else message.fields | {"delivery": "queued"}
        _start({"sessionId": request.session_id, "request": fields})
    except (DeliveryFailed, Internal):
        _give_up(call, new, context.aws_request_id)


def _accept(call: Call, session_id: str) -> Delivery:
    try:
        return call.accept(session_id)
    except DeliveryFailed:
        raise
    except ClientGone:
        # The connection broke at this very moment: as behind it, the client has its time to come back for the answer.
        return "direct"


def _resume(call: Call, message: Resume) -> None:
    if not sessions.store_answers:
        raise NotFound("Answers are not stored here, so there is nothing to resume.")
    recipient = Recipient(call.connection_id, message.after, call.ticket)
    session = sessions.get(message.session_id, call.owner)
    way = call.accept(message.session_id)
    if not sessions.redirect(message.session_id, call.owner, recipient):
        _start(
            {
                "sessionId": message.session_id,
                "owner": call.owner,
                "connectionId": call.connection_id,
                # Not ahead of what has just been queued.
                "delivery": "queued" if way == "queued" else session.delivery,
                "after": message.after._asdict(),
            }
        )


def _start(payload: dict[str, Any]) -> None:
    try:
        functions.invoke(FunctionName=stream_function.name, InvocationType="Event", Payload=encode(payload))
    except (BotoCoreError, ClientError) as error:
        raise Internal from error


def _give_up(call: Call, new: NewSession, worker: str) -> None:
    """End a session that no worker will hear of."""
    logger.warning("stream not started", extra={"session_id": new.session_id, "connection_id": call.connection_id})
    now = time()
    try:
        claim = sessions.claim(new.session_id, worker, now)
        frames = end(sessions, claim, new, Internal(), now)
    except LeaseLost:
        return  # the start went through after all, its answer was lost
    delivery.replay(new.session_id, call.connection_id, call.ticket, new.delivery).send(frames)


def _reject(call: Call, error: TokenstreamError) -> None:
    call.reply(
        Rejected(
            error=ErrorDetail.of(error),
            session_id=session_id_of(call.document) or UNSET,
            request_id=request_id_of(call.document) or UNSET,
        )
    )


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
