import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.fakes.log_lines import log_lines
from tests.fakes.table import CONNECTIONS, Table, connections_table
from tests.function_module import Context, load_function
from tokenstream import wiring
from tokenstream.connections import Connections

EVENTS = Path(__file__).parents[2] / "events" / "ws_connection"
CONNECTION = "VqYb2cO1IAMCIhw="
SUB = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[tuple[Any, Table]]:
    """The function, started once as on Lambda, and the table that it found."""
    with connections_table() as table:
        with patch.object(wiring, "_dynamodb", lambda endpoint, region: table):
            function = load_function("ws_connection", CONNECTIONS_TABLE=CONNECTIONS)
        yield function, table


@pytest.fixture
def table(sandbox: tuple[Any, Table]) -> Iterator[Table]:
    _, table = sandbox
    yield table
    for item in table.items():
        table.delete_item(TableName=CONNECTIONS, Key={"connectionId": item["connectionId"]})


@pytest.fixture
def function(sandbox: tuple[Any, Table]) -> Any:
    function, _ = sandbox
    return function


@pytest.fixture
def cut_off(sandbox: tuple[Any, Table], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function, with a table that doesn't answer."""
    function, table = sandbox
    unreachable = Table(table._client, CONNECTIONS)
    unreachable.unreachable = True
    monkeypatch.setattr(function, "connections", Connections(unreachable, CONNECTIONS))
    return function


def connect(protocols: str | None = "tokenstream, some.users.token", header: str = "Sec-WebSocket-Protocol") -> Any:
    event = json.loads((EVENTS / "connect.json").read_text())
    for headers in (event["headers"], event["multiValueHeaders"]):
        del headers["Sec-WebSocket-Protocol"]
    if protocols is not None:
        event["headers"][header] = protocols
        event["multiValueHeaders"][header] = [protocols]
    return event


def disconnect() -> Any:
    return json.loads((EVENTS / "disconnect.json").read_text())


def answer(function: Any, event: Any) -> dict[str, Any]:
    """Call it, and read its answer as Lambda passes it on."""
    result: dict[str, Any] = json.loads(json.dumps(function.handler(event, Context())))
    return result


def test_a_new_connection_is_noted_with_its_user(function: Any, table: Table) -> None:
    assert answer(function, connect())["statusCode"] == 200
    [item] = table.items()
    assert (item["connectionId"]["S"], item["sub"]["S"]) == (CONNECTION, SUB)


@pytest.mark.parametrize("header", ["Sec-WebSocket-Protocol", "sec-websocket-protocol"])
def test_a_browser_that_offers_the_protocol_is_told_that_it_is_spoken(function: Any, table: Table, header: str) -> None:
    # The token that is offered beside it must not come back.
    assert answer(function, connect(header=header))["headers"] == {"Sec-WebSocket-Protocol": "tokenstream"}


@pytest.mark.parametrize("protocols", [None, "another", "another, tokenstreams"])
def test_a_client_that_does_not_offer_the_protocol_gets_none(
    function: Any, table: Table, protocols: str | None
) -> None:
    assert answer(function, connect(protocols)) == {"statusCode": 200, "headers": {}}


def test_a_connection_that_cannot_be_noted_does_not_come_about(cut_off: Any) -> None:
    assert answer(cut_off, connect()) == {"statusCode": 500}


def test_a_closed_connection_is_forgotten(function: Any, table: Table) -> None:
    answer(function, connect())
    assert answer(function, disconnect()) == {"statusCode": 200}
    assert table.items() == []


def test_a_connection_that_was_never_noted_closes_too(function: Any, table: Table) -> None:
    assert answer(function, disconnect()) == {"statusCode": 200}


def test_a_table_that_does_not_answer_does_not_fail_the_closing(cut_off: Any) -> None:
    assert answer(cut_off, disconnect()) == {"statusCode": 200}


def test_neither_token_nor_the_clients_own_words_are_in_a_log(
    function: Any, table: Table, capfd: pytest.CaptureFixture[str]
) -> None:
    closing = disconnect()
    closing["requestContext"]["disconnectReason"] = "words of the client's"
    with log_lines() as lines:
        answer(function, connect())
        answer(function, closing)
    logged = "\n".join([*lines, *capfd.readouterr()])
    assert "connection opened" in logged
    assert "some.users.token" not in logged
    assert "words of the client's" not in logged


def test_a_connections_log_lines_are_found_by_its_id(function: Any, table: Table) -> None:
    with log_lines() as lines:
        answer(function, connect())
        answer(function, disconnect())
    for message in ("connection opened", "connection closed"):
        [line] = {line for line in lines if message in line}
        assert f'"connection_id":"{CONNECTION}"' in line


def test_the_log_says_how_a_connection_was_closed(function: Any, table: Table) -> None:
    with log_lines() as lines:
        answer(function, disconnect())
    [line] = {line for line in lines if "connection closed" in line}
    assert '"close_code":1001' in line
