"""SNS on loopback: a FIFO topic, and what the queue behind it gets, with faults on request.

It takes what SNS's own query protocol allows and what is signed for it, and answers as SNS does.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import time
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from botocore.credentials import Credentials

from tests.fakes.connections_api import Fault
from tests.fakes.graphql_api import CREDENTIALS, assert_signed
from tests.fakes.observed import Observed
from tests.integration.scripted_endpoint import Endpoint, Exchange, Script, scripted_endpoint, status_line

TOPIC = "arn:aws:sns:us-east-1:123456789012:stack-frames.fifo"
MAX_MESSAGE_BYTES = 256 * 1024
"""Source: Amazon SNS quotas."""

_NAMESPACE = "http://sns.amazonaws.com/doc/2010-03-31/"
# Source: Amazon SNS API reference, Publish.
_ID = re.compile(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}")
# What SQS takes, which gets the message as it is. Source: Amazon SQS API reference, SendMessage.
ALLOWED_BY_SQS = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_ENOUGH = 100_000
"""Requests that a test may make."""


class Published(NamedTuple):
    """A message of the topic's."""

    group: str
    deduplication_id: str
    text: str

    def record(self, receives: int = 1, sent_at: float | None = None) -> dict[str, Any]:
        """Return the message as Lambda gets it from the queue, to which it is delivered raw, by default just now."""
        return {
            "messageId": self.deduplication_id,
            "receiptHandle": f"receipt-{self.deduplication_id}",
            "body": self.text,
            "attributes": {
                "ApproximateReceiveCount": str(receives),
                "SentTimestamp": str(int((time() if sent_at is None else sent_at) * 1000)),
                "MessageGroupId": self.group,
                "MessageDeduplicationId": self.deduplication_id,
            },
        }


def _answered(status: int, document: str) -> Script:
    body = f'<?xml version="1.0"?>\n{document}\n'.encode()
    head = b"Content-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body)
    return lambda exchange: exchange.raw(status_line(status) + head + body)


def failing(code: str, status: int = 400) -> Fault:
    """Return a fault that SNS words as an error."""
    who = "Sender" if status < 500 else "Receiver"
    return Fault(
        _answered(
            status,
            f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{who}</Type><Code>{code}</Code>'
            "<Message>words of theirs</Message></Error><RequestId>9d34f1a0</RequestId></ErrorResponse>",
        )
    )


BROKEN = failing("InternalError", 500)
THROTTLED = failing("Throttling")
FORBIDDEN = failing("AuthorizationError", 403)


class TopicsApi(Observed):
    """One topic. `before` is called with a message ahead of each answer, on the thread that gives it.

    `queued` is what the queue gets: of messages with one de-duplication id the first.
    """

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self.endpoint = Endpoint([], None)
        self.before: Callable[[Published], object] = lambda message: None
        self.tries: list[Published] = []
        self.queued: list[Published] = []
        self._credentials = credentials
        self._ids: set[str] = set()
        self._faults: deque[Fault] = deque()
        self._lasting: Fault | None = None

    @property
    def url(self) -> str:
        """The address of the service."""
        return self.endpoint.url

    def fails(self, *faults: Fault) -> None:
        """Let the next requests meet faults, one each."""
        with self.changed:
            self._faults.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """Let every request meet a fault, until this is called with None."""
        with self.changed:
            self._lasting = fault

    def await_queued(self, condition: Callable[[list[Published]], bool]) -> None:
        """Wait until what the queue has got is as wanted."""
        self.wait_until(lambda: condition(self.queued))

    def serve(self, exchange: Exchange) -> None:
        """Answer a request."""
        received = exchange.received
        assert (received.method, received.target) == ("POST", "/")
        assert received.headers["content-type"].startswith("application/x-www-form-urlencoded")
        assert_signed(received, self._credentials, self.endpoint.url, "sns")
        fields = dict(parse_qsl(received.body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict"))
        if fields.pop("TopicArn") != TOPIC:
            return failing("NotFound", 404).script(exchange)
        assert (fields.pop("Action"), fields.pop("Version")) == ("Publish", "2010-03-31")
        message = Published(fields.pop("MessageGroupId"), fields.pop("MessageDeduplicationId"), fields.pop("Message"))
        assert fields == {}
        self.before(message)
        with self.changed:
            self.tries.append(message)
            fault = self._faults.popleft() if self._faults else self._lasting or _refused(message)
            if (fault is None or fault.taken) and message.deduplication_id not in self._ids:
                self._ids.add(message.deduplication_id)
                self.queued.append(message)
            number = len(self.queued)
            self.changed.notify_all()
        return (fault.script if fault else _published(number))(exchange)


def _refused(message: Published) -> Fault | None:
    ids_allowed = _ID.fullmatch(message.group) and _ID.fullmatch(message.deduplication_id)
    text_allowed = ALLOWED_BY_SQS.fullmatch(message.text) and len(message.text.encode()) <= MAX_MESSAGE_BYTES
    return None if ids_allowed and text_allowed else failing("InvalidParameter")


def _published(number: int) -> Script:
    return _answered(
        200,
        f'<PublishResponse xmlns="{_NAMESPACE}"><PublishResult><MessageId>message-{number}</MessageId>'
        f"<SequenceNumber>{10**19 + number}</SequenceNumber></PublishResult>"
        "<ResponseMetadata><RequestId>9d34f1a0</RequestId></ResponseMetadata></PublishResponse>",
    )


@contextmanager
def topics_api(credentials: Credentials = CREDENTIALS) -> Iterator[TopicsApi]:
    """Listen on a free port while the context lasts; requests are to be signed with the credentials."""
    api = TopicsApi(credentials)
    with scripted_endpoint(*[api.serve] * _ENOUGH) as endpoint:
        api.endpoint = endpoint
        yield api
