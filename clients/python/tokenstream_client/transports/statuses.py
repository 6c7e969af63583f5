"""HTTP statuses and error codes, each told by the other: what a rejection means is the same on every path."""

from http import HTTPStatus

from tokenstream_client.errors import ConnectionFailed, ErrorDetail, RequestRejected

_GATEWAY_FAILURES = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_CODES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "throttled",
}
_STATUSES: dict[str, int] = {
    **{code: status for status, code in _CODES.items()},
    "invalid_request": HTTPStatus.BAD_REQUEST,
    "model_error": HTTPStatus.BAD_GATEWAY,
    "model_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "model_access": HTTPStatus.BAD_GATEWAY,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}
CODES = frozenset(_STATUSES)


def failure_of(
    status: int, detail: ErrorDetail | None = None, *, retry_after: str | None = None, reached: bool = True
) -> RequestRejected | ConnectionFailed:
    """Return what an HTTP error means. Without `detail` it came from something in front of the function.

    `retry_after` is the header's text. `reached` is as in `ConnectionFailed`.
    """
    seconds = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    if detail is None and status in _GATEWAY_FAILURES:
        message = f"A gateway answered {status} in the place of the function."
        return ConnectionFailed(message, reached=reached, retry_after=seconds)
    return RequestRejected(status, detail or _detail_of(status), retry_after=seconds)


def rejection_of(detail: ErrorDetail) -> RequestRejected:
    """Return the rejection that came with an error object and no status."""
    return RequestRejected(_STATUSES.get(detail.code, HTTPStatus.INTERNAL_SERVER_ERROR), detail)


def _detail_of(status: int) -> ErrorDetail:
    server_side = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    code = _CODES.get(status)
    return ErrorDetail(
        code or ("internal" if server_side else "invalid_request"),
        f"The server answered with HTTP status {status}.",
        retryable=server_side or status == HTTPStatus.TOO_MANY_REQUESTS,
    )
