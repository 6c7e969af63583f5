"""Answers that are no stream: errors before the first byte, the acknowledgement of a stop, a preflight."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from http_call import HttpCall
from msgspec import to_builtins
from msgspec.json import encode

from tokenstream.errors import ErrorCode
from tokenstream.frames import ErrorDetail

RETRY_AFTER_SECONDS = 5
"""What a throttled caller is told; Bedrock's quotas are per minute and its answer names no time."""

_STATUSES = {
    ErrorCode.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.THROTTLED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.MODEL_ERROR: HTTPStatus.BAD_GATEWAY,
    ErrorCode.MODEL_TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    ErrorCode.MODEL_ACCESS: HTTPStatus.BAD_GATEWAY,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_ALLOWED_HEADERS = "authorization, x-authorization, content-type, accept, last-event-id"
_EXPOSED_HEADERS = "X-Session-Id, Retry-After"
_PREFLIGHT_SECONDS = "600"


def cors_headers(call: HttpCall, allowed_origins: Sequence[str]) -> dict[str, str]:
    """Let a browser's page read the response. A function URL adds these headers by its own configuration."""
    origin = call.headers.get("origin")
    if call.front_door == "url" or origin is None:
        return {}
    if "*" in allowed_origins:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED_HEADERS}
    if origin not in allowed_origins:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        "Vary": "Origin",
    }


def preflight(cors: Mapping[str, str]) -> dict[str, Any]:
    """Answer a preflight request."""
    headers = {
        **cors,
        "Access-Control-Allow-Methods": "POST, GET, DELETE",
        "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
    }
    return {"statusCode": HTTPStatus.NO_CONTENT, "headers": headers, "body": ""}


def json_answer(status: HTTPStatus, content: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Answer with a JSON object."""
    return {
        "statusCode": status,
        "headers": {**headers, "Content-Type": "application/json"},
        "body": encode(content).decode(),
    }


def error_answer(error: ErrorDetail, headers: Mapping[str, str]) -> dict[str, Any]:
    """Answer with an error and its status."""
    extra = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.code is ErrorCode.THROTTLED else {}
    return json_answer(_STATUSES[error.code], {"error": to_builtins(error)}, {**headers, **extra})
