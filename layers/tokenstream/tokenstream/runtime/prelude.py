"""The HTTP head of a streamed response, as Lambda's HTTP integrations read it.

The body of a response of type ``application/vnd.awslambda.http-integration-response`` begins with a JSON object
(``statusCode``, ``headers``, ``cookies``) and eight NUL bytes. A response without it reaches the client of a Function
URL as a 200 with the raw result, whatever its status was meant to be.
"""

import json
from collections.abc import Mapping, Sequence

from tokenstream.runtime.errors import InvalidResponseError

CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
DELIMITER = bytes(8)

MAX_BYTES = 16 * 1024
"""API Gateway looks for the delimiter within the first 16 KB of the response."""

_LINE_BREAKING = frozenset("\r\n\0")


def encode_prelude(status: int, headers: Mapping[str, object], cookies: Sequence[str] = ()) -> bytes:
    """Return JSON and delimiter for a final ``status`` (200 to 599).

    Numbers and booleans as header values are written out. Raises `InvalidResponseError` for what no HTTP head can say
    and for more than `MAX_BYTES`.
    """
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:  # noqa: PLR2004 - HTTP's range
        raise InvalidResponseError(f"the status must be an integer from 200 to 599, not {status!r}")
    if isinstance(cookies, str):
        raise InvalidResponseError("cookies must be a list of strings, not one string")
    head = {
        "statusCode": status,
        "headers": {_text("header name", name): _text(f"header {name}", value) for name, value in headers.items()},
        "cookies": [_text("cookie", cookie) for cookie in cookies],
    }
    prelude = json.dumps(head, separators=(",", ":")).encode() + DELIMITER
    if len(prelude) > MAX_BYTES:
        raise InvalidResponseError(f"headers and cookies take {len(prelude)} bytes, the limit is {MAX_BYTES}")
    return prelude


def _text(what: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if _LINE_BREAKING.isdisjoint(value):
            return value
        case str():
            raise InvalidResponseError(f"a line break or NUL in a {what!r} would split the response")
        case _:
            raise InvalidResponseError(f"{what!r} must be a string, not {type(value).__name__}")
