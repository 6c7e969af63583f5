from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.backlog import Backlog

FAILING = DeliveryFailed("throttled")


class Way:
    """A way out that takes items unless told otherwise; `tries` has each one, with its patience."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.tries: list[tuple[str, bool]] = []
        self.outcome: Callable[[str], Exception | None] = lambda item: None
        self.backlog: Backlog[str] = Backlog(self._post)

    def _post(self, item: str, patient: bool) -> None:
        self.tries.append((item, patient))
        if failure := self.outcome(item):
            raise failure
        self.received.append(item)

    def fails(self, failure: Exception = FAILING) -> None:
        self.outcome = lambda item: failure

    def works(self) -> None:
        self.outcome = lambda item: None


@pytest.fixture
def way() -> Way:
    return Way()


def fails_to_deliver(way: Way, items: str) -> None:
    with pytest.raises(ClientGone):
        way.backlog.deliver(items)


def test_items_leave_in_order_each_tried_for_long(way: Way) -> None:
    way.backlog.deliver("ab")
    way.backlog.deliver(iter("c"))
    assert way.tries == [("a", True), ("b", True), ("c", True)]
    assert not way.backlog


def test_nothing_to_deliver_makes_no_try(way: Way) -> None:
    way.backlog.deliver([])
    assert way.tries == []


def test_what_did_not_get_through_leaves_first_and_once(way: Way) -> None:
    way.fails()
    fails_to_deliver(way, "ab")
    assert way.backlog
    way.works()
    way.backlog.deliver("c")
    assert way.received == ["a", "b", "c"]
    assert not way.backlog


def test_what_got_through_ahead_of_the_failure_is_not_sent_again(way: Way) -> None:
    way.outcome = lambda item: FAILING if item == "b" else None
    fails_to_deliver(way, "abc")
    way.works()
    way.backlog.deliver([])
    assert way.received == ["a", "b", "c"]


def test_nothing_overtakes_what_waits(way: Way) -> None:
    way.outcome = lambda item: FAILING if item == "a" else None
    for item in "abc":
        fails_to_deliver(way, item)
    assert way.received == []


def test_while_the_way_fails_each_call_is_held_up_by_one_short_try(way: Way) -> None:
    way.fails()
    for item in "abc":
        fails_to_deliver(way, item)
    fails_to_deliver(way, "")
    assert way.tries == [("a", True), ("a", False), ("a", False), ("a", False)]


def test_a_way_that_works_again_is_tried_for_long_again(way: Way) -> None:
    way.fails()
    fails_to_deliver(way, "ab")
    way.works()
    way.backlog.deliver("c")
    assert way.tries[1:] == [("a", False), ("b", True), ("c", True)]
    way.fails()
    fails_to_deliver(way, "d")
    assert way.tries[-1] == ("d", True)


def test_a_way_that_fails_in_between_again_is_tried_shortly_again(way: Way) -> None:
    way.fails()
    fails_to_deliver(way, "ab")
    way.outcome = lambda item: FAILING if item == "b" else None
    fails_to_deliver(way, "")
    fails_to_deliver(way, "")
    assert way.tries[1:] == [("a", False), ("b", True), ("b", False)]


def test_what_is_forgotten_never_leaves_nor_makes_the_next_impatient(way: Way) -> None:
    way.fails()
    fails_to_deliver(way, "ab")
    way.backlog.clear()
    assert not way.backlog
    way.works()
    way.backlog.deliver("c")
    assert (way.received, way.tries[-1]) == (["c"], ("c", True))


@pytest.mark.parametrize("failure", [ClientGone(), ZeroDivisionError()], ids=repr)
def test_what_is_no_failed_delivery_is_passed_on_as_it_is(way: Way, failure: Exception) -> None:
    way.fails(failure)
    with pytest.raises(type(failure)) as raised:
        way.backlog.deliver("a")
    assert raised.value is failure
    # It says nothing about the way.
    way.works()
    way.backlog.deliver([])
    assert way.tries == [("a", True), ("a", True)]


@given(sizes=st.lists(st.integers(0, 4), max_size=12), failures=st.lists(st.booleans(), max_size=40))
def test_whatever_fails_in_between_every_item_arrives_once_and_in_order(sizes: list[int], failures: list[bool]) -> None:
    way = Way()
    outcomes = iter(failures)
    way.outcome = lambda item: FAILING if next(outcomes, False) else None
    sent: list[str] = []
    for size in sizes:
        items = [f"{len(sent) + number}" for number in range(size)]
        sent += items
        try:
            way.backlog.deliver(items)
        except DeliveryFailed:
            continue
        assert way.received == sent, "it said that all had left"
    way.works()
    way.backlog.deliver([])
    assert way.received == sent
