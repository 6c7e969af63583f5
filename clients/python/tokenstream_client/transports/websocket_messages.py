"""The messages of a WebSocket connection as bytes: pure.

Sources: DESIGN "On the wire"; API Gateway's quotas for WebSocket APIs.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tokenstream_client.errors import ConnectionFailed, ErrorDetail, ProtocolError, RequestRejected
from tokenstream_client.frames import Message

MESSAGE_LIMIT = 100_000
"""Bytes that the server takes. Beyond 128 KB API Gateway would close the connection, with every stream on it."""

FRAGMENT_LIMIT = 32_000
"""Bytes of a fragment. Beyond 32 KB API Gateway would close the connection; it doesn't say what it counts as well."""

_WITHIN_CHARACTER = range(0b1000_0000, 0b1100_0000)
_THROTTLED = "Too Many Requests"


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message's JSON; raises `RequestRejected` for one that the server wouldn't take."""
    try:
        data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 doesn't have; the server is to say so
        data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MESSAGE_LIMIT:
        raise RequestRejected(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            ErrorDetail("too_large", f"The request has {len(data):,} bytes; {MESSAGE_LIMIT:,} are the most."),
        )
    return data


def fragments(data: bytes, limit: int = FRAGMENT_LIMIT) -> list[bytes]:
    """Divide a text in UTF-8 into parts of at most `limit` bytes, none of which begins within a character."""
    parts = []
    while len(data) > limit:
        end = limit
        while data[end] in _WITHIN_CHARACTER:
            end -= 1
        parts.append(data[:end])
        data = data[end:]
    return [*parts, data]


def decode(text: str | bytes) -> Message:
    """Read a message of the server's; raises `ProtocolError`."""
    try:
        message = json.loads(text)
    except ValueError as error:
        raise ProtocolError("The server sent a message that isn't JSON.") from error
    if not isinstance(message, dict):
        raise ProtocolError("The server sent a message that isn't a JSON object.")
    return message


def gateway_failure(message: Message, *, waiting: int) -> RequestRejected | ConnectionFailed:
    """Return what API Gateway's own message means for each of the requests that wait for a reply.

    Such a message, `{"message": …, "connectionId", "requestId"}`, takes the place of a function's reply, but its
    `requestId` is API Gateway's: it doesn't say whose. With several requests `waiting` one of them wasn't taken in and
    the others may have been. So it counts as a broken connection for all: who asks again, under the same session id,
    finds out. A single one that was throttled is told so.
    """
    text = message["message"]
    if text == _THROTTLED and waiting == 1:
        detail = ErrorDetail("throttled", "The server is asked too often.", retryable=True)
        return RequestRejected(HTTPStatus.TOO_MANY_REQUESTS, detail)
    return ConnectionFailed(f"A gateway answered in the place of the function: {str(text)[:200]}")
