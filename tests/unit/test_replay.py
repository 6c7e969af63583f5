from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.frames import MODEL, Attempt
from tests.fakes.table import TABLE, Table, sessions_table
from tokenstream.ending import end
from tokenstream.errors import ErrorCode, Internal, NotFound
from tokenstream.frames import BEGINNING, Complete, Error, Path, Position, Sealed, Start, is_terminal
from tokenstream.replay import HEARTBEAT_SECONDS, POLL_SECONDS, Replayer, TimeUp
from tokenstream.session import LEASE_SECONDS, NewSession, Recipient
from tokenstream.sessions import Sessions, SessionsUnavailable

OWNER = "user"
LONG = 600.0


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


def while_time_lasts(batches: Iterator[list[Sealed]]) -> Iterator[list[Sealed]]:
    with suppress(TimeUp):
        yield from batches


class Story:
    """A session, and what happens to it while a client follows: one event each time that the client waits."""

    def __init__(self, table: Table, *, path: Path = "url", store_answers: bool = True) -> None:
        self.clock = FakeClock(1_763_668_800.0)
        self.sessions = Sessions(table, TABLE, ttl=3600, store_answers=store_answers)
        new = NewSession(str(uuid4()), OWNER, path, "direct", MODEL, b"{}")
        self.session_id = new.session_id
        self.claim = self.sessions.begin(new, "worker-1", self.clock())
        self.frames = Attempt(new.session_id)
        self.waits = 0
        self._events: list[Callable[[], object]] = []

    def then(self, *events: Callable[[], object]) -> None:
        self._events += events

    def store(self, *frames: Sealed) -> None:
        self.sessions.store(self.claim, frames, self.clock())

    def complete(self) -> Sealed:
        terminal = self.frames.complete()
        self.sessions.settle(self.claim, "complete", terminal)
        return terminal

    def worker_dies(self) -> None:
        self.clock.advance(LEASE_SECONDS + 1)

    def next_attempt(self) -> None:
        self.claim = self.sessions.claim(self.session_id, "worker-2", self.clock())
        self.frames = Attempt(self.session_id, self.claim.attempt)

    def batches(
        self, after: Position = BEGINNING, *, seconds: float = LONG, worker: str = "resumer"
    ) -> Iterator[list[Sealed]]:
        replayer = Replayer(self.sessions, worker, clock=self.clock, wait=self._wait)
        return replayer.frames(self.session_id, OWNER, after, self.clock() + seconds)

    def follow(self, after: Position = BEGINNING, *, seconds: float = LONG) -> list[Sealed]:
        return [sealed for batch in while_time_lasts(self.batches(after, seconds=seconds)) for sealed in batch]

    def _wait(self, seconds: float) -> None:
        assert seconds == POLL_SECONDS
        self.waits += 1
        self.clock.advance(seconds)
        if self._events:
            self._events.pop(0)()


# A session that goes well


def test_a_client_gets_what_is_stored_and_then_what_comes_up_to_the_end(table: Table) -> None:
    story = Story(table)
    frames = story.frames
    stored, live, late = [frames.start(), frames.token("a")], [frames.token("b")], [frames.token("c")]
    story.store(*stored)
    terminal: list[Sealed] = []
    story.then(
        lambda: story.store(*live),
        lambda: None,
        lambda: story.store(*late),
        lambda: terminal.append(story.complete()),
    )
    assert story.follow() == [*stored, *live, *late, *terminal]
    assert len(terminal) == 1


def test_a_client_gets_neither_a_gap_nor_a_repeat_from_any_position(table: Table) -> None:
    story = Story(table)
    *frames, last = [story.frames.start(), *map(story.frames.token, "abcdef")]
    story.store(*frames[:3])
    story.store(*frames[3:])
    story.store(last)
    answer = [*frames, last, story.complete()]
    for seen in range(len(answer) + 1):
        assert story.follow(Position(1, seen)) == answer[seen:]


def test_frames_that_are_stored_just_before_the_end_come_before_it(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())
    token = story.frames.token("a")

    def end() -> None:
        story.store(token)
        story.complete()

    story.then(end)
    assert [sealed.frame.sequence for sealed in story.follow()] == [1, 2, 3]


def test_frames_leave_as_soon_as_they_are_read_not_when_all_is_over(table: Table) -> None:
    story = Story(table)
    start = story.frames.start()
    story.store(start)
    assert next(story.batches()) == [start]
    assert story.waits == 0


