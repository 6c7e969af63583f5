from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.table import CONNECTIONS, Table, connections_table, template_table
from tokenstream.connections import (
    CONNECTION_SECONDS,
    MESSAGES_PER_WINDOW,
    WINDOW_SECONDS,
    Connections,
    ConnectionsUnavailable,
)
from tokenstream.errors import ErrorCode, Internal, Throttled

NOW = 1_795_176_000.25
MINE = "VqYb2cO1IAMCIhw="
ANOTHERS = "VqYb2cO1IAMCIhx="


@pytest.fixture
def table() -> Iterator[Table]:
    with connections_table() as table:
        yield table


@pytest.fixture
def connections(table: Table) -> Connections:
    return Connections(table, CONNECTIONS)


def admitted(connections: Connections, messages: int, now: float = NOW, connection_id: str = MINE) -> int:
    """Send messages and count those that were let in."""
    count = 0
    for _ in range(messages):
        try:
            connections.admit(connection_id, now)
        except Throttled:
            continue
        count += 1
    return count


def expiry(item: dict[str, Any]) -> int:
    return int(item["expiresAt"]["N"])


def test_an_open_connection_is_known_with_its_user(connections: Connections, table: Table) -> None:
    connections.open(MINE, "user", NOW)
    [item] = table.items()
    assert (item["connectionId"]["S"], item["sub"]["S"]) == (MINE, "user")


def test_a_connection_is_kept_for_as_long_as_it_can_last_and_not_for_ever(
    connections: Connections, table: Table
) -> None:
    connections.open(MINE, "user", NOW)
    [item] = table.items()
    assert NOW + CONNECTION_SECONDS < expiry(item) < NOW + 2 * CONNECTION_SECONDS


def test_a_closed_connection_is_forgotten(connections: Connections, table: Table) -> None:
    connections.open(MINE, "user", NOW)
    connections.open(ANOTHERS, "user", NOW)
    connections.close(MINE)
    assert [item["connectionId"]["S"] for item in table.items()] == [ANOTHERS]


def test_a_connection_is_open_between_its_opening_and_its_closing(connections: Connections) -> None:
    assert connections.is_open(MINE) is False
    connections.open(MINE, "user", NOW)
    assert connections.is_open(MINE) is True
    assert connections.is_open(ANOTHERS) is False
    connections.close(MINE)
    assert connections.is_open(MINE) is False


def test_a_client_that_only_sends_does_not_look_open(connections: Connections) -> None:
    """Its messages are counted under its id too."""
    connections.admit(MINE, NOW)
    assert connections.is_open(MINE) is False


def test_a_connection_that_is_closed_twice_does_no_harm(connections: Connections) -> None:
    connections.close(MINE)
    connections.close(MINE)


def test_a_flood_from_one_connection_is_throttled(connections: Connections) -> None:
    assert admitted(connections, MESSAGES_PER_WINDOW + 30) == MESSAGES_PER_WINDOW


def test_a_throttled_client_learns_that_it_may_try_again(connections: Connections) -> None:
    admitted(connections, MESSAGES_PER_WINDOW)
    with pytest.raises(Throttled) as raised:
        connections.admit(MINE, NOW)
    assert (raised.value.code, raised.value.retryable) == (ErrorCode.THROTTLED, True)


def test_a_flood_does_not_touch_other_connections(connections: Connections) -> None:
    admitted(connections, MESSAGES_PER_WINDOW + 1)
    assert admitted(connections, 1, connection_id=ANOTHERS) == 1


def test_a_client_that_has_slowed_down_is_served_again(connections: Connections) -> None:
    admitted(connections, MESSAGES_PER_WINDOW + 1)
    assert admitted(connections, MESSAGES_PER_WINDOW + 1, NOW + WINDOW_SECONDS) == MESSAGES_PER_WINDOW


def test_messages_of_a_whole_window_are_counted_together(connections: Connections) -> None:
    start = NOW // WINDOW_SECONDS * WINDOW_SECONDS
    assert admitted(connections, MESSAGES_PER_WINDOW, start) == MESSAGES_PER_WINDOW
    assert admitted(connections, 1, start + WINDOW_SECONDS - 0.001) == 0
    assert admitted(connections, 1, start + WINDOW_SECONDS) == 1


def test_messages_that_come_at_once_are_each_counted(connections: Connections) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda _: admitted(connections, 10), range(8))
    assert sum(counts) == MESSAGES_PER_WINDOW


def test_a_connection_whose_item_was_lost_is_served(connections: Connections) -> None:
    connections.open(MINE, "user", NOW)
    connections.close(MINE)
    assert admitted(connections, MESSAGES_PER_WINDOW + 1) == MESSAGES_PER_WINDOW


def test_what_was_counted_does_not_stay_for_ever(connections: Connections, table: Table) -> None:
    admitted(connections, 2)
    admitted(connections, 2, NOW + WINDOW_SECONDS)
    for item in table.items():
        assert NOW + WINDOW_SECONDS < expiry(item) < NOW + CONNECTION_SECONDS


def test_counting_leaves_the_connections_user_and_expiry_alone(connections: Connections, table: Table) -> None:
    connections.open(MINE, "user", NOW)
    [before] = table.items()
    admitted(connections, 3)
    assert before in table.items()


def test_a_message_costs_one_write(connections: Connections, table: Table) -> None:
    for now in (NOW, NOW, NOW + WINDOW_SECONDS):
        table.calls.clear()
        connections.admit(MINE, now)
        assert [operation for operation, _ in table.calls] == ["update_item"]


def test_the_table_expires_what_is_kept_by_the_attribute_that_is_written() -> None:
    assert template_table("ConnectionsTable")["TimeToLiveSpecification"]["AttributeName"] == "expiresAt"


@pytest.mark.parametrize("operation", ["open", "close", "admit", "is_open"])
def test_a_table_that_does_not_answer_is_a_fault_of_ours(
    connections: Connections, table: Table, operation: str
) -> None:
    table.unreachable = True
    arguments = {"open": (MINE, "user", NOW), "close": (MINE,), "admit": (MINE, NOW), "is_open": (MINE,)}[operation]
    with pytest.raises(ConnectionsUnavailable) as raised:
        getattr(connections, operation)(*arguments)
    assert raised.value.retryable
    assert str(raised.value) == str(Internal())


def test_a_table_that_is_missing_is_a_fault_of_ours(table: Table) -> None:
    with pytest.raises(ConnectionsUnavailable):
        Connections(table, "another").admit(MINE, NOW)
