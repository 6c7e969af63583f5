"""A queue of SQS, as far as its messages are put in and held back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tokenstream.errors import Internal

MAX_VISIBILITY_SECONDS = 43_200
"""Source: Amazon SQS quotas."""

# In JSON these two stand for themselves, in a message they may not stand at all (Amazon SQS API, SendMessage).
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "\ufffe\uffff"}


class QueueUnavailable(Internal):
    """The queue did not answer as it should; another try may work."""


def message_text(json: bytes) -> str:
    """Return JSON in characters that SQS and SNS take; its value stays the same."""
    return json.decode().translate(_ESCAPES)


class MessageQueue:
    """The queue's operations. Each raises `QueueUnavailable`.

    `client` is an SQS client of boto3's, botocore's or `aws_clients`'.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def put(self, json: bytes) -> None:
        """Put a message in."""
        with _translated():
            self._client.send_message(QueueUrl=self._url, MessageBody=message_text(json))

    def hide(self, receipt_handle: str, seconds: float) -> None:
        """Have a message come back after so many seconds, unless it is deleted before."""
        with _translated():
            self._client.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=receipt_handle,
                VisibilityTimeout=min(int(seconds), MAX_VISIBILITY_SECONDS),
            )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise QueueUnavailable from error
