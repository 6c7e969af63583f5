"""Encoder for AWS's binary event-stream format (`application/vnd.amazon.eventstream`).

A message is a prelude (total length, headers' length, CRC-32 of these two), the headers, the payload, and a CRC-32 of
all before it; integers are big-endian. A header is its name's length in one byte, the name, a type, and the value;
Bedrock uses type 7 only: a string behind its length in two bytes. Source: the Smithy specification, "Amazon Event
Stream".
"""

from collections.abc import Mapping
from struct import Struct
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_STRING = 7
_LENGTHS = Struct("!II")
_CRC = Struct("!I")
_OVERHEAD = _LENGTHS.size + 2 * _CRC.size


class MessageEncoder:
    """Encodes messages that share their headers; these are encoded once."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = b"".join(_header(name, value) for name, value in headers.items())

    def encode(self, payload: bytes) -> bytes:
        """Encode one whole message."""
        lengths = _LENGTHS.pack(_OVERHEAD + len(self._headers) + len(payload), len(self._headers))
        message = b"".join((lengths, _CRC.pack(crc32(lengths)), self._headers, payload))
        return message + _CRC.pack(crc32(message))


def event_encoder(event_type: str) -> MessageEncoder:
    """Make the encoder of events of one type, with a JSON payload, in Bedrock's order of headers."""
    return MessageEncoder({":event-type": event_type, ":content-type": "application/json", ":message-type": "event"})


def exception_encoder(exception_type: str) -> MessageEncoder:
    """Make the encoder of a modeled exception in mid-stream: the last message of its stream."""
    return MessageEncoder(
        {":exception-type": exception_type, ":content-type": "application/json", ":message-type": "exception"}
    )


def with_wrong_checksum(message: bytes) -> bytes:
    """Return the message with a CRC that no decoder accepts."""
    return message[:-1] + bytes([message[-1] ^ 0xFF])


def _header(name: str, value: str) -> bytes:
    encoded_name, encoded_value = name.encode(), value.encode()
    return b"".join(
        (
            len(encoded_name).to_bytes(1, "big"),
            encoded_name,
            _STRING.to_bytes(1, "big"),
            len(encoded_value).to_bytes(2, "big"),
            encoded_value,
        )
    )
