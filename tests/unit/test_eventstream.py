import tracemalloc
from binascii import crc32
from collections.abc import Iterable
from struct import pack
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bedrock_messages import anthropic_answer, converse_answer, exception
from tokenstream.sources.eventstream import MAX_MESSAGE_BYTES, EventStreamDecoder, EventStreamError, Message

ANSWERS = {"invoke": b"".join(anthropic_answer()), "converse": b"".join([*converse_answer(), exception("oops")])}


def decode(pieces: Iterable[bytes]) -> list[Message]:
    decoder = EventStreamDecoder()
    return [message for piece in pieces for message in decoder.feed(piece)]


def by_botocore(data: bytes) -> list[Message]:
    buffer: Any = EventStreamBuffer()
    buffer.add_data(data)
    return [Message({k: v for k, v in m.headers.items() if isinstance(v, str)}, m.payload) for m in buffer]


def prelude(total: int, header_length: int) -> bytes:
    lengths = pack(">II", total, header_length)
    return lengths + pack(">I", crc32(lengths))


def message(headers: bytes, payload: bytes = b"") -> bytes:
    """Make a message whose checksums are right, whatever its headers are."""
    data = prelude(16 + len(headers) + len(payload), len(headers)) + headers + payload
    return data + pack(">I", crc32(data))


def text_header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + pack(">H", len(value)) + value


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_read_as_botocore_reads_it(data: bytes) -> None:
    messages = decode([data])
    assert messages == by_botocore(data)
    assert len(messages) > 8


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_cut_at_any_place_is_the_same_answer(data: bytes) -> None:
    whole = decode([data])
    for cut in range(len(data) + 1):
        assert decode([data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_comes_byte_by_byte_is_the_same_answer(data: bytes) -> None:
    assert decode(data[index : index + 1] for index in range(len(data))) == decode([data])


@given(st.data())
def test_an_answer_in_any_pieces_is_the_same_answer(data: st.DataObject) -> None:
    answer = ANSWERS["converse"]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=30)))
    assert decode(answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)) == decode([answer])


def test_a_message_leaves_with_its_last_byte_and_not_later() -> None:
    first, second = message(b"", b"first"), message(b"", b"second")
    decoder = EventStreamDecoder()
    assert list(decoder.feed(first[:-1])) == []
    assert [m.payload for m in decoder.feed(first[-1:] + second[:-1])] == [b"first"]
    assert [m.payload for m in decoder.feed(second[-1:])] == [b"second"]


def test_a_cut_answer_gives_only_its_whole_messages() -> None:
    messages = anthropic_answer()
    data, whole = b"".join(messages), decode(messages)
    ends = [len(b"".join(messages[: index + 1])) for index in range(len(messages))]
    for cut in range(len(data)):
        assert decode([data[:cut]]) == whole[: sum(end <= cut for end in ends)]


def test_a_bit_flipped_anywhere_is_noticed() -> None:
    good = message(text_header(b":event-type", b"chunk"), b'{"bytes":"e30="}')
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EventStreamError):
            decode([bytes(bad) + good])


def test_what_came_whole_before_the_damage_is_still_given() -> None:
    good = message(b"", b"good")
    messages = EventStreamDecoder().feed(good + good[:-1] + b"\xff")
    assert next(messages).payload == b"good"
    with pytest.raises(EventStreamError):
        next(messages)


@pytest.mark.parametrize(
    ("total", "header_length"),
    [
        (0, 0),
        (15, 0),
        (16, 1),
        (100, 85),
        (100, 2**32 - 1),
        (MAX_MESSAGE_BYTES + 1, 0),
        (2**31, 0),
        (2**32 - 1, 2**32 - 1),
    ],
)
def test_impossible_lengths_are_refused_before_anything_is_waited_for(total: int, header_length: int) -> None:
    with pytest.raises(EventStreamError, match="length"):
        decode([prelude(total, header_length)])


def test_a_claimed_length_takes_no_memory() -> None:
    decoder = EventStreamDecoder()
    tracemalloc.start()
    try:
        assert list(decoder.feed(prelude(MAX_MESSAGE_BYTES, 0) + b"x" * 100)) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_long_answer_does_not_pile_up() -> None:
    decoder = EventStreamDecoder()
    data = message(b"", b"x" * 10_000)
    tracemalloc.start()
    try:
        for _ in range(500):
            assert len(list(decoder.feed(data))) == 1
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_headers_of_every_type_are_passed_over_to_the_texts() -> None:
    values = {
        0: b"",
        1: b"",
        2: b"\x01",
        3: b"\x01\x02",
        4: b"\x01\x02\x03\x04",
        5: b"12345678",
        6: b"\x00\x03abc",
        8: b"12345678",
        9: b"0123456789abcdef",
    }
    headers = b"".join(b"\x02h" + str(kind).encode() + bytes([kind]) + value for kind, value in values.items())
    headers = text_header(b"first", b"1") + headers + text_header(b"last", "é".encode()) + text_header(b"empty", b"")
    data = message(headers, b"payload")
    assert decode([data]) == by_botocore(data) == [Message({"first": "1", "last": "é", "empty": ""}, b"payload")]


def test_a_message_may_have_neither_headers_nor_payload() -> None:
    assert decode([message(b"")]) == [Message({}, b"")]


GOOD_HEADER = text_header(b"name", b"value")


@pytest.mark.parametrize(
    "headers",
    [
        *(GOOD_HEADER + GOOD_HEADER[:length] for length in range(1, len(GOOD_HEADER))),
        b"\x04name\x0a",
        b"\x04name\xff",
        b"\x04name\x07\xff\xff",
        b"\x04name\x06\x00\x01",
        b"\x04name\x09short",
        b"\xffname\x00",
        text_header(b"\xff", b"value"),
        text_header(b"name", b"\xff"),
    ],
    ids=repr,
)
def test_malformed_headers_are_refused_although_the_checksum_is_right(headers: bytes) -> None:
    with pytest.raises(EventStreamError, match="headers"):
        decode([message(headers, b"payload")])


@given(st.binary(max_size=100))
def test_any_headers_are_read_or_refused(headers: bytes) -> None:
    try:
        decode([message(headers)])
    except EventStreamError:
        return


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    try:
        decode(pieces)
    except EventStreamError:
        return


def test_an_http_page_is_no_event_stream() -> None:
    with pytest.raises(EventStreamError):
        decode([b"<html><body>502 Bad Gateway</body></html>"])
