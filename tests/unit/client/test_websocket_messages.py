import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenstream_client.errors import RequestRejected
from tokenstream_client.transports.websocket_messages import MESSAGE_LIMIT, encode, fragments


@given(text=st.text(), limit=st.integers(4, 20))
def test_a_long_text_is_divided_between_characters_and_nothing_of_it_is_lost(text: str, limit: int) -> None:
    parts = fragments(text.encode(), limit)
    assert "".join(part.decode() for part in parts) == text
    assert max(len(part) for part in parts) <= limit


@given(st.text(st.characters(codec=None)))
def test_any_text_reaches_the_server_as_it_was_typed(text: str) -> None:
    assert json.loads(encode({"prompt": text})) == {"prompt": text}


def test_text_in_any_language_counts_by_its_bytes_in_utf8() -> None:
    assert len(encode({"prompt": "é" * 40_000})) < 81_000


def test_a_request_of_the_size_that_the_server_takes_is_sent_and_no_larger_one() -> None:
    frame = len(encode({"prompt": ""}))
    encode({"prompt": "x" * (MESSAGE_LIMIT - frame)})
    with pytest.raises(RequestRejected) as raised:
        encode({"prompt": "x" * (MESSAGE_LIMIT - frame + 1)})
    assert (raised.value.status, raised.value.code) == (413, "too_large")
    assert "100,001 bytes" in raised.value.message
