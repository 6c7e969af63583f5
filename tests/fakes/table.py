"""The template's tables in moto's DynamoDB, with faults on request."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

import botocore.session
import yaml
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

TABLE = "sessions"
CONNECTIONS = "connections"
_TEMPLATE = Path(__file__).parents[2] / "template.yaml"
_PARTS = ("BillingMode", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes")


class _Template(yaml.SafeLoader):
    """Reads a template; what a tag like `!Ref` would give is not needed here."""


_Template.add_multi_constructor("!", lambda loader, suffix, node: None)


@cache
def _template() -> Any:
    return yaml.load(_TEMPLATE.read_text(encoding="utf-8"), _Template)  # noqa: S506 - a SafeLoader


@cache
def _aws() -> botocore.session.Session:
    # Made behind the import of moto, which it is caught by; a session of its own would cost each table 0.1 s.
    return botocore.session.Session()


def template_table(logical_id: str = "SessionsTable") -> dict[str, Any]:
    """Return the properties of a table of the template's."""
    properties: dict[str, Any] = _template()["Resources"][logical_id]["Properties"]
    return properties


def table_definition(logical_id: str = "SessionsTable") -> dict[str, Any]:
    """Return what DynamoDB is told to create a table of the template's, but for its name."""
    properties = template_table(logical_id)
    return {part: properties[part] for part in _PARTS if part in properties}


class Table:
    """A DynamoDB client for one table.

    One call runs at a time, as DynamoDB runs writes to one item. While `unreachable` is set every call fails as
    without a network. `before` is called with each call's name, ahead of it.
    """

    def __init__(self, client: Any, name: str = TABLE) -> None:
        self._client = client
        self._name = name
        self._one_at_a_time = RLock()
        self.unreachable = False
        self.before: Callable[[str], None] = lambda operation: None
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            self.before(operation)
            with self._one_at_a_time:
                self.calls.append((operation, parameters))
                if self.unreachable:
                    raise EndpointConnectionError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")
                return getattr(self._client, operation)(**parameters)

        return call

    def called(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of an operation's calls."""
        return [parameters for name, parameters in self.calls if name == operation]

    def items(self) -> list[dict[str, Any]]:
        """Return everything that is in the table."""
        items: list[dict[str, Any]] = self._client.scan(TableName=self._name, ConsistentRead=True)["Items"]
        return items

    def record(self, session_id: str) -> dict[str, Any]:
        """Return a session's record."""
        key = {"sessionId": {"S": session_id}, "item": {"S": "session"}}
        record: dict[str, Any] = self._client.get_item(TableName=self._name, Key=key, ConsistentRead=True)["Item"]
        return record


def sessions_table() -> AbstractContextManager[Table]:
    """Create the template's table of sessions, empty."""
    return _table("SessionsTable", TABLE)


def connections_table() -> AbstractContextManager[Table]:
    """Create the template's table of connections, empty."""
    return _table("ConnectionsTable", CONNECTIONS)


@contextmanager
def _table(logical_id: str, name: str) -> Iterator[Table]:
    with mock_aws():
        client: Any = _aws().create_client("dynamodb", region_name="us-east-1")
        client.create_table(TableName=name, **table_definition(logical_id))
        try:
            yield Table(client, name)
        finally:
            client.close()
