"""The queue in front of the model: what is to be generated waits in it, and comes back when its worker dies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import DecodeError, Struct
from msgspec.json import Decoder, encode

from tokenstream.errors import Internal, InvalidRequest
from tokenstream.request import parse_session_id

HOLD_SECONDS = 60
"""How long a worker's message stays invisible at a time: longer than the lease, so that whoever gets it next finds that
the lease has run out."""

MAX_VISIBILITY_SECONDS = 43_200
"""Source: Amazon SQS quotas."""

# In JSON these two stand for themselves, in a message of SQS they may not stand at all (Amazon SQS API, SendMessage).
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "\ufffe\uffff"}


class QueueUnavailable(Internal):
    """The queue did not answer as it should; another try may work."""


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
    """The queue's operations. Each raises `QueueUnavailable`. `client` is an SQS client of boto3 or botocore."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def put(self, session_id: str, request: Mapping[str, Any]) -> None:
        """Ask for an answer."""
        body = encode(_Body(session_id, dict(request))).decode().translate(_ESCAPES)
        with _translated():
            self._client.send_message(QueueUrl=self._url, MessageBody=body)

    def hide(self, prompt: Prompt, seconds: float) -> None:
        """Have a message come back after so many seconds, unless it is deleted before."""
        with _translated():
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=prompt.receipt_handle,
                VisibilityTimeout=min(int(seconds), MAX_VISIBILITY_SECONDS),
            )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise QueueUnavailable from error
