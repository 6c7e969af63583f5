"""What can go wrong, as a client is told.

TokenstreamError
├── Rejected                the request never becomes a stream
│   ├── InvalidRequest      invalid_request
│   ├── TooLarge            too_large
│   ├── Unauthorized        unauthorized
│   ├── Forbidden           forbidden
│   ├── NotFound            not_found (another user's session too)
│   └── Conflict            conflict (a session id used before)
├── Throttled               throttled
├── ModelError              model_error
├── ModelTimeout            model_timeout
├── ModelAccess             model_access
└── Internal                internal

`str(error)` is written for the client: it never carries the text of another exception, a prompt or a name of ours.
"""

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """The closed set of codes that a client meets, the same on every path."""

    INVALID_REQUEST = "invalid_request"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    THROTTLED = "throttled"
    MODEL_ERROR = "model_error"
    MODEL_TIMEOUT = "model_timeout"
    MODEL_ACCESS = "model_access"
    INTERNAL = "internal"


class TokenstreamError(Exception):
    """Base of every error that is reported to a client.

    `retryable` says whether the same request can succeed later, `field` which part of the request is at fault
    (`options.maxTokens`).
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, message: str, *, retryable: bool = False, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.field = field


class Rejected(TokenstreamError):
    """The request is turned down at the front door; no session comes of it."""


class InvalidRequest(Rejected):
    """A field is missing, of the wrong type or beyond its limit."""

    code = ErrorCode.INVALID_REQUEST


class TooLarge(Rejected):
    """The request has more bytes than are accepted."""

    code = ErrorCode.TOO_LARGE


class Unauthorized(Rejected):
    """There is no valid token."""

    code = ErrorCode.UNAUTHORIZED


class Forbidden(Rejected):
    """The caller is known and may not do this."""

    code = ErrorCode.FORBIDDEN


class NotFound(Rejected):
    """There is no such session, or it is another user's: the two can't be told apart."""

    code = ErrorCode.NOT_FOUND


class Conflict(Rejected):
    """The session id was used before."""

    code = ErrorCode.CONFLICT


class Throttled(TokenstreamError):
    """The model's quota, or the caller's own, is used up for the moment."""

    code = ErrorCode.THROTTLED


class ModelError(TokenstreamError):
    """The model failed, or its stream broke off."""

    code = ErrorCode.MODEL_ERROR


class ModelTimeout(TokenstreamError):
    """The model sent nothing for too long."""

    code = ErrorCode.MODEL_TIMEOUT


class ModelAccess(TokenstreamError):
    """The account has no access to the model."""

    code = ErrorCode.MODEL_ACCESS


class Internal(TokenstreamError):
    """A fault of ours; the log has the details."""

    code = ErrorCode.INTERNAL

    def __init__(self, message: str = "Something went wrong on our side.", *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)
