import json
from typing import Any

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from local.model.eventstream import MessageEncoder, event_encoder, exception_encoder, with_wrong_checksum

header_texts = st.text(min_size=1, max_size=40)


def decode(data: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


@given(st.dictionaries(header_texts, st.text(max_size=300), max_size=5), st.binary(max_size=2000))
def test_any_headers_and_payload_come_back_from_the_sdks_decoder(headers: dict[str, str], payload: bytes) -> None:
    [message] = decode(MessageEncoder(headers).encode(payload))
    assert (message.headers, message.payload) == (headers, payload)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_messages_follow_each_other_without_a_gap(payloads: list[bytes]) -> None:
    encoder = event_encoder("chunk")
    assert [message.payload for message in decode(b"".join(map(encoder.encode, payloads)))] == payloads


def test_an_event_carries_bedrocks_three_headers() -> None:
    [message] = decode(event_encoder("messageStop").encode(b"{}"))
    assert message.headers == {
        ":event-type": "messageStop",
        ":content-type": "application/json",
        ":message-type": "event",
    }


def test_an_exception_is_seen_as_one() -> None:
    [message] = decode(exception_encoder("throttlingException").encode(json.dumps({"message": "slow"}).encode()))
    assert message.headers[":message-type"] == "exception"
    assert message.headers[":exception-type"] == "throttlingException"
    assert message.to_response_dict()["status_code"] == 400


def test_a_message_cut_anywhere_gives_no_event() -> None:
    whole = event_encoder("chunk").encode(b'{"bytes":"e30="}')
    assert all(decode(whole[:length]) == [] for length in range(len(whole)))


def test_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(ChecksumMismatch):
        decode(with_wrong_checksum(event_encoder("chunk").encode(b"{}")))
