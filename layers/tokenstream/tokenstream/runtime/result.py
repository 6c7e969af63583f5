"""A handler's result as an HTTP response with a body that comes in chunks."""

import base64
import binascii
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenstream.runtime.errors import InvalidResponseError
from tokenstream.runtime.prelude import encode_prelude
from tokenstream.runtime.stream import encode_chunk


@dataclass(frozen=True)
class HttpResult:
    """An HTTP response, its first chunk made already. ``close`` releases what makes the chunks."""

    prelude: bytes
    chunks: Iterator[bytes]
    body: object

    def close(self) -> None:
        """Close the body if it can be closed: a generator runs its ``finally`` blocks."""
        close_body(self.body)


def is_http_result(result: object) -> bool:
    """Tell whether the handler means ``result`` as an HTTP response: an object with an integer ``statusCode``."""
    return (
        isinstance(result, Mapping)
        and isinstance(result.get("statusCode"), int)
        and not isinstance(result["statusCode"], bool)
    )


def read_http_result(result: Mapping[str, Any]) -> HttpResult:
    """Read a Lambda proxy result of either payload version.

    Its keys are ``statusCode``, ``headers``, ``multiValueHeaders``, ``cookies``, ``body``, ``isBase64Encoded``. The
    body is text, bytes, nothing, or an iterable of text and bytes. Its first item is made here, so that a failure
    before it can still become an error instead of a broken 200. Raises `InvalidResponseError` and whatever the body
    raises; the body is closed then.
    """
    body = result.get("body")
    try:
        headers, cookies = _read_headers(result)
        prelude = encode_prelude(result["statusCode"], headers, cookies)
        chunks = _chunks(body, is_base64=bool(result.get("isBase64Encoded")))
        first = list(itertools.islice(chunks, 1))
    except BaseException:
        close_body(body)
        raise
    return HttpResult(prelude, itertools.chain(first, chunks), body)


def close_body(body: object) -> None:
    """Call the body's ``close`` if it has one."""
    close = getattr(body, "close", None)
    if callable(close):
        close()


def _chunks(body: object, *, is_base64: bool) -> Iterator[bytes]:
    match body:
        case None:
            return iter(())
        case str() | bytes() | bytearray() | memoryview():
            whole = encode_chunk(body)
            return iter([_decode_base64(whole) if is_base64 else whole])
        case Mapping():
            raise InvalidResponseError("the body is an object; a JSON response has its text as body")
        case Iterable():
            if is_base64:
                raise InvalidResponseError(
                    "isBase64Encoded goes with a whole body; an iterator gives bytes as they are"
                )
            return map(encode_chunk, body)
        case _:
            raise InvalidResponseError(
                f"the body must be str, bytes or an iterator of them that isn't asynchronous, not {type(body).__name__}"
            )


def _decode_base64(body: bytes) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InvalidResponseError(f"isBase64Encoded is set, and the body isn't base64: {error}") from error


def _read_headers(result: Mapping[str, Any]) -> tuple[dict[str, object], list[str]]:
    """Return headers and cookies. The prelude has one value a header, so several are joined, and cookies kept apart."""
    headers: dict[str, object] = dict(_mapping(result, "headers"))
    cookies = list(_list("cookies", result.get("cookies")))
    for name, values in _mapping(result, "multiValueHeaders").items():
        several = [str(value) for value in _list(name, values)]
        for single in [key for key in headers if key.lower() == name.lower()]:
            del headers[single]
        if name.lower() == "set-cookie":
            cookies.extend(several)
        else:
            headers[name] = ", ".join(several)
    return headers, cookies


def _mapping(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = result.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidResponseError(f"{key} must be an object, not {type(value).__name__}")
    return value


def _list(name: str, value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise InvalidResponseError(f"{name} must be a list, not {type(value).__name__}")
    return list(value)
