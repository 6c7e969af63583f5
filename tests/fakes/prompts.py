"""A prompt queue with its dead-letter queue in moto's SQS, delivered from as Lambda's event source does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from typing import Any
from uuid import uuid4

import botocore.session
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from msgspec.json import encode

REGION = "us-east-1"
MAX_RECEIVES = 3
PATIENCE_SECONDS = 20
"""How long a message is waited for that has to be there."""

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Sqs:
    """An SQS client. While `unreachable` is set every call fails as without a network, or as `fails` says."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.unreachable = False
        self.fails: Exception | None = None
        self.before: Callable[[str], object] = lambda operation: None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._one_at_a_time = RLock()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            self.before(operation)
            with self._one_at_a_time:
                self.calls.append((operation, parameters))
                if self.unreachable:
                    raise EndpointConnectionError(endpoint_url="https://sqs.us-east-1.amazonaws.com")
                if self.fails is not None:
                    raise self.fails
                return getattr(self.client, operation)(**parameters)

        return call

    def hidden(self) -> list[int]:
        """Return for how long messages were to be hidden, in the order of the calls."""
        return [
            parameters["VisibilityTimeout"]
            for operation, parameters in self.calls
            if operation == "change_message_visibility"
        ]


class Prompts:
    """The two queues. A message that is received stays hidden until `all_come_back` says otherwise."""

    def __init__(self, client: Any) -> None:
        self._client = client
        name = f"prompts-{uuid4().hex}"
        self.dead_url = str(client.create_queue(QueueName=f"{name}-dead")["QueueUrl"])
        attributes = client.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])["Attributes"]
        redrive = {"deadLetterTargetArn": attributes["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
        self.url = str(
            client.create_queue(
                QueueName=name,
                Attributes={"VisibilityTimeout": "5400", "RedrivePolicy": encode(redrive).decode()},
            )["QueueUrl"]
        )
        self._received: dict[tuple[str, str], str] = {}

    def put(self, body: str, *, dead: bool = False) -> None:
        """Put a message that may be anything."""
        self._client.send_message(QueueUrl=self.dead_url if dead else self.url, MessageBody=body)

    def record(self, *, dead: bool = False, wait: bool = True) -> dict[str, Any] | None:
        """Receive a message as a record of Lambda's event; None where there is none to be waited for."""
        url = self.dead_url if dead else self.url
        messages = self._client.receive_message(
            QueueUrl=url,
            AttributeNames=["All"],
            MaxNumberOfMessages=1,
            WaitTimeSeconds=PATIENCE_SECONDS if wait else 0,
        ).get("Messages", [])
        if not messages:
            assert not wait, "there is no message"
            return None
        [message] = messages
        self._received[url, message["MessageId"]] = message["ReceiptHandle"]
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:prompts",
            "awsRegion": REGION,
        }

    def deliver(self, handler: Handler, *, dead: bool = False) -> bool:
        """Have a handler work on a message, and delete it unless it is to come back; tells whether it was deleted."""
        record = self.record(dead=dead)
        assert record is not None
        return self.deliver_record(handler, record, dead=dead)

    def deliver_record(self, handler: Handler, record: dict[str, Any], *, dead: bool = False) -> bool:
        """Have a handler work on a message that was received."""
        result = handler({"Records": [record]})
        failed = [item["itemIdentifier"] for item in result["batchItemFailures"]]
        assert failed in ([], [record["messageId"]]), "Lambda would take the whole batch for failed"
        if not failed:
            url = self.dead_url if dead else self.url
            self._client.delete_message(QueueUrl=url, ReceiptHandle=self._received.pop((url, record["messageId"])))
        return not failed

    def all_come_back(self) -> None:
        """Let the time pass for which messages are hidden."""
        for (url, _), handle in self._received.items():
            self._client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        self._received.clear()

    def bury(self) -> None:
        """Let the only message be received as often as it may, and move to the dead letters."""
        for _ in range(MAX_RECEIVES):
            self.record()
            self.all_come_back()
        self.await_dead()

    def await_dead(self) -> None:
        """Wait until a message whose receives are used up has moved to the dead letters: SQS moves it when asked."""
        before = self.count(dead=True)
        give_up_at = monotonic() + PATIENCE_SECONDS
        while self.count(dead=True) == before:
            assert self.record(wait=False) is None
            assert monotonic() < give_up_at, "the message is not moved"

    def count(self, *, dead: bool = False) -> int:
        """Return how many messages there are, hidden or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.dead_url if dead else self.url
        attributes = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)


@contextmanager
def sqs_client() -> Iterator[Any]:
    """Give a client of moto's SQS."""
    with mock_aws():
        client = botocore.session.Session().create_client("sqs", region_name=REGION)
        try:
            yield client
        finally:
            client.close()
