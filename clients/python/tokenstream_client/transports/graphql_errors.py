"""GraphQL errors, as AppSync and this API's resolvers write them: pure.

Sources: graphql/resolvers (`errorInfo` holds the error object); graphql-over-http #81 (AppSync's own errors);
aws-mobile-appsync-sdk-android #246 (those of a connection).
"""

from http import HTTPStatus

from tokenstream_client.errors import ConnectionFailed, ErrorDetail, RequestRejected
from tokenstream_client.frames import Message, parse_error
from tokenstream_client.transports.statuses import CODES, failure_of, rejection_of

_CODES = {
    **{"".join(map(str.capitalize, code.split("_"))): code for code in CODES},
    "UnauthorizedException": "unauthorized",
    "ThrottlingException": "throttled",
    "TooManyRequestsException": "throttled",
    "RequestEntityTooLargeException": "too_large",
    "BadRequestException": "invalid_request",
    "MalformedHttpRequestException": "invalid_request",
    "ValidationError": "invalid_request",
}
_RETRYABLE = frozenset({"throttled", "internal"})


def rejection(errors: object) -> RequestRejected:
    """Return what the errors of an operation mean that was answered with HTTP status 200."""
    unknown = ErrorDetail("internal", _told(errors), retryable=True)
    return rejection_of(_detail(errors) or unknown)


def http_failure(status: int, errors: object, retry_after: str | None) -> RequestRejected | ConnectionFailed:
    """Return what an HTTP error means. `errors` may be anything: not all that answers is AppSync."""
    # What AppSync says of failures of its own adds nothing to the status.
    detail = _detail(errors) if status < HTTPStatus.INTERNAL_SERVER_ERROR else None
    return failure_of(status, detail, retry_after=retry_after)


def realtime_failure(payload: object, server: str) -> RequestRejected | ConnectionFailed:
    """Return why there is no connection or subscription, from the payload of an error message."""
    errors = payload.get("errors") if isinstance(payload, dict) else None
    if (detail := _detail(errors)) is not None:
        return rejection_of(detail)
    status = _first(errors).get("errorCode")
    if isinstance(status, int) and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return failure_of(status)
    return ConnectionFailed(f"{server}: {_told(errors)}")


def _detail(errors: object) -> ErrorDetail | None:
    """Read the first error; `None` when it doesn't tell whose fault it is."""
    error = _first(errors)
    info = error.get("errorInfo")
    if isinstance(info, dict) and (detail := parse_error({"message": _told(errors), **info})) is not None:
        return detail
    kind, message = error.get("errorType"), error.get("message")
    code = _CODES.get(kind) if isinstance(kind, str) else None
    if kind is None and error.get("path") is None and isinstance(message, str) and "errorCode" not in error:
        # What is wrong with a request before any field is looked at has no path, and with AppSync no type.
        code = "invalid_request"
    return None if code is None else ErrorDetail(code, _told(errors), retryable=code in _RETRYABLE)


def _told(errors: object) -> str:
    error = _first(errors)
    message, kind = error.get("message"), error.get("errorType")
    if isinstance(message, str) and message:
        return message[:500]
    return f"AppSync answered with {kind[:100] if isinstance(kind, str) else 'an error'}."


def _first(errors: object) -> Message:
    match errors:
        case [dict() as error, *_]:
            return error
    return {}
