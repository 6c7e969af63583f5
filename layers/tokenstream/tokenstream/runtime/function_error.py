"""A failure as Lambda's Runtime API takes it: the JSON of ``/error``, and the same in HTTP trailers."""

import base64
import json
import traceback
from collections.abc import Mapping
from typing import Any, cast

TYPE_HEADER = "Lambda-Runtime-Function-Error-Type"
BODY_HEADER = "Lambda-Runtime-Function-Error-Body"

MAX_TRAILER_BYTES = 4096
"""The Runtime API is served by Go's ``net/http``, which takes no longer trailer section: it drops the whole response.

Seen with the Runtime Interface Emulator: 4,096 bytes pass, one more ends the runtime's process."""

_MAX_TYPE_LENGTH = 200
_MAX_BODY_BYTES = (
    (MAX_TRAILER_BYTES - len(TYPE_HEADER + BODY_HEADER) - _MAX_TYPE_LENGTH - len(": \r\n: \r\n\r\n")) // 4 * 3
)


def describe(error: BaseException, request_id: str) -> dict[str, Any]:
    """Return the error as ``awslambdaric`` posts it: ``errorMessage``, ``errorType``, ``requestId``, ``stackTrace``."""
    # In a streaming function it is loaded long since; elsewhere, a unit test say, a handler's import must not need it.
    from awslambdaric.bootstrap import extract_traceback, make_error  # noqa: PLC0415
    from awslambdaric.lambda_runtime_exception import FaultException  # noqa: PLC0415

    if isinstance(error, FaultException):
        described = make_error(error.msg, error.exception_type, error.trace, request_id)
    else:
        frames = traceback.format_list(extract_traceback(error.__traceback__))
        described = make_error(str(error), type(error).__name__, frames, request_id)
    return cast("dict[str, Any]", described)


def encode_trailers(described: Mapping[str, Any]) -> bytes:
    """Return the trailer section of a response that failed midway, its closing empty line included.

    Outer frames of the stack trace, then the message's end, give way to `MAX_TRAILER_BYTES`.
    """
    error_type = "".join(c if c.isascii() and c.isprintable() else "?" for c in described["errorType"])
    body = base64.b64encode(_fit(described)).decode()
    return f"{TYPE_HEADER}: {error_type[:_MAX_TYPE_LENGTH]}\r\n{BODY_HEADER}: {body}\r\n\r\n".encode()


def _fit(described: Mapping[str, Any]) -> bytes:
    shortened = {**described, "errorType": described["errorType"][:_MAX_TYPE_LENGTH]}
    while len(body := json.dumps(shortened, separators=(",", ":")).encode()) > _MAX_BODY_BYTES:
        if shortened["stackTrace"]:
            shortened["stackTrace"] = shortened["stackTrace"][1:]
        else:
            shortened["errorMessage"] = shortened["errorMessage"][: len(shortened["errorMessage"]) // 2]
    return body
