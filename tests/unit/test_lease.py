from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.fakes.frames import MODEL, Attempt
from tests.fakes.observed import PATIENCE_SECONDS
from tests.fakes.table import TABLE, Table, sessions_table
from tokenstream.errors import ErrorCode
from tokenstream.frames import BEGINNING, Position, Sealed
from tokenstream.lease import MAX_BATCH_BYTES, RENEW_SECONDS, Lease, Verdict
from tokenstream.session import LEASE_SECONDS, Claim, NewSession, Recipient
from tokenstream.sessions import Sessions

OWNER = "user"
FIRST = Recipient("connection-0", BEGINNING, "ticket-0")
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


class Moving(Held):
    """A lease on a session of the WebSocket path, whose client can come back on another connection."""

    def __init__(self, table: Table, *, attempt: int = 1) -> None:
        super().__init__(table)
        new = NewSession(str(uuid4()), OWNER, "websocket", "direct", MODEL, b"{}")
        self.sessions.accept(new, FIRST, self.clock(), begin_within=90)
        for _ in range(attempt):
            self.claim = self.sessions.claim(new.session_id, "worker-1", self.clock())
            if self.claim.attempt < attempt:
                self.sessions.release(self.claim, None, self.clock())
        self.lease = Lease(self.sessions, self.claim, self.clock)
        self.frames = Attempt(new.session_id, attempt)
        self.comings = 0
        table.calls.clear()

    def comes_back(self, after: Position = BEGINNING, connection_id: str = "") -> Recipient:
        """Let the client resume, on a new connection unless one is named."""
        self.comings += 1
        recipient = Recipient(connection_id or f"connection-{self.comings}", after, f"ticket-{self.comings}")
        assert self.sessions.redirect(self.claim.session_id, OWNER, recipient)
        return recipient


@pytest.fixture
def held(shared_table: Table) -> Iterator[Held]:
    held = Held(shared_table)
    yield held
    mend(shared_table)


@pytest.fixture
def moving(shared_table: Table) -> Iterator[Moving]:
    yield Moving(shared_table)
    mend(shared_table)


def mend(table: Table) -> None:
    table.unreachable = False
    table.before = lambda operation: None


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
    assert held.lease.release(ErrorCode.THROTTLED) is True
    session = held.sessions.get(held.claim.session_id, OWNER)
    assert (session.status, session.failure) == ("recovering", ErrorCode.THROTTLED)
    assert session.lease_until > held.clock() + LEASE_SECONDS
    assert held.sessions.claim(held.claim.session_id, "worker-2", held.clock()).attempt == 2


def test_releasing_what_is_lost_or_out_of_reach_breaks_nothing_and_is_told(held: Held) -> None:
    theirs = held.overtaken()
    assert held.lease.release(None) is False
    session = held.sessions.get(held.claim.session_id, OWNER)
    assert (session.status, session.attempt) == ("running", theirs.attempt)
    held.table.unreachable = True
    assert held.lease.release(None) is False


# A client that comes back on another connection


@pytest.mark.parametrize("passed", [1, RENEW_SECONDS], ids=["while looking", "while renewing"])
def test_a_client_that_comes_back_elsewhere_is_noticed_until_it_is_served(moving: Moving, passed: float) -> None:
    assert moving.lease.look() is Verdict.GO_ON
    recipient = moving.comes_back()
    moving.clock.advance(passed)
    assert moving.lease.look() is Verdict.MOVED
    assert moving.lease.look() is Verdict.MOVED
    assert moving.lease.missed() == (recipient, [])
    assert moving.lease.look() is Verdict.GO_ON


def test_where_the_client_has_stayed_nothing_is_missed_and_nothing_read(moving: Moving, held: Held) -> None:
    for lease in (moving.lease, held.lease):
        assert lease.look() is Verdict.GO_ON
        held.table.calls.clear()
        assert lease.missed() is None
        assert held.table.calls == []


