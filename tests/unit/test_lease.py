from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.frames import MODEL, Attempt
from tests.fakes.table import TABLE, Table, sessions_table
from tokenstream.frames import Sealed
from tokenstream.lease import MAX_BATCH_BYTES, RENEW_SECONDS, Lease, Verdict
from tokenstream.session import LEASE_SECONDS, Claim, NewSession
from tokenstream.sessions import Sessions

OWNER = "user"
DYNAMODB_ITEM_BYTES = 400 * 1024


@pytest.fixture(scope="module")
def shared_table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


class Held:
    """A lease on a session of its own, and the table behind it."""

    def __init__(self, table: Table, *, store_answers: bool = True) -> None:
        self.table = table
        self.clock = FakeClock(1_763_668_800.0)
        self.sessions = Sessions(table, TABLE, ttl=3600, store_answers=store_answers)
        new = NewSession(str(uuid4()), OWNER, "url", "direct", MODEL, b"{}")
        self.claim = self.sessions.begin(new, "worker-1", self.clock())
        self.lease = Lease(self.sessions, self.claim, self.clock)
        self.frames = Attempt(self.claim.session_id)
        table.calls.clear()

    @property
    def status(self) -> str:
        return self.sessions.get(self.claim.session_id, OWNER).status

    @property
    def lease_until(self) -> float:
        return self.sessions.get(self.claim.session_id, OWNER).lease_until

    def stored(self) -> list[Sealed]:
        return self.sessions.frames_after(self.claim.session_id, 1, 0)

    def overtaken(self) -> Claim:
        """Let another worker have the session, as if this one's clock had stood still."""
        return self.sessions.claim(self.claim.session_id, "worker-2", self.clock() + 10 * LEASE_SECONDS)

    def batches(self) -> list[list[str]]:
        """Return what was written as batches, the failed tries included."""
        return [[frame["S"] for frame in put["Item"]["frames"]["L"]] for put in self.table.called("put_item")]


@pytest.fixture
def held(shared_table: Table) -> Iterator[Held]:
    held = Held(shared_table)
    yield held
    shared_table.unreachable = False


def texts(frames: list[Sealed]) -> list[str]:
    return [sealed.json.decode() for sealed in frames]


# The lease


def test_the_lease_is_renewed_when_that_is_due_and_not_at_every_look(held: Held) -> None:
    begun_at = held.clock()
    for _ in range(RENEW_SECONDS * 2 - 1):
        held.clock.advance(0.5)
        assert held.lease.look() is Verdict.GO_ON
    assert held.table.called("update_item") == []
    held.clock.advance(0.5)
    assert held.lease.look() is Verdict.GO_ON
    assert held.lease_until == begun_at + RENEW_SECONDS + LEASE_SECONDS
    held.clock.advance(0.5)
    held.lease.look()
    assert len(held.table.called("update_item")) == 1


def test_a_worker_that_looks_twice_a_second_is_never_overtaken(held: Held) -> None:
    for _ in range(4 * LEASE_SECONDS):
        held.clock.advance(0.5)
        assert held.lease.look() is Verdict.GO_ON
        assert held.lease_until > held.clock() + LEASE_SECONDS - RENEW_SECONDS - 1


@pytest.mark.parametrize("passed", [1, RENEW_SECONDS], ids=["while looking", "while renewing"])
def test_a_cancel_is_seen(held: Held, passed: float) -> None:
    held.sessions.request_cancel(held.claim.session_id, OWNER)
    held.clock.advance(passed)
    assert held.lease.look() is Verdict.CANCEL


@pytest.mark.parametrize("passed", [1, RENEW_SECONDS], ids=["while looking", "while renewing"])
def test_a_worker_that_was_overtaken_hears_of_it(held: Held, passed: float) -> None:
    held.overtaken()
    held.clock.advance(passed)
    assert held.lease.look() is Verdict.LOST


def test_a_lost_lease_counts_more_than_a_cancel(held: Held) -> None:
    held.sessions.request_cancel(held.claim.session_id, OWNER)
    held.overtaken()
    assert held.lease.look() is Verdict.LOST


def test_a_table_outage_is_borne_until_the_lease_is_over(held: Held) -> None:
    held.table.unreachable = True
    held.clock.advance(LEASE_SECONDS - 0.5)
    assert held.lease.look() is Verdict.GO_ON
    held.clock.advance(0.5)
    assert held.lease.look() is Verdict.LOST


def test_an_outage_is_borne_as_long_as_the_last_renewal_lasts(held: Held) -> None:
    held.clock.advance(RENEW_SECONDS)
    held.lease.look()
    held.table.unreachable = True
    held.clock.advance(LEASE_SECONDS - 0.5)
    assert held.lease.look() is Verdict.GO_ON
    held.clock.advance(0.5)
    assert held.lease.look() is Verdict.LOST


