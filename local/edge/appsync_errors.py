"""What AppSync answers itself instead of a result."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

UNAUTHORIZED = "UnauthorizedException"
MALFORMED = "MalformedHttpRequestException"
BAD_REQUEST = "BadRequestException"


class RefusedError(Exception):
    """The request isn't carried out; of the reason the client gets type and message.

    A request over HTTP is answered with this status, a message of a real-time connection with an error that names it.
    """

    def __init__(self, status: HTTPStatus, type_: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type_
        self.message = message

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The reason as GraphQL has it."""
        return [{"errorType": self.type, "message": self.message}]


class FieldErrors(Exception):
    """The operation is not executed, because of some of its fields: no HTTP error, but a result without data."""

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("; ".join(error["message"] for error in errors))
        self.errors = list(errors)


def unauthorized(message: str = "You are not authorized to make this call.") -> RefusedError:
    """Refuse for want of a credential that is accepted."""
    return RefusedError(HTTPStatus.UNAUTHORIZED, UNAUTHORIZED, message)


def malformed(message: str) -> RefusedError:
    """Refuse what is no GraphQL request."""
    return RefusedError(HTTPStatus.BAD_REQUEST, MALFORMED, message)