def test_a_client_that_had_moved_before_the_worker_came_is_where_it_begins(shared_table: Table) -> None:
    moving = Moving(shared_table)
    moving.sessions.release(moving.claim, None, moving.clock())
    recipient = moving.comes_back(Position(1, 3))
    claim = moving.sessions.claim(moving.claim.session_id, "worker-2", moving.clock())
    assert claim.instructions.recipient == recipient
    lease = Lease(moving.sessions, claim, moving.clock)
    assert lease.look() is Verdict.GO_ON
    assert lease.missed() is None


def test_a_client_gets_what_it_lacks_from_wherever_it_stands_stored_or_not(moving: Moving) -> None:
    frames = [moving.frames.start(), *map(moving.frames.token, "abcdefg")]
    for size, stored in ((3, True), (2, True), (3, False)):
        kept = [frames.pop(0) for _ in range(size)]
        moving.lease.keep(kept)
        if stored:
            moving.lease.look()
        frames += kept
    assert moving.stored() == frames[:5]
    for sequence in range(len(frames) + 3):
        recipient = moving.comes_back(Position(1, sequence))
        assert moving.lease.look() is Verdict.MOVED
        assert moving.lease.missed() == (recipient, frames[sequence:])


def test_frames_that_are_kept_and_not_yet_stored_are_not_missed_by_the_client(moving: Moving) -> None:
    frames = moving.frames.answer("a", "b")[:-1]
    recipient = moving.comes_back()
    assert moving.lease.look() is Verdict.MOVED
    moving.lease.keep(frames)
    assert moving.lease.missed() == (recipient, frames)
    assert moving.stored() == frames
    moving.lease.look()
    assert len(moving.batches()) == 1


@pytest.mark.parametrize("after", [BEGINNING, Position(1, 9), Position(2, 0)])
def test_a_client_of_an_earlier_attempt_gets_all_of_this_one_and_nothing_of_that(
    shared_table: Table, after: Position
) -> None:
    moving = Moving(shared_table, attempt=2)
    earlier = Attempt(moving.claim.session_id, 1)
    moving.sessions.store(moving.claim, [earlier.start(), *map(earlier.token, "abcdefghijk")], moving.clock())
    frames = moving.frames.answer("x", "y")[:-1]
    moving.lease.keep(frames)
    recipient = moving.comes_back(after)
    moving.lease.look()
    assert moving.lease.missed() == (recipient, frames)


def test_a_client_that_claims_to_be_ahead_gets_nothing_twice(moving: Moving) -> None:
    moving.lease.keep(moving.frames.answer("a", "b")[:-1])
    recipient = moving.comes_back(Position(9, 1))
    moving.lease.look()
    assert moving.lease.missed() == (recipient, [])


def test_a_client_that_asks_again_on_its_connection_is_served_again(moving: Moving) -> None:
    """It has found a gap."""
    frames = moving.frames.answer("a", "b")[:-1]
    moving.lease.keep(frames)
    for after in (Position(1, 1), Position(1, 1), BEGINNING):
        recipient = moving.comes_back(after, "connection-0")
        assert moving.lease.look() is Verdict.MOVED
        assert moving.lease.missed() == (recipient, frames[after.sequence :])
        assert moving.lease.look() is Verdict.GO_ON


def test_a_long_answer_is_given_whole_page_by_page(moving: Moving) -> None:
    frames = [moving.frames.token("x" * 60_000) for _ in range(40)]
    moving.lease.keep(frames)
    recipient = moving.comes_back()
    moving.lease.look()
    moving.table.calls.clear()
    assert moving.lease.missed() == (recipient, frames)
    assert len(moving.table.called("query")) > 4, "one page holds it all: not what is to be shown"


