import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tokenstream.retries import BUDGET_SECONDS, Retries, TryAgain
from tokenstream.sinks import ClientGone, DeliveryFailed

IDS = {"session_id": "session"}


class Trial:
    """Tries on a clock that moves while they wait, and for as long as a try takes."""

    def __init__(self, outcome: Callable[[int], Exception | None], *, jitter: float = 1.0, takes: float = 0.0) -> None:
        self.clock = FakeClock()
        self.begun_at = self.clock()
        self.tries: list[float] = []
        self.waits: list[float] = []
        self._outcome = outcome
        self._takes = takes
        self._retries = Retries(clock=self.clock, wait=self._wait, jitter=lambda: jitter)

    def run(self, budget: float = BUDGET_SECONDS) -> None:
        self._retries.run(self._attempt, budget, IDS)

    def _attempt(self) -> None:
        self.tries.append(self.clock())
        self.clock.advance(self._takes)
        if failure := self._outcome(len(self.tries)):
            raise failure

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


def always(attempt: int) -> Exception | None:
    return TryAgain("throttled")


def until(taken: int) -> Callable[[int], Exception | None]:
    return lambda attempt: None if attempt >= taken else TryAgain("throttled")


def test_what_is_taken_at_once_is_tried_once_and_without_a_wait() -> None:
    trial = Trial(until(1))
    trial.run()
    assert (len(trial.tries), trial.waits) == (1, [])


def test_what_is_taken_in_the_end_has_arrived() -> None:
    trial = Trial(until(5))
    trial.run()
    assert len(trial.tries) == 5


def test_each_message_has_a_budget_of_its_own() -> None:
    trial = Trial(always)
    for _ in range(3):
        before = len(trial.tries)
        with pytest.raises(DeliveryFailed):
            trial.run()
        assert len(trial.tries) - before > 3


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_pauses_double_up_to_a_second_and_vary_by_half(jitter: float, share: float) -> None:
    trial = Trial(always, jitter=jitter)
    with pytest.raises(DeliveryFailed):
        trial.run(60)
    longest = [0.05, 0.1, 0.2, 0.4, 0.8, *[1.0] * 200]
    assert trial.waits == pytest.approx([share * pause for pause in longest[: len(trial.waits)]])
    assert len(trial.waits) > 50


def test_throttled_workers_do_not_come_back_in_step() -> None:
    def waits() -> list[float]:
        clock, waits = FakeClock(), []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            clock.advance(seconds)

        def attempt() -> None:
            raise TryAgain("throttled")

        with pytest.raises(DeliveryFailed):
            Retries(clock=clock, wait=wait).run(attempt, BUDGET_SECONDS, IDS)
        return waits

    assert waits() != waits()


@given(
    budget=st.floats(0, 60),
    jitter=st.floats(0, 1, exclude_max=True),
    takes=st.floats(0, 5),
)
def test_no_try_begins_behind_the_budget(budget: float, jitter: float, takes: float) -> None:
    """At a deadline what is left of the function's time has to do for it."""
    trial = Trial(always, jitter=jitter, takes=takes)
    with pytest.raises(DeliveryFailed):
        trial.run(budget)
    assert trial.tries[0] == trial.begun_at
    assert all(tried_at < trial.begun_at + budget for tried_at in trial.tries[1:])
    assert trial.clock() <= trial.begun_at + max(budget, 0) + takes


@pytest.mark.parametrize("takes", [0.0, 3.0])
def test_without_a_budget_there_is_one_try_and_no_wait(takes: float) -> None:
    trial = Trial(always, takes=takes)
    with pytest.raises(DeliveryFailed):
        trial.run(0)
    assert (len(trial.tries), trial.waits) == (1, [])
    taken = Trial(until(1), takes=takes)
    taken.run(0)
    assert len(taken.tries) == 1


@pytest.mark.parametrize("failure", [DeliveryFailed("refused"), ClientGone(), ZeroDivisionError()], ids=repr)
def test_what_another_try_does_not_mend_is_raised_at_once(failure: Exception) -> None:
    trial = Trial(lambda attempt: failure)
    with pytest.raises(type(failure)) as raised:
        trial.run()
    assert raised.value is failure
    assert (len(trial.tries), trial.waits) == (1, [])


def test_the_last_reason_is_told_and_logged_once_with_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    trial = Trial(lambda attempt: TryAgain("status 500" if attempt > 1 else "throttled"))
    with pytest.raises(DeliveryFailed, match="status 500"):
        trial.run()
    [record] = caplog.records
    logged = record.__dict__
    assert (record.levelno, logged["session_id"], logged["reason"]) == (logging.WARNING, "session", "status 500")


def test_what_arrives_in_the_end_is_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Trial(until(4)).run()
    assert caplog.records == []
