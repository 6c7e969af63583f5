"""`url` and `rest`: streams an answer over HTTP, resumes it and stops it."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from time import monotonic, sleep, time
from typing import Any
from uuid import uuid4

from answers import cors_headers, error_answer, json_answer, preflight
from http_call import HttpCall

from tokenstream import settings, telemetry, wiring
from tokenstream.auth import Principal, bearer
from tokenstream.errors import Internal, InvalidRequest, NotFound, TokenstreamError
from tokenstream.frames import BEGINNING, ErrorDetail, Sealed
from tokenstream.lease import Lease
from tokenstream.pump import Pump
from tokenstream.relay import Relay
from tokenstream.replay import Replayer
from tokenstream.request import Limits, parse_position, parse_request, parse_session_id
from tokenstream.runtime import response_stream
from tokenstream.session import NewSession
from tokenstream.sinks.http import BrokenOff, Format, HttpSink, ensure_told, negotiated
from tokenstream.telemetry import logger

ENDING_SECONDS = 10.0
"""What is left of the function's time when a stream is ended by its deadline."""

sessions = wiring.sessions(settings.SessionStore.from_environment(os.environ))
bedrock = wiring.bedrock(settings.BedrockRuntime.from_environment(os.environ))
token_verifier = wiring.token_verifier(settings.UserPool.from_environment(os.environ))
model_limits = settings.ModelLimits.from_environment(os.environ)
limits = Limits(model_limits.allowed_models, model_limits.max_tokens_cap)
allowed_origins = settings.allowed_origins(os.environ)
flush_interval = settings.flush_interval(os.environ)


def answer(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Answer one call; None when the answer was streamed."""
    try:
        call = HttpCall.from_event(event)
    except InvalidRequest as error:
        logger.info("call not understood", extra={"error_code": error.code})
        return error_answer(ErrorDetail.of(error), {})
    headers = cors_headers(call, allowed_origins)
    try:
        return _route(call, headers, context)
    except TokenstreamError as error:
        logger.info("call rejected", extra={"path": call.front_door, "error_code": error.code})
        return error_answer(ErrorDetail.of(error), headers)
    except BrokenOff:
        return None  # the response's trailers have said it, the log too
    except Exception:  # noqa: BLE001 - the last resort of a front door
        # Behind the first byte this answer has no effect: the runtime has ended the response with trailers by then.
        logger.exception("call failed", extra={"path": call.front_door})
        return error_answer(ErrorDetail.of(Internal()), headers)


def _route(call: HttpCall, headers: dict[str, str], context: Any) -> dict[str, Any] | None:
    # `headers` go out with whatever is answered, errors too: who learns of a session adds its id.
    match call.method, call.path.strip("/").split("/"):
        case "OPTIONS", _:
            return preflight(headers)
        case "POST", [""]:
            return _stream(call, _principal(call), headers, context)
        case "GET", ["sessions", session_id]:
            return _resume(call, _principal(call), headers, context, parse_session_id(session_id))
        case "DELETE", ["sessions", session_id]:
            return _cancel(_principal(call), headers, parse_session_id(session_id))
        case _:
            raise NotFound("There is nothing at this address.")


def _stream(call: HttpCall, principal: Principal, headers: dict[str, str], context: Any) -> dict[str, Any] | None:
    started_at = monotonic()
    request = parse_request(call.body, limits, str(uuid4()))
    new = NewSession(request.session_id, principal.sub, call.front_door, request.delivery, request.model, call.body)
    claim = sessions.begin(new, context.aws_request_id, time())
    headers |= _session_headers(claim.session_id)
    relay = Relay(
        session_id=claim.session_id,
        attempt=claim.attempt,
        model=request.model,
        path=call.front_door,
        delivery=request.delivery,
        started_at=started_at,
        max_frame_bytes=HttpSink.max_frame_bytes,
    )
    with HttpSink(response_stream, negotiated(call.headers.get("accept", "")), headers) as sink:
        outcome = Pump(
            source=bedrock.source(request),
            relay=relay,
            sink=sink,
            keeper=Lease(sessions, claim, time),
            clock=monotonic,
            deadline=monotonic() + _seconds_left(context),
            flush_interval=flush_interval,
        ).run()
        telemetry.stream_ended(claim, call.front_door, outcome)
        sink.end()
    return error_answer(sink.rejection, headers) if sink.rejection else None


def _resume(
    call: HttpCall, principal: Principal, headers: dict[str, str], context: Any, session_id: str
) -> dict[str, Any]:
    position = call.query.get("after") or call.headers.get("last-event-id")
    after = parse_position(position) if position else BEGINNING
    replayer = Replayer(sessions, context.aws_request_id, clock=time, wait=sleep)
    frames = replayer.frames(session_id, principal.sub, after, time() + _seconds_left(context))
    body_format = negotiated(call.headers.get("accept", ""))
    headers |= _session_headers(session_id) | {"Content-Type": body_format.content_type}
    return {"statusCode": HTTPStatus.OK, "headers": headers, "body": _resumed(frames, body_format, session_id)}


def _resumed(frames: Iterator[list[Sealed]], body_format: Format, session_id: str) -> Iterator[bytes]:
    last = None
    for batch in frames:
        yield b"".join(map(body_format.encode, batch)) if batch else body_format.heartbeat(session_id)
        last = batch[-1].frame if batch else last
    if last is not None:
        ensure_told(last, body_format)


def _cancel(principal: Principal, headers: dict[str, str], session_id: str) -> dict[str, Any]:
    status = sessions.request_cancel(session_id, principal.sub)
    headers |= _session_headers(session_id)
    return json_answer(HTTPStatus.ACCEPTED, {"sessionId": session_id, "status": status}, headers)


def _session_headers(session_id: str) -> dict[str, str]:
    return {"X-Session-Id": session_id, "Cache-Control": "no-store"}


def _principal(call: HttpCall) -> Principal:
    if call.claims is not None:
        return token_verifier.accept(call.claims)
    # With AWS_IAM the function URL needs `Authorization` for itself.
    return token_verifier.verify(bearer(call.headers.get("x-authorization") or call.headers.get("authorization", "")))


def _seconds_left(context: Any) -> float:
    return float(context.get_remaining_time_in_millis() / 1000 - ENDING_SECONDS)


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