def test_a_client_that_has_it_all_gets_nothing_and_is_let_go(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start(), story.frames.token("a"), story.frames.token("b"))
    end = story.complete()
    assert story.follow(end.frame.position) == []
    assert story.waits == 0


@pytest.mark.parametrize("after", [Position(1, 999), Position(7, 1)])
def test_a_client_that_claims_more_than_there_is_gets_the_end_and_is_let_go(table: Table, after: Position) -> None:
    story = Story(table)
    story.store(story.frames.start(), story.frames.token("a"), story.frames.token("b"))
    end = story.complete()
    assert story.follow(after) == [end]
    assert story.waits == 0


# Another attempt


def test_a_new_attempt_is_given_whole_and_the_rest_of_the_old_one_not_at_all(table: Table) -> None:
    story = Story(table)
    given_up = [story.frames.start(), story.frames.token("a")]
    story.store(*given_up)
    answer: list[Sealed] = []

    def again() -> None:
        story.store(story.frames.token("never to be seen"))
        story.sessions.release(story.claim, None, story.clock())
        story.next_attempt()
        answer.extend([story.frames.start(), story.frames.token("b")])
        story.store(*answer)
        answer.append(story.complete())

    story.then(again)
    assert story.follow() == given_up + answer
    assert [sealed.frame.attempt for sealed in answer] == [2, 2, 2]


def test_a_client_of_an_old_attempt_gets_the_new_one_from_its_start(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start(), *map(story.frames.token, "abcdefgh"))
    story.sessions.release(story.claim, None, story.clock())
    story.next_attempt()
    answer = [story.frames.start(), story.frames.token("x")]
    story.store(*answer)
    answer.append(story.complete())
    assert story.follow(Position(1, 9)) == answer
    assert story.follow(Position(2, 1)) == answer[1:]


# A session whose worker is gone


@pytest.mark.parametrize("path", ["url", "rest"])
def test_an_answer_that_its_worker_left_ends_with_one_error_and_is_failed(table: Table, path: Path) -> None:
    story = Story(table, path=path)
    left = [story.frames.start(), story.frames.token("a")]
    story.store(*left)
    story.then(story.worker_dies)
    received = story.follow()
    assert received[:2] == left
    start, terminal = received[2:]
    assert isinstance(start.frame, Start)
    assert isinstance(terminal.frame, Error)
    assert (start.frame.position, terminal.frame.position) == (Position(2, 1), Position(2, 2))
    assert (terminal.frame.error.code, terminal.frame.error.retryable) == (ErrorCode.INTERNAL, True)
    session = story.sessions.get(story.session_id, OWNER)
    assert (session.status, session.terminal) == ("failed", terminal)
    # Whoever comes later is told the same.
    assert story.follow() == [start, terminal]
    assert story.follow(Position(1, 2)) == [start, terminal]


def test_an_answer_that_was_to_be_cancelled_when_its_worker_left_is_cancelled(table: Table) -> None:
    story = Story(table)
    story.sessions.request_cancel(story.session_id, OWNER)
    story.worker_dies()
    terminal = story.follow()[-1].frame
    assert isinstance(terminal, Complete)
    assert terminal.stop_reason == "cancelled"
    assert story.sessions.get(story.session_id, OWNER).status == "cancelled"


def test_a_worker_within_its_lease_is_left_alone(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())
    assert [type(sealed.frame) for sealed in story.follow(seconds=LEASE_SECONDS)] == [Start]
    assert story.sessions.get(story.session_id, OWNER).attempt == 1


def test_two_that_come_back_at_once_get_the_same_end(table: Table) -> None:
    story = Story(table)
    story.worker_dies()
    second: list[Sealed] = []
    claim = story.sessions.claim

    def the_other_one_is_quicker(*arguments: Any) -> Any:
        story.sessions.claim = claim  # type: ignore[method-assign] # once
        second.extend(sealed for batch in story.batches(worker="resumer-2") for sealed in batch)
        return claim(*arguments)

    story.sessions.claim = the_other_one_is_quicker  # type: ignore[method-assign, assignment] # the moment between two calls
    first = story.follow()
    assert [type(sealed.frame) for sealed in first] == [Start, Error]
    assert first == second
    assert story.sessions.get(story.session_id, OWNER).attempt == 2


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_a_session_that_has_a_recovery_is_left_to_it(table: Table, path: Path) -> None:
    story = Story(table, path=path)
    story.worker_dies()

    def recovery() -> None:
        story.next_attempt()
        story.store(story.frames.start())
        story.complete()

    story.then(lambda: None, recovery)
    received = story.follow()
    assert [type(sealed.frame) for sealed in received] == [Start, Complete]
    assert {sealed.frame.attempt for sealed in received} == {2}