def test_a_lease_that_fell_due_in_an_outage_is_renewed_right_behind_it(held: Held) -> None:
    held.table.unreachable = True
    held.clock.advance(RENEW_SECONDS + 5)
    held.lease.look()
    held.table.unreachable = False
    held.clock.advance(0.5)
    assert held.lease.look() is Verdict.GO_ON
    assert held.lease_until == held.clock() + LEASE_SECONDS


# Frames


def test_frames_are_stored_with_the_next_look_and_not_before(held: Held) -> None:
    frames = held.frames.answer("a", "b")[:-1]
    held.lease.keep(frames[:2])
    held.lease.keep(frames[2:])
    assert held.table.calls == []
    held.lease.look()
    assert held.stored() == frames
    assert held.batches() == [texts(frames)]
    held.lease.look()
    assert len(held.batches()) == 1


def test_a_batch_that_could_not_be_stored_is_repeated_to_the_byte_and_nothing_overtakes_it(held: Held) -> None:
    first = [held.frames.start(), held.frames.token("a")]
    second = [held.frames.token("b"), held.frames.token("c")]
    held.lease.keep(first)
    held.table.unreachable = True
    assert held.lease.look() is Verdict.GO_ON
    held.lease.keep(second)
    assert held.lease.look() is Verdict.GO_ON
    held.table.unreachable = False
    held.lease.look()
    assert held.batches() == [texts(first), texts(first), texts(first), texts(second)]
    assert held.stored() == first + second


def test_a_write_that_arrived_though_its_answer_was_lost_stores_no_frame_twice(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [held.frames.start(), held.frames.token("a")], [held.frames.token("b")]
    held.lease.keep(first)
    with monkeypatch.context() as patch:
        store = held.sessions.store

        def store_and_lose_the_answer(*arguments: Any) -> None:
            store(*arguments)
            held.table.unreachable = True
            store(*arguments)

        patch.setattr(held.sessions, "store", store_and_lose_the_answer)
        held.lease.look()
    held.table.unreachable = False
    held.lease.keep(second)
    held.lease.look()
    assert held.stored() == first + second


def test_a_batch_stays_within_an_item_however_much_has_piled_up(held: Held) -> None:
    frames = [held.frames.token("\x00" * 10_000) for _ in range(20)]
    held.lease.keep(frames)
    held.lease.look()
    sizes = [sum(map(len, batch)) for batch in held.batches()]
    assert max(sizes) <= MAX_BATCH_BYTES < DYNAMODB_ITEM_BYTES
    assert len(sizes) == -(-sum(len(sealed.json) for sealed in frames) // MAX_BATCH_BYTES)
    received: list[Sealed] = []
    while page := held.sessions.frames_after(held.claim.session_id, 1, len(received)):
        received += page
    assert received == frames


def test_the_longest_frame_of_any_sink_is_stored_though_it_fills_a_batch(held: Held) -> None:
    frames = [held.frames.token("x" * 240_000), held.frames.token("y" * 240_000)]
    held.lease.keep(frames)
    held.lease.look()
    assert held.stored() == frames
    assert len(held.batches()) == 2


def test_nothing_is_stored_where_answers_are_not(shared_table: Table) -> None:
    held = Held(shared_table, store_answers=False)
    held.lease.keep([held.frames.start(), held.frames.token("a")])
    assert held.lease.look() is Verdict.GO_ON
    assert held.lease.settle("complete", held.frames.complete())
    assert held.batches() == []
    assert held.stored() == []
    assert held.status == "complete"


# The end


def test_what_waits_is_stored_before_the_session_ends(held: Held) -> None:
    *frames, terminal = held.frames.answer("a", "b")
    held.lease.keep(frames)
    assert held.lease.settle("complete", terminal) is True
    assert [operation for operation, _ in held.table.calls] == ["put_item", "update_item"]
    assert held.stored() == frames
    session = held.sessions.get(held.claim.session_id, OWNER)
    assert (session.status, session.terminal) == ("complete", terminal)


def test_a_session_that_another_worker_has_is_not_ended(held: Held) -> None:
    theirs = held.overtaken()
    assert held.lease.settle("complete", held.frames.complete()) is False
    session = held.sessions.get(held.claim.session_id, OWNER)
    assert (session.status, session.attempt, session.terminal) == ("running", theirs.attempt, None)


def test_the_client_gets_its_ending_while_the_table_is_out(held: Held) -> None:
    held.table.unreachable = True
    held.lease.keep([held.frames.start()])
    assert held.lease.settle("complete", held.frames.complete()) is True


def test_a_released_session_is_open_to_the_next_attempt(held: Held) -> None:
    held.lease.release()
    assert held.status == "recovering"
    assert held.sessions.claim(held.claim.session_id, "worker-2", held.clock()).attempt == 2


def test_releasing_what_is_lost_or_out_of_reach_breaks_nothing(held: Held) -> None:
    theirs = held.overtaken()
    held.lease.release()
    session = held.sessions.get(held.claim.session_id, OWNER)
    assert (session.status, session.attempt) == ("running", theirs.attempt)
    held.table.unreachable = True
    held.lease.release()
