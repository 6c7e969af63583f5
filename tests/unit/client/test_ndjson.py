import json

import pytest

from tests.unit.client.fake_stack import answer
from tokenstream_client.errors import ProtocolError
from tokenstream_client.transports.ndjson import NdjsonDecoder

FRAMES = answer("line\nend", "\u2028 \u0085", "🜁 é")
BODY = "".join(json.dumps(frame, ensure_ascii=False) + "\n" for frame in FRAMES).encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(BODY)])
def test_bytes_cut_in_equal_pieces_give_the_same_messages(size: int) -> None:
    decoder = NdjsonDecoder()
    pieces = [BODY[at : at + size] for at in range(0, len(BODY), size)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == FRAMES


def test_bytes_cut_at_any_place_give_the_same_messages() -> None:
    for cut in range(len(BODY) + 1):
        decoder = NdjsonDecoder()
        assert [*decoder.feed(BODY[:cut]), *decoder.feed(BODY[cut:])] == FRAMES


def test_a_line_that_was_cut_off_is_not_given_out() -> None:
    decoder = NdjsonDecoder()
    assert list(decoder.feed(BODY[:-1])) == FRAMES[:-1]


def test_empty_lines_and_carriage_returns_are_no_messages() -> None:
    assert list(NdjsonDecoder().feed(b'\r\n\n{"a": 1}\r\n \n')) == [{"a": 1}]


@pytest.mark.parametrize("line", [b"<html>\n", b"[1]\n", b'"text"\n', b'{"a": \n', b'\xff{"a": 1}\n'])
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(NdjsonDecoder().feed(line))


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    decoder = NdjsonDecoder(line_limit=10)
    list(decoder.feed(b"0123456789"))
    with pytest.raises(ProtocolError):
        list(decoder.feed(b"0"))
