"""What can go wrong, as the caller of this library meets it.

ClientError
├── RequestRejected     the server turned the request down: no answer begins (`status`)
├── AnswerFailed        the answer ended with an `error` frame; raised where text is returned, not frames
├── StreamLost          the connection broke and the rest of the answer can't be fetched any more
├── ConnectionFailed    the server wasn't reached, or the connection broke; streams retry it by themselves
├── ProtocolError       something answered that doesn't speak tokenstream
├── SignInFailed        Cognito refused the user
│   └── WrongCredentials    for the user name or the password
└── EndpointsError      the endpoints are missing or incomplete

`code` is the server's error code where the server named one (`invalid_request`, `throttled`, …), otherwise the
code of the class.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """The server's error object. `field` names the part of the request at fault (`options.maxTokens`)."""

    code: str
    message: str
    retryable: bool = False
    field: str | None = None


class ClientError(Exception):
    """Base of every error raised by this library.

    `retryable` says whether the same call can succeed later, `retry_after` in how many seconds if the server said so.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = False,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retryable = retryable
        self.field = field
        self.retry_after = retry_after


class RequestRejected(ClientError):
    """The server turned a request down.

    `status` is the HTTP status, on `websocket` and `appsync` the one of its like over HTTP.
    """

    def __init__(self, status: int, detail: ErrorDetail, *, retry_after: float | None = None) -> None:
        super().__init__(
            detail.message, code=detail.code, retryable=detail.retryable, field=detail.field, retry_after=retry_after
        )
        self.status = status


class AnswerFailed(ClientError):
    """The answer began, or was about to, and ended with an `error` frame."""

    def __init__(self, detail: ErrorDetail) -> None:
        super().__init__(detail.message, code=detail.code, retryable=detail.retryable, field=detail.field)


class ConnectionFailed(ClientError):
    """No connection, or a broken one. `reached` is false only when the server can't have seen the request."""

    default_code = "connection_failed"

    def __init__(self, message: str, *, reached: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message, retryable=True, retry_after=retry_after)
        self.reached = reached


class StreamLost(ClientError):
    """The answer can't be followed to its end; the cause is in `__cause__`."""

    default_code = "stream_lost"


class ProtocolError(ClientError):
    """What arrived is neither a frame nor an error of tokenstream."""

    default_code = "protocol_error"


class SignInFailed(ClientError):
    """Cognito didn't give a token for the user name and password."""

    default_code = "sign_in_failed"


class WrongCredentials(SignInFailed):
    """The user name or the password is wrong; Cognito doesn't tell which."""

    default_code = "wrong_credentials"


class EndpointsError(ClientError):
    """The file with the addresses is missing, unreadable or lacks one."""

    default_code = "endpoints"
