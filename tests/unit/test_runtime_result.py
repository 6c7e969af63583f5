import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tokenstream.runtime import InvalidResponseError
from tokenstream.runtime.result import is_http_result, read_http_result


def body(**result: Any) -> list[bytes]:
    return list(read_http_result({"statusCode": 200, **result}).chunks)


def head(**result: Any) -> Any:
    return json.loads(read_http_result({"statusCode": 200, **result}).prelude.removesuffix(bytes(8)))


class Source:
    """A body that knows whether it was closed."""

    def __init__(self, *items: object) -> None:
        self._items = iter(items)
        self.closed = False

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        item = next(self._items)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("result", [{}, {"statusCode": "200"}, {"statusCode": True}, [200], None, "text", b"bytes"])
def test_only_an_object_with_an_integer_status_is_an_http_result(result: object) -> None:
    assert not is_http_result(result)
    assert is_http_result({"statusCode": 200})


@pytest.mark.parametrize(
    ("given", "chunks"),
    [
        (None, []),
        ("é", ["é".encode()]),
        (b"\xff", [b"\xff"]),
        (bytearray(b"a"), [b"a"]),
        (iter(["a", b"b", ""]), [b"a", b"b", b""]),
        (["a", "b"], [b"a", b"b"]),
        (iter([]), []),
    ],
)
def test_a_body_is_text_bytes_or_an_iterable_of_them(given: object, chunks: list[bytes]) -> None:
    assert body(body=given) == chunks


def test_a_base64_body_is_sent_decoded() -> None:
    assert body(body="w6k=", isBase64Encoded=True) == ["é".encode()]


async def asynchronous() -> AsyncIterator[str]:
    yield "never"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"body": {"a": 1}}, "object"),
        ({"body": 1}, "int"),
        ({"body": asynchronous()}, "asynchronous"),
        ({"body": iter([1])}, "str or bytes, not int"),
        ({"body": "%%%", "isBase64Encoded": True}, "base64"),
        ({"body": iter(["w6k="]), "isBase64Encoded": True}, "isBase64Encoded"),
        ({"headers": ["a"]}, "headers must be an object"),
        ({"cookies": "a=1"}, "cookies must be a list"),
        ({"multiValueHeaders": {"a": "b"}}, "a must be a list"),
    ],
)
def test_a_result_that_cannot_be_sent_says_what_is_wrong(result: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidResponseError, match=message):
        body(**result)


def test_headers_with_several_values_are_joined_and_cookies_kept_apart() -> None:
    prelude = head(
        headers={"x-a": "1", "Accept": "x"},
        multiValueHeaders={"X-A": ["2", "3"], "Set-Cookie": ["a=1", "b=2"]},
        cookies=["c=3"],
    )
    assert prelude["headers"] == {"Accept": "x", "X-A": "2, 3"}
    assert prelude["cookies"] == ["c=3", "a=1", "b=2"]


def test_the_first_chunk_is_made_before_the_head_is_out_and_no_other() -> None:
    source = Source("a", LookupError("second"))
    result = read_http_result({"statusCode": 200, "body": source})
    assert next(result.chunks) == b"a"
    with pytest.raises(LookupError):
        next(result.chunks)
    assert not source.closed
    result.close()
    assert source.closed


def test_a_body_that_fails_at_once_is_closed() -> None:
    source = Source(LookupError("first"))
    with pytest.raises(LookupError):
        read_http_result({"statusCode": 200, "body": source})
    assert source.closed


def test_a_body_behind_a_bad_head_is_closed_unread() -> None:
    source = Source("a")
    with pytest.raises(InvalidResponseError):
        read_http_result({"statusCode": 1000, "body": source})
    assert source.closed
    assert next(source) == "a"
