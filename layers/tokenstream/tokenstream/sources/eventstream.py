"""Decodes `application/vnd.amazon.eventstream`, fed with bytes as they come. Pure.

A message: total length, headers length and the CRC-32 of the two (4 bytes each, big-endian), headers, payload, CRC-32
of all before. Source: Smithy specification, "Amazon Event Stream".
"""

from binascii import crc32
from collections.abc import Iterator, Mapping
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The longest message that the format allows."""

_PRELUDE = Struct(">III")
_CRC = Struct(">I")
_OVERHEAD = _PRELUDE.size + _CRC.size
_STRING_TYPE = 7
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED_TYPES = frozenset({6, _STRING_TYPE})


class EventStreamError(ValueError):
    """The bytes are no event stream, or were damaged on the way."""


class Message(NamedTuple):
    """A message; headers of other types than string are left out."""

    headers: Mapping[str, str]
    payload: bytes


class EventStreamDecoder:
    """Gives whole messages from pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield every message that is whole now; raises `EventStreamError`."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _PRELUDE.size:
                total, header_length, checksum = _PRELUDE.unpack_from(buffer, start)
                if crc32(buffer[start : start + _PRELUDE.size - _CRC.size]) != checksum:
                    raise EventStreamError("the prelude's checksum is wrong")
                if not _OVERHEAD + header_length <= total <= MAX_MESSAGE_BYTES:
                    raise EventStreamError("the lengths are impossible")
                if len(buffer) - start < total:
                    return
                data = bytes(buffer[start : start + total])
                start += total
                yield _message(data, header_length)
        finally:
            del buffer[:start]


def _message(data: bytes, header_length: int) -> Message:
    end = len(data) - _CRC.size
    if crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise EventStreamError("a message's checksum is wrong")
    payload_start = _PRELUDE.size + header_length
    return Message(_headers(data[_PRELUDE.size : payload_start]), data[payload_start:end])


# A stream's messages have the same few heads.
@lru_cache(64)
def _headers(data: bytes) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    position = 0
    try:
        while position < len(data):
            name_end = position + 1 + data[position]
            name = data[position + 1 : name_end].decode()
            kind = data[name_end]
            value_start = name_end + 1
            if kind in _SIZED_TYPES:
                value_start += 2
                size = int.from_bytes(data[value_start - 2 : value_start])
            else:
                size = _FIXED_SIZES[kind]
            position = value_start + size
            if kind == _STRING_TYPE:
                headers[name] = data[value_start:position].decode()
    except (IndexError, KeyError, UnicodeDecodeError) as cause:
        raise EventStreamError("a message's headers are malformed") from cause
    if position != len(data):
        raise EventStreamError("a message's headers are malformed")
    return headers
