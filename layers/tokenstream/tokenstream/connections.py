"""The connections table: which WebSocket connections are open, and how much each of them sends.

A connection is an item under its id. What it sends is counted in windows of time, each an item of its own
(`<connectionId>#<window>`): one conditional write admits a message, and nothing has to be reset. An item that nobody
takes away expires.

Times are epoch seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tokenstream.errors import Internal, Throttled

CONNECTION_SECONDS = 2 * 60 * 60
"""API Gateway closes a connection after two hours. Source: API Gateway quotas, WebSocket APIs."""

MESSAGES_PER_WINDOW = 50
WINDOW_SECONDS = 10

_SLACK_SECONDS = 600
"""Clocks differ, and a clean-up that comes late costs nothing."""


class ConnectionsUnavailable(Internal):
    """The table did not answer as it should; another try may work."""


class Connections:
    """The table's operations. Each raises `ConnectionsUnavailable` when the table can't be used.

    `client` is a DynamoDB client of boto3's, botocore's or `aws_clients`'.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def open(self, connection_id: str, sub: str, now: float) -> None:
        """Note that a user's connection was opened."""
        item = {
            "connectionId": {"S": connection_id},
            "sub": {"S": sub},
            "expiresAt": {"N": str(int(now) + CONNECTION_SECONDS + _SLACK_SECONDS)},
        }
        with _translated():
            self._client.put_item(TableName=self._table, Item=item)

    def close(self, connection_id: str) -> None:
        """Note that a connection was closed; one that isn't known is closed already."""
        with _translated():
            self._client.delete_item(TableName=self._table, Key={"connectionId": {"S": connection_id}})

    def is_open(self, connection_id: str) -> bool:
        """Tell whether a connection is open, as far as API Gateway has told: it does its best."""
        with _translated():
            answer = self._client.get_item(
                TableName=self._table, Key={"connectionId": {"S": connection_id}}, ConsistentRead=True
            )
        return "Item" in answer

    def admit(self, connection_id: str, now: float) -> None:
        """Count a message of a connection, known or not; raises `Throttled` for one too many in its window of time."""
        window = int(now) // WINDOW_SECONDS
        with _translated():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"connectionId": {"S": f"{connection_id}#{window}"}},
                    UpdateExpression="SET #expiresAt = :expiresAt ADD #messages :one",
                    ConditionExpression="attribute_not_exists(#messages) OR #messages < :most",
                    ExpressionAttributeNames={"#expiresAt": "expiresAt", "#messages": "messages"},
                    ExpressionAttributeValues={
                        ":expiresAt": {"N": str((window + 1) * WINDOW_SECONDS + _SLACK_SECONDS)},
                        ":one": {"N": "1"},
                        ":most": {"N": str(MESSAGES_PER_WINDOW)},
                    },
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                raise Throttled(
                    f"A connection may send {MESSAGES_PER_WINDOW} messages in {WINDOW_SECONDS} seconds.", retryable=True
                ) from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ConnectionsUnavailable from error
