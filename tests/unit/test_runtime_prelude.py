import json
from collections.abc import Mapping
from typing import Any

import pytest

from tokenstream.runtime import InvalidResponseError
from tokenstream.runtime.prelude import MAX_BYTES, encode_prelude


def decoded(prelude: bytes) -> Any:
    return json.loads(prelude.removesuffix(bytes(8)))


def test_the_head_is_json_and_eight_nul_bytes() -> None:
    prelude = encode_prelude(200, {"x-a": "b"}, ["c=d"])
    assert prelude == b'{"statusCode":200,"headers":{"x-a":"b"},"cookies":["c=d"]}' + bytes(8)


def test_numbers_and_booleans_become_strings() -> None:
    head = decoded(encode_prelude(200, {"retry-after": 3, "x-ratio": 0.5, "x-cached": True}))
    assert head["headers"] == {"retry-after": "3", "x-ratio": "0.5", "x-cached": "true"}


@pytest.mark.parametrize("status", [True, "200", 200.0, None, 0, 100, 199, 600])
def test_a_status_that_no_response_can_have_is_refused(status: Any) -> None:
    with pytest.raises(InvalidResponseError, match="status"):
        encode_prelude(status, {})


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\0b", None, [], b"bytes"])
def test_a_header_that_would_split_the_response_or_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidResponseError, match="x-a"):
        encode_prelude(200, {"x-a": value})


@pytest.mark.parametrize("headers", [{"x\r\ny": "z"}, {1: None}])
def test_a_bad_header_name_is_refused(headers: Mapping[str, object]) -> None:
    with pytest.raises(InvalidResponseError):
        encode_prelude(200, headers)


@pytest.mark.parametrize("cookies", ["a=1", ["a=1\r\nx: y"], [None]])
def test_cookies_are_a_list_of_single_lines(cookies: Any) -> None:
    with pytest.raises(InvalidResponseError, match="cookie"):
        encode_prelude(200, {}, cookies)


def test_the_head_may_fill_what_api_gateway_reads_and_not_a_byte_more() -> None:
    room = MAX_BYTES - len(encode_prelude(200, {"x": ""}))
    assert len(encode_prelude(200, {"x": "y" * room})) == MAX_BYTES
    with pytest.raises(InvalidResponseError, match="16384"):
        encode_prelude(200, {"x": "y" * (room + 1)})
