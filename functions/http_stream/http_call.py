"""One HTTP call, read from either event: a function URL's (payload 2.0) or a REST API's proxy event (1.0)."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from tokenstream.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class HttpCall:
    """What the caller asked for. Header names are lower-case; `claims` are those that an authorizer has verified."""

    front_door: Literal["url", "rest"]
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    claims: Mapping[str, Any] | None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """Read an event; raises `InvalidRequest` for any other and for a body that isn't the base64 it says."""
        try:
            return cls._from_url(event) if event.get("version") == "2.0" else cls._from_rest(event)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidRequest("This is no HTTP call, or its body can't be decoded.") from error

    @classmethod
    def _from_url(cls, event: Mapping[str, Any]) -> Self:
        return cls(
            front_door="url",
            method=event["requestContext"]["http"]["method"],
            path=event["rawPath"],
            query=event.get("queryStringParameters") or {},
            headers=_lower(event.get("headers")),
            body=_body(event),
            claims=None,
        )

    @classmethod
    def _from_rest(cls, event: Mapping[str, Any]) -> Self:
        authorizer = event["requestContext"].get("authorizer") or {}
        return cls(
            front_door="rest",
            method=event["httpMethod"],
            path=_rest_path(event),
            query=event.get("queryStringParameters") or {},
            headers=_lower(event.get("headers")),
            body=_body(event),
            claims=authorizer.get("claims"),
        )


def _rest_path(event: Mapping[str, Any]) -> str:
    # `path` holds the base path of a custom domain as well; the resource doesn't.
    path: str = event["resource"]
    for name, value in (event.get("pathParameters") or {}).items():
        path = path.replace(f"{{{name}}}", value)
    return path


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    return b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