# A session that waits for its worker


def accepted(story: Story) -> None:
    """Make the story's session one of the WebSocket path's that no worker has come to yet."""
    new = NewSession(str(uuid4()), OWNER, "websocket", "direct", MODEL, b"{}")
    story.sessions.accept(new, Recipient("connection", BEGINNING, "ticket"), story.clock(), begin_within=90)
    story.session_id = new.session_id


def test_a_session_that_has_not_begun_is_waited_for_and_not_ended(table: Table) -> None:
    story = Story(table)
    accepted(story)
    answer: list[Sealed] = []

    def begin() -> None:
        story.next_attempt()
        answer.append(story.frames.start())
        story.store(*answer)

    story.then(story.worker_dies, begin, lambda: answer.append(story.complete()))
    assert story.follow() == answer
    assert [sealed.frame.position for sealed in answer] == [(1, 1), (1, 2)]


def test_a_session_that_was_given_up_before_it_began_is_told_so(table: Table) -> None:
    story = Story(table)
    accepted(story)
    told: list[Sealed] = []

    def give_up() -> None:
        claim = story.sessions.claim(story.session_id, "front door", story.clock())
        session = story.sessions.get(story.session_id, OWNER)
        told.extend(end(story.sessions, claim, session, Internal(), story.clock()))

    story.then(give_up)
    assert story.follow() == told
    assert [type(sealed.frame) for sealed in told] == [Start, Error]


def test_a_session_that_expires_while_it_is_followed_is_not_found_any_more(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())

    def expire() -> None:
        key = {"sessionId": {"S": story.session_id}, "item": {"S": "session"}}
        table.delete_item(TableName=TABLE, Key=key)

    story.then(expire)
    with pytest.raises(NotFound):
        story.follow()


# Silence, time, refusals


def test_a_silent_session_keeps_the_connection_open(table: Table) -> None:
    story = Story(table)
    start = story.frames.start()
    story.store(start)

    def renewed() -> None:
        story.sessions.renew(story.claim, story.clock())

    story.then(*[renewed] * 1000)
    batches = list(while_time_lasts(story.batches(seconds=4 * HEARTBEAT_SECONDS + 1)))
    assert batches == [[start], [], [], [], []]


def test_a_heartbeat_counts_from_the_last_frame(table: Table) -> None:
    story = Story(table)
    polls = int((HEARTBEAT_SECONDS - 1) / POLL_SECONDS)
    story.then(*[lambda: None] * polls, lambda: story.store(story.frames.start()))
    batches = list(while_time_lasts(story.batches(seconds=HEARTBEAT_SECONDS + 2)))
    assert [len(batch) for batch in batches] == [1]


def test_a_client_is_let_go_when_its_time_is_up_without_an_end_of_the_answer(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())
    begun_at = story.clock()
    received = story.follow(seconds=10)
    assert 10 <= story.clock() - begun_at <= 10 + POLL_SECONDS
    assert not any(is_terminal(sealed.frame) for sealed in received)
    assert story.sessions.get(story.session_id, OWNER).status == "running"


def test_an_answer_that_goes_on_does_not_look_whole_when_the_time_is_up(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())
    with pytest.raises(TimeUp):
        list(story.batches(seconds=10))


def test_a_client_that_comes_with_no_time_left_gets_nothing(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())
    assert story.follow(seconds=0) == []


def test_another_users_session_is_refused_before_a_response_is_begun(table: Table) -> None:
    story = Story(table)
    replayer = Replayer(story.sessions, "resumer", clock=story.clock, wait=story.clock.advance)
    with pytest.raises(NotFound):
        replayer.frames(story.session_id, "somebody else", BEGINNING, story.clock() + LONG)
    with pytest.raises(NotFound):
        replayer.frames(str(uuid4()), OWNER, BEGINNING, story.clock() + LONG)


def test_where_answers_are_not_stored_there_is_nothing_to_resume(table: Table) -> None:
    story = Story(table, store_answers=False)
    with pytest.raises(NotFound):
        story.batches()


def test_a_table_that_goes_out_is_reported_to_the_one_who_follows(table: Table) -> None:
    story = Story(table)
    story.store(story.frames.start())
    batches = story.batches()
    next(batches)
    table.unreachable = True
    try:
        with pytest.raises(SessionsUnavailable):
            next(batches)
    finally:
        table.unreachable = False
