"""An incremental decoder of newline-delimited JSON: fed with bytes, gives objects.

The client asks for NDJSON and not for server-sent events: every frame carries its own type and position, so the
`id:` and `event:` lines of an event stream would only repeat them.
"""

import json
from collections.abc import Iterator

from tokenstream_client.errors import ProtocolError
from tokenstream_client.frames import Message

LINE_LIMIT = 1024 * 1024
"""Bytes without a line's end after which the sender can't be tokenstream; its frames stay far below."""


class NdjsonDecoder:
    """Decodes one response. A last line without its newline was cut off and is never given out."""

    def __init__(self, line_limit: int = LINE_LIMIT) -> None:
        self._partial = bytearray()
        self._line_limit = line_limit

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take bytes in, cut anywhere; iterate over the messages that are now whole. Raises `ProtocolError`."""
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            lines = (bytes(self._partial) + head).split(b"\n")
            self._partial = bytearray(tail)
        else:
            lines = []
            self._partial += data
        if len(self._partial) > self._line_limit:
            raise ProtocolError("The server sends a line without an end.")
        return (_decode(line) for line in lines if line.strip())


def _decode(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ProtocolError("The server sent a line that isn't JSON.") from error
    if not isinstance(message, dict):
        raise ProtocolError("The server sent a line that isn't a JSON object.")
    return message
