from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.frames import SESSION, Attempt
from tests.fakes.keeper import FakeKeeper
from tokenstream.errors import ErrorCode
from tokenstream.held_message import HeldMessage
from tokenstream.lease import RENEW_SECONDS, Verdict
from tokenstream.message_queue import QueueUnavailable
from tokenstream.prompt_queue import HOLD_SECONDS, Prompt

PROMPT = Prompt(SESSION, {"prompt": "mark-7f3a9c"}, "message", "receipt", 1)
LOOK_SECONDS = 0.5


class FakeQueue:
    """Remembers when it was told to hide the message, and for how long; fails where it is told to."""

    def __init__(self, clock: FakeClock) -> None:
        self.fails = False
        self.tries: list[float] = []
        self.hidden_until = 0.0
        self._clock = clock

    def hide(self, prompt: Prompt, seconds: float) -> None:
        assert prompt is PROMPT
        self.tries.append(self._clock())
        if self.fails:
            raise QueueUnavailable
        self.hidden_until = self._clock() + seconds


class Worker:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lease = FakeKeeper()
        self.queue = FakeQueue(self.clock)
        # As much of both as is used.
        lease: Any = self.lease
        queue: Any = self.queue
        self.held = HeldMessage(lease, queue, PROMPT, self.clock)

    def works(self, seconds: float) -> None:
        """Look as often as the pump does."""
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.clock.advance(LOOK_SECONDS)
            assert self.held.look() is Verdict.GO_ON


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_the_first_look_already_has_the_message_back_within_a_minute_of_a_death(worker: Worker) -> None:
    assert worker.queue.tries == []
    worker.clock.advance(LOOK_SECONDS)
    worker.held.look()
    assert worker.queue.hidden_until == worker.clock() + HOLD_SECONDS


def test_a_message_never_comes_back_to_a_worker_that_lives_nor_late_to_the_next_one(worker: Worker) -> None:
    for _ in range(600):
        worker.works(LOOK_SECONDS)
        assert HOLD_SECONDS - RENEW_SECONDS <= worker.queue.hidden_until - worker.clock() <= HOLD_SECONDS


def test_the_queue_is_not_called_at_every_look(worker: Worker) -> None:
    worker.works(300)
    assert len(worker.queue.tries) == 300 / RENEW_SECONDS


def test_a_queue_that_fails_is_tried_again_before_the_message_comes_back(worker: Worker) -> None:
    worker.works(20)
    worker.queue.fails = True
    worker.works(HOLD_SECONDS - 2 * RENEW_SECONDS)
    worker.queue.fails = False
    for _ in range(60):
        worker.works(LOOK_SECONDS)
        assert worker.queue.hidden_until > worker.clock()


def test_a_queue_that_does_not_answer_holds_up_few_looks(worker: Worker) -> None:
    """Each such call takes seconds, in which no cancel is seen."""
    worker.queue.fails = True
    worker.works(300)
    assert len(worker.queue.tries) == 300 / RENEW_SECONDS


def test_a_queue_that_fails_is_logged_and_says_nothing_of_the_prompt(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.queue.fails = True
    worker.works(LOOK_SECONDS)
    [record] = caplog.records
    assert record.__dict__["session_id"] == SESSION
    assert "mark-7f3a9c" not in caplog.text + str(record.__dict__)


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("fails", [True, False])
def test_what_the_lease_says_counts_whatever_the_queue_does(worker: Worker, verdict: Verdict, fails: bool) -> None:
    worker.queue.fails = fails
    worker.lease.verdict = verdict
    assert worker.held.look() is verdict


def test_everything_else_is_the_leases(worker: Worker) -> None:
    frames = Attempt()
    start, terminal = frames.start(), frames.complete()
    worker.held.keep([start])
    assert worker.lease.kept == [start]
    for settles in (True, False):
        worker.lease.settles = settles
        assert worker.held.settle("complete", terminal) is settles
    assert worker.lease.settled == [("complete", terminal)] * 2
    for releases in (True, False):
        worker.lease.releases = releases
        assert worker.held.release(ErrorCode.THROTTLED) is releases
    assert worker.lease.released
    assert worker.lease.failure is ErrorCode.THROTTLED
    assert worker.queue.tries == []
