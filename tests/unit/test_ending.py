from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.frames import MODEL
from tests.fakes.table import TABLE, Table, sessions_table
from tokenstream.ending import end
from tokenstream.errors import ErrorCode, Internal, ModelError
from tokenstream.frames import BEGINNING, Complete, Error, Sealed, Start
from tokenstream.session import LEASE_SECONDS, Claim, NewSession, Recipient
from tokenstream.sessions import LeaseLost, Sessions, SessionsUnavailable

NOW = 1_763_668_800.0
OWNER = "user"
INTERRUPTED = Internal("The answer was interrupted.")


@pytest.fixture(scope="module")
def shared_table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


@pytest.fixture
def table(shared_table: Table) -> Iterator[Table]:
    yield shared_table
    shared_table.unreachable = False
    shared_table.before = lambda operation: None


class Orphan:
    """A session that no worker will end."""

    def __init__(self, table: Table, *, store_answers: bool = True) -> None:
        self.sessions = Sessions(table, TABLE, ttl=3600, store_answers=store_answers)
        self.new = NewSession(str(uuid4()), OWNER, "websocket", "direct", MODEL, b"{}")
        self.sessions.accept(self.new, Recipient("connection", BEGINNING, "ticket"), NOW, begin_within=90)

    def claim(self, now: float = NOW, worker: str = "ender") -> Claim:
        return self.sessions.claim(self.new.session_id, worker, now)

    def stored(self, attempt: int = 1) -> list[Sealed]:
        return self.sessions.frames_after(self.new.session_id, attempt, 0)

    @property
    def session(self) -> Any:
        return self.sessions.get(self.new.session_id, OWNER)


def test_a_session_that_never_began_ends_with_the_error_that_is_given(table: Table) -> None:
    orphan = Orphan(table)
    start, terminal = end(orphan.sessions, orphan.claim(), orphan.new, INTERRUPTED, NOW)
    assert isinstance(start.frame, Start)
    assert (start.frame.model, start.frame.path, start.frame.delivery) == (MODEL, "websocket", "direct")
    assert isinstance(terminal.frame, Error)
    assert (terminal.frame.error.code, terminal.frame.error.retryable) == (ErrorCode.INTERNAL, True)
    assert [sealed.frame.position for sealed in (start, terminal)] == [(1, 1), (1, 2)]
    assert (orphan.session.status, orphan.session.terminal) == ("failed", terminal)


def test_whoever_comes_back_finds_the_very_frames_that_were_sent(table: Table) -> None:
    orphan = Orphan(table)
    frames = end(orphan.sessions, orphan.claim(), orphan.new, INTERRUPTED, NOW)
    assert [*orphan.stored(), orphan.session.terminal] == frames


def test_the_end_of_a_lost_attempt_is_an_attempt_of_its_own(table: Table) -> None:
    """Nobody can tell which numbers the lost one has used up."""
    orphan = Orphan(table)
    orphan.claim(worker="lost")
    later = NOW + LEASE_SECONDS + 1
    frames = end(orphan.sessions, orphan.claim(later), orphan.session, INTERRUPTED, later)
    assert [sealed.frame.position for sealed in frames] == [(2, 1), (2, 2)]
    assert orphan.stored(2) == frames[:1]


@pytest.mark.parametrize("error", [INTERRUPTED, ModelError("The model failed.")])
def test_a_session_that_its_user_had_stopped_is_cancelled_and_not_failed(table: Table, error: Any) -> None:
    orphan = Orphan(table)
    orphan.sessions.request_cancel(orphan.new.session_id, OWNER)
    *_, terminal = end(orphan.sessions, orphan.claim(), orphan.new, error, NOW)
    assert isinstance(terminal.frame, Complete)
    assert terminal.frame.stop_reason == "cancelled"
    assert (terminal.frame.usage.input_tokens, terminal.frame.usage.output_tokens) == (0, 0)
    assert (orphan.session.status, orphan.session.terminal) == ("cancelled", terminal)


def test_an_answer_that_its_client_has_left_without_a_word_is_cancelled_and_not_failed(table: Table) -> None:
    orphan = Orphan(table)
    *_, terminal = end(orphan.sessions, orphan.claim(), orphan.new, INTERRUPTED, NOW, unwanted=True)
    assert isinstance(terminal.frame, Complete)
    assert terminal.frame.stop_reason == "cancelled"
    assert (orphan.session.status, orphan.session.terminal) == ("cancelled", terminal)


def test_where_answers_are_not_kept_the_end_is_neither(table: Table) -> None:
    orphan = Orphan(table, store_answers=False)
    frames = end(orphan.sessions, orphan.claim(), orphan.new, INTERRUPTED, NOW)
    assert [type(sealed.frame) for sealed in frames] == [Start, Error]
    assert orphan.stored() == []
    assert orphan.session.status == "failed"


def test_a_session_that_somebody_else_has_by_now_is_left_to_them(table: Table) -> None:
    orphan = Orphan(table)
    lost = orphan.claim()
    theirs = orphan.claim(NOW + LEASE_SECONDS + 1, worker="another")
    with pytest.raises(LeaseLost):
        end(orphan.sessions, lost, orphan.new, INTERRUPTED, NOW)
    assert (orphan.session.status, orphan.session.attempt) == ("running", theirs.attempt)
    assert orphan.stored(theirs.attempt) == []


def test_a_session_is_ended_once(table: Table) -> None:
    orphan = Orphan(table)
    claim = orphan.claim()
    frames = end(orphan.sessions, claim, orphan.new, INTERRUPTED, NOW)
    with pytest.raises(LeaseLost):
        end(orphan.sessions, claim, orphan.new, ModelError("Another."), NOW + 1)
    assert orphan.session.terminal == frames[-1]


def test_the_end_is_not_told_while_it_is_not_written(table: Table) -> None:
    orphan = Orphan(table)
    claim = orphan.claim()
    table.unreachable = True
    with pytest.raises(SessionsUnavailable):
        end(orphan.sessions, claim, orphan.new, INTERRUPTED, NOW)
    table.unreachable = False
    assert orphan.session.terminal is None
    # Another try ends it as the first would have.
    frames = end(orphan.sessions, claim, orphan.new, INTERRUPTED, NOW)
    assert [*orphan.stored(), orphan.session.terminal] == frames


def test_all_frames_are_stored_before_the_session_has_ended(table: Table) -> None:
    """Whoever reads the end in the record takes the rest to be there."""
    orphan = Orphan(table)
    claim = orphan.claim()
    table.calls.clear()
    end(orphan.sessions, claim, orphan.new, INTERRUPTED, NOW)
    assert [operation for operation, _ in table.calls] == ["put_item", "update_item"]
