"""AWS Signature Version 4 for requests without a query. Pure.

botocore's signer builds a request object for each one; here the key is kept for the day, and what requests to one path
have in common is written once. Source: IAM user guide, "Create a signed AWS API request"; the tests hold it to
botocore's.
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from time import gmtime, strftime
from typing import NamedTuple
from urllib.parse import quote

from tokenstream.credentials import FrozenKeys

_ALGORITHM = "AWS4-HMAC-SHA256"
_TIMESTAMP = "\0"
"""Where a form has a place for the time; no header can have it."""

_LINE_BREAKING = frozenset("\r\n\0")


class _Form(NamedTuple):
    """What is the same in all requests of a kind."""

    head: str
    canonical: str
    signed_headers: str


class Signer:
    """Signs for one service at one host, as its `Host` header names it."""

    def __init__(self, service: str, region: str, host: str) -> None:
        self._service = service
        self._region = region
        self._host = host

    def head(  # noqa: PLR0917 - a request has these parts
        self, keys: FrozenKeys, method: str, path: str, headers: Mapping[str, str], body: bytes, now: float
    ) -> bytes:
        """Write the head of an HTTP/1.1 request, signed.

        `path` is percent-encoded already, without dot segments; `now` is epoch seconds.
        """
        timestamp = _timestamp(int(now))
        day = timestamp[:8]
        form = _form(method, path, self._host, keys.token, *headers.items())
        canonical = form.canonical.replace(_TIMESTAMP, timestamp) + sha256(body).hexdigest()
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        to_sign = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = _hmac(_signing_key(keys.secret_key or "", day, self._region, self._service), to_sign).hex()
        return (
            f"{form.head.replace(_TIMESTAMP, timestamp)}Content-Length: {len(body)}\r\n"
            f"Authorization: {_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={form.signed_headers}, "
            f"Signature={signature}\r\n\r\n"
        ).encode("latin-1")


@lru_cache(128)
def _form(method: str, path: str, host: str, token: str | None, *headers: tuple[str, str]) -> _Form:
    sent = {"Host": host, **dict(headers)}
    if token:
        sent["X-Amz-Security-Token"] = token
    if not _LINE_BREAKING.isdisjoint("".join((method, path, *sent, *sent.values()))):
        raise ValueError("a line break or NUL would split the request")
    sent["X-Amz-Date"] = _TIMESTAMP
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
    signed_headers = ";".join(name for name, _ in lines)
    # The path is encoded once more, as the service does before it compares.
    canonical = (
        f"{method}\n{quote(path, safe='/~')}\n\n"
        + "".join(f"{name}:{value}\n" for name, value in lines)
        + f"\n{signed_headers}\n"
    )
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return _Form(head, canonical, signed_headers)


@lru_cache(4)
def _timestamp(now: int) -> str:
    return strftime("%Y%m%dT%H%M%SZ", gmtime(now))


@lru_cache(16)
def _signing_key(secret: str, *scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