@pytest.mark.parametrize("failing", ["put_item", "query"], ids=["storing", "reading"])
def test_a_client_that_could_not_be_served_for_an_outage_is_served_behind_it(moving: Moving, failing: str) -> None:
    frames = moving.frames.answer("a", "b")[:-1]
    recipient = moving.comes_back()
    assert moving.lease.look() is Verdict.MOVED
    moving.lease.keep(frames)

    def fail(operation: str) -> None:
        moving.table.unreachable = operation == failing

    moving.table.before = fail
    assert moving.lease.missed() is None
    mend(moving.table)
    # No second thought of the client's is needed.
    assert moving.lease.look() is Verdict.MOVED
    assert moving.lease.missed() == (recipient, frames)


def test_a_client_that_moves_on_while_it_is_served_is_served_where_it_is(moving: Moving) -> None:
    frames = moving.frames.answer("a", "b")[:-1]
    moving.lease.keep(frames)
    first = moving.comes_back()
    moving.lease.look()
    seconds: list[Recipient] = []

    def move_on(operation: str) -> None:
        if operation == "query" and not seconds:
            seconds.append(moving.comes_back(Position(1, 2)))
            moving.lease.look()

    moving.table.before = move_on
    assert moving.lease.missed() == (first, frames)
    # What the look has said in the meantime still holds.
    assert moving.lease.missed() == (seconds[0], frames[2:])
    assert moving.lease.look() is Verdict.GO_ON


def test_frames_that_another_thread_is_storing_are_waited_for(moving: Moving) -> None:
    """Read before they are there, they would be a gap that nobody mends."""
    frames = moving.frames.answer("a", "b", "c")[:-1]
    moving.lease.keep(frames[:2])
    recipient = moving.comes_back()
    moving.lease.look()
    moving.lease.keep(frames[2:])
    storing, go_on = Event(), Event()

    def hold(operation: str) -> None:
        if operation == "put_item":
            storing.set()
            assert go_on.wait(PATIENCE_SECONDS)

    moving.table.before = hold
    with ThreadPoolExecutor(2) as pool:
        looking = pool.submit(moving.lease.look)
        assert storing.wait(PATIENCE_SECONDS)
        missed = pool.submit(moving.lease.missed)
        go_on.set()
        assert missed.result(PATIENCE_SECONDS) == (recipient, frames)
        looking.result(PATIENCE_SECONDS)
    assert moving.stored() == frames
    assert len(moving.batches()) == 2


def test_a_cancel_does_not_hide_where_the_client_is_by_now(moving: Moving) -> None:
    """Its end has to reach the one who asked for it."""
    moving.lease.keep([moving.frames.start()])
    recipient = moving.comes_back(Position(1, 1))
    moving.sessions.request_cancel(moving.claim.session_id, OWNER)
    assert moving.lease.look() is Verdict.CANCEL
    assert moving.lease.settle("cancelled", moving.frames.complete())
    assert moving.lease.missed() == (recipient, [])


def test_a_client_that_comes_back_at_the_very_end_is_found_by_the_last_write(moving: Moving) -> None:
    *frames, terminal = moving.frames.answer("a", "b")
    moving.lease.keep(frames)
    assert moving.lease.look() is Verdict.GO_ON
    recipient = moving.comes_back(Position(1, 1))
    assert moving.lease.settle("complete", terminal)
    assert moving.lease.missed() == (recipient, frames[1:])


# What whoever delivers in the worker's place says: that frames have to wait


@pytest.mark.parametrize("passed", [1, RENEW_SECONDS], ids=["while looking", "while renewing"])
def test_a_worker_hears_that_its_frames_have_to_wait(moving: Moving, passed: float) -> None:
    assert moving.lease.behind is False
    moving.sessions.fallen_behind(moving.claim.session_id)
    moving.clock.advance(passed)
    assert moving.lease.look() is Verdict.GO_ON
    assert moving.lease.behind is True
    # A client that comes back changes nothing of it.
    moving.comes_back()
    assert moving.lease.look() is Verdict.MOVED
    assert moving.lease.behind is True


