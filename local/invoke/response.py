"""What a function answered, made readable: status, headers and body of an HTTP response, anything else as it is."""

import json
from dataclasses import dataclass
from http.client import responses
from typing import Any

_DELIMITER = bytes(8)
"""Between a streamed HTTP response's prelude and its body."""

_TIMED_OUT = b"Task timed out after "
"""How the emulator, in a container too, tells of a timeout: in this text with status 200, and in no other way."""


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """The bytes that an invocation gave; a streamed HTTP response begins with its prelude."""

    payload: bytes

    @property
    def failed(self) -> bool:
        """Whether it is a function error: in place of an answer, its type and message."""
        if self._head is not None:
            return False
        document = _json(self.payload)
        return self.payload.startswith(_TIMED_OUT) or (isinstance(document, dict) and "errorType" in document)

    def render(self) -> bytes:
        """Show an HTTP response as `curl -i` does, any other payload unchanged; ends with a line break."""
        head = self._head
        if head is None:
            return _line(self.payload)
        status = int(head["statusCode"])
        lines = [f"HTTP {status} {responses.get(status, '')}".rstrip()]
        lines += [f"{name}: {value}" for name, value in head.get("headers", {}).items()]
        lines += [f"set-cookie: {cookie}" for cookie in head.get("cookies", [])]
        return "\n".join([*lines, "", ""]).encode() + _line(self.payload.partition(_DELIMITER)[2])

    @property
    def _head(self) -> dict[str, Any] | None:
        prelude, delimiter, _ = self.payload.partition(_DELIMITER)
        head = _json(prelude) if delimiter else None
        return head if isinstance(head, dict) and "statusCode" in head else None


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _line(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"
