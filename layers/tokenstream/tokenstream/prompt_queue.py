"""The queue in front of the model: what is to be generated waits in it, and comes back when its worker dies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, encode

from tokenstream.errors import InvalidRequest
from tokenstream.message_queue import MessageQueue
from tokenstream.request import parse_session_id

HOLD_SECONDS = 60
"""How long a worker's message stays invisible at a time: longer than the lease, so that whoever gets it next finds that
the lease has run out."""


class NoPrompt(Exception):
    """The message is none of `PromptQueue`'s, whoever has put it there; no other try would change that."""


class _Body(Struct, frozen=True, rename="camel"):
    session_id: str
    request: dict[str, Any]


_decoder = Decoder(_Body)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A message of the queue. `receives` counts how often it was received, this time included."""

    session_id: str
    request: Mapping[str, Any]
    message_id: str
    receipt_handle: str
    receives: int

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read a record of Lambda's event; raises `NoPrompt`."""
        try:
            body = _decoder.decode(record["body"])
            session_id = parse_session_id(body.session_id)
        except (DecodeError, InvalidRequest, RecursionError, UnicodeEncodeError):
            raise NoPrompt from None
        return cls(
            session_id=session_id,
            request=body.request,
            message_id=record["messageId"],
            receipt_handle=record["receiptHandle"],
            receives=int(record["attributes"]["ApproximateReceiveCount"]),
        )


class PromptQueue:
    """The queue's operations. Each raises `QueueUnavailable`."""

    def __init__(self, messages: MessageQueue) -> None:
        self._messages = messages

    def put(self, session_id: str, request: Mapping[str, Any]) -> None:
        """Ask for an answer."""
        self._messages.put(encode(_Body(session_id, dict(request))))

    def hide(self, prompt: Prompt, seconds: float) -> None:
        """Have a message come back after so many seconds, unless it is deleted before."""
        self._messages.hide(prompt.receipt_handle, seconds)