def test_the_next_worker_knows_that_frames_have_to_wait_before_its_first_one(moving: Moving) -> None:
    moving.sessions.fallen_behind(moving.claim.session_id)
    moving.sessions.release(moving.claim, None, moving.clock())
    claim = moving.sessions.claim(moving.claim.session_id, "worker-2", moving.clock())
    assert Lease(moving.sessions, claim, moving.clock).behind is True


# And that a client is gone


@pytest.mark.parametrize("passed", [1, RENEW_SECONDS], ids=["while looking", "while renewing"])
def test_a_worker_hears_that_its_client_is_gone_and_that_it_has_come_back(moving: Moving, passed: float) -> None:
    assert moving.lease.client_gone is False
    moving.sessions.client_gone(moving.claim.session_id, FIRST)
    moving.clock.advance(passed)
    assert moving.lease.look() is Verdict.GO_ON
    assert moving.lease.client_gone is True
    moving.comes_back()
    moving.clock.advance(passed)
    assert moving.lease.look() is Verdict.MOVED
    assert moving.lease.client_gone is False


def test_the_next_worker_begins_with_what_is_known_of_its_client(moving: Moving) -> None:
    moving.sessions.client_gone(moving.claim.session_id, FIRST)
    moving.sessions.release(moving.claim, None, moving.clock())
    claim = moving.sessions.claim(moving.claim.session_id, "worker-2", moving.clock())
    assert Lease(moving.sessions, claim, moving.clock).client_gone is True


def test_a_client_that_comes_back_at_the_very_end_does_not_count_as_gone_any_more(moving: Moving) -> None:
    """The terminal frame is sent behind the last write: it would be withheld from the one who waits for it."""
    moving.sessions.client_gone(moving.claim.session_id, FIRST)
    moving.lease.look()
    moving.comes_back()
    assert moving.lease.settle("complete", moving.frames.complete())
    assert moving.lease.client_gone is False


def test_an_end_that_was_not_written_moves_nobody(moving: Moving) -> None:
    moving.comes_back()
    moving.table.unreachable = True
    assert moving.lease.settle("complete", moving.frames.complete())
    assert moving.lease.missed() is None


@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["keep", "keep", "look", "look", "come back", "outage", "mend"]), st.integers(0, 3)),
        max_size=20,
    )
)
@settings(max_examples=25)
def test_wherever_and_whenever_a_client_comes_back_it_gets_the_answer_without_a_gap(
    shared_table: Table, acts: list[tuple[str, int]]
) -> None:
    moving = Moving(shared_table)
    connections: dict[str, list[Sealed]] = {"connection-0": []}
    standing: dict[str, int] = {"connection-0": 0}
    serving = newest = "connection-0"
    answer: list[Sealed] = []

    def rejoin() -> None:
        nonlocal serving
        if (missed := moving.lease.missed()) is not None:
            serving = missed[0].connection_id
            connections[serving] += missed[1]

    try:
        for act, number in acts:
            match act:
                case "keep":
                    frames = [moving.frames.token("x") for _ in range(number)]
                    answer += frames
                    moving.lease.keep(frames)
                    connections[serving] += frames
                case "look":
                    if moving.lease.look() is Verdict.MOVED:
                        rejoin()
                case "come back" if not moving.table.unreachable:
                    # It says at most what it has got.
                    had = connections[newest][-1].frame.sequence if connections[newest] else standing[newest]
                    newest = moving.comes_back(Position(1, max(had - number, 0))).connection_id
                    connections[newest], standing[newest] = [], max(had - number, 0)
                case "outage" | "mend":
                    moving.table.unreachable = act == "outage"
    finally:
        mend(moving.table)
    answer.append(moving.frames.complete())
    assert moving.lease.settle("complete", answer[-1])
    rejoin()
    connections[serving].append(answer[-1])
    assert serving == newest
    assert connections[newest] == answer[standing[newest] :]
    assert moving.stored() == answer[:-1]
