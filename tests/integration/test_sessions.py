import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import botocore.session
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.frames import MODEL, Attempt
from tests.fakes.observed import PATIENCE_SECONDS
from tests.fakes.table import TABLE, Table, sessions_table, template_table
from tokenstream.errors import Conflict, ErrorCode, Internal, NotFound
from tokenstream.frames import BEGINNING, Path, Position, Sealed
from tokenstream.session import (
    LEASE_SECONDS,
    NEXT_ATTEMPT_SECONDS,
    NOTHING_WANTED,
    Claim,
    Instructions,
    NewSession,
    Recipient,
    Status,
)
from tokenstream.sessions import LAST_SEQUENCE, LeaseLost, Sessions, SessionsUnavailable

NOW = 1_763_668_800.25
TTL = 3600
BEGIN_SECONDS = 90
"""How long a worker may take to come."""
OWNER = "0f8a6c1e-user"
STRANGER = "someone-else"
REQUEST = '{"prompt": "Grüße 👋"}'.encode()


@pytest.fixture
def table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


@pytest.fixture
def sessions(table: Table) -> Sessions:
    return Sessions(table, TABLE, ttl=TTL, store_answers=True)


def new_session(session_id: str | None = None, path: Path = "url") -> NewSession:
    return NewSession(session_id or str(uuid4()), OWNER, path, "direct", MODEL, REQUEST)


def begun(sessions: Sessions, worker: str = "worker-1") -> Claim:
    return sessions.begin(new_session(), worker, NOW)


FIRST = Recipient("VqYb2cO1IAMCIhw=", BEGINNING, "ticket-1")
SECOND = Recipient("VqYb2cO1IAMCIhx=", Position(1, 17), "ticket-2")


def accepted(sessions: Sessions) -> str:
    """Create a session of the WebSocket path; gives its id."""
    new = new_session(path="websocket")
    sessions.accept(new, FIRST, NOW, begin_within=BEGIN_SECONDS)
    return new.session_id


def both(first: Callable[[], object], second: Callable[[], object]) -> list[object]:
    """Run two at once; what one of them raises is its result."""
    line = Barrier(2)

    def run(call: Callable[[], object]) -> object:
        line.wait(PATIENCE_SECONDS)
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, [first, second]))


# Beginning


def test_a_new_session_runs_under_its_first_attempts_lease(sessions: Sessions) -> None:
    new = new_session()
    claim = sessions.begin(new, "worker-1", NOW)
    assert claim == Claim(new.session_id, 1, "worker-1", NOW + LEASE_SECONDS)
    session = sessions.get(new.session_id, OWNER)
    assert (session.session_id, session.owner, session.attempt) == (new.session_id, OWNER, 1)
    assert (session.path, session.delivery, session.model) == ("url", "direct", MODEL)
    assert (session.status, session.lease_until) == ("running", NOW + LEASE_SECONDS)
    assert (session.cancel_requested, session.terminal, session.ended) == (False, None, False)


@pytest.mark.parametrize("owner", [OWNER, STRANGER])
def test_a_used_session_id_is_a_conflict_and_leaves_the_session_as_it_was(
    table: Table, sessions: Sessions, owner: str
) -> None:
    new = new_session()
    sessions.begin(new, "worker-1", NOW)
    before = table.items()
    again = NewSession(new.session_id, owner, "rest", "direct", "another", b"{}")
    with pytest.raises(Conflict) as raised:
        sessions.begin(again, "worker-2", NOW + 1)
    assert raised.value.field == "sessionId"
    assert table.items() == before


def test_of_two_that_begin_one_session_at_once_one_gets_it(sessions: Sessions) -> None:
    for _ in range(10):
        new = new_session()
        results = both(lambda: sessions.begin(new, "worker-1", NOW), lambda: sessions.begin(new, "worker-2", NOW))  # noqa: B023 - ended within the round
        assert sorted(type(result).__name__ for result in results) == ["Claim", "Conflict"]


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ([{"Code": "TransactionConflict"}, {"Code": "None"}], Conflict),
        ([{"Code": "None"}, {"Code": "ConditionalCheckFailed"}], Conflict),
        ([{"Code": "ThrottlingError"}, {"Code": "None"}], SessionsUnavailable),
    ],
)
def test_a_cancelled_write_is_a_conflict_only_where_somebody_else_has_the_id(
    reasons: list[dict[str, str]], expected: type[Exception]
) -> None:
    client = real_client()
    with Stubber(client) as stub:
        stub.add_client_error(
            "transact_write_items", "TransactionCanceledException", modeled_fields={"CancellationReasons": reasons}
        )
        with pytest.raises(expected):
            begun(Sessions(client, TABLE, ttl=TTL, store_answers=True))


# Accepting, for a worker to come


def test_a_session_that_was_accepted_waits_for_its_worker(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    session = sessions.get(session_id, OWNER)
    assert (session.status, session.attempt, session.path) == ("accepted", 0, "websocket")
    assert (session.recipient, session.cancel_requested, session.terminal) == (FIRST, False, None)
    assert not session.ended
    assert not session.orphaned(NOW + BEGIN_SECONDS)
    assert session.orphaned(NOW + BEGIN_SECONDS + 0.001)


def test_its_worker_learns_whom_the_answer_is_for(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW + 1)
    wanted = Instructions(cancel=False, recipient=FIRST)
    assert claim == Claim(session_id, 1, "worker-1", NOW + 1 + LEASE_SECONDS, wanted)
    assert sessions.get(session_id, OWNER).status == "running"


def test_an_event_that_is_delivered_twice_starts_one_worker(sessions: Sessions) -> None:
    """The second has the first one's name: an asynchronous invocation that is repeated keeps its id."""
    session_id = accepted(sessions)
    sessions.claim(session_id, "worker-1", NOW)
    for name in ("worker-1", "worker-2"):
        with pytest.raises(LeaseLost):
            sessions.claim(session_id, name, NOW + 0.001)


@pytest.mark.parametrize("name", ["worker-1", "worker-2"], ids=["same", "another"])
def test_of_two_events_at_once_one_starts_a_worker(sessions: Sessions, name: str) -> None:
    for _ in range(10):
        session_id = accepted(sessions)
        results = both(
            lambda: sessions.claim(session_id, "worker-1", NOW),  # noqa: B023 - ended within the round
            lambda: sessions.claim(session_id, name, NOW + 0.001),  # noqa: B023 - as above
        )
        assert sorted(type(result).__name__ for result in results) == ["Claim", "LeaseLost"]


def test_an_id_that_was_used_cannot_be_accepted_nor_an_accepted_one_begun(table: Table, sessions: Sessions) -> None:
    ids = [begun(sessions).session_id, accepted(sessions)]
    before = table.items()
    for session_id in ids:
        with pytest.raises(Conflict):
            sessions.accept(new_session(session_id, "websocket"), SECOND, NOW, begin_within=1)
        with pytest.raises(Conflict):
            sessions.begin(new_session(session_id), "worker-2", NOW)
    assert table.items() == before


def test_a_session_that_was_stopped_before_its_worker_came_says_so_to_it(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    assert sessions.request_cancel(session_id, OWNER) == "accepted"
    assert sessions.claim(session_id, "worker-1", NOW).instructions == Instructions(cancel=True, recipient=FIRST)


def test_an_http_session_has_no_recipient(sessions: Sessions) -> None:
    claim = begun(sessions)
    assert claim.instructions == NOTHING_WANTED
    assert sessions.instructions(claim) == NOTHING_WANTED
    assert sessions.get(claim.session_id, OWNER).recipient is None


# What is kept


def test_the_request_is_kept_for_another_attempt(table: Table, sessions: Sessions) -> None:
    new = new_session()
    sessions.begin(new, "worker-1", NOW)
    assert sessions.request(new.session_id) == REQUEST
    assert sessions.request(str(uuid4())) is None


def test_neither_request_nor_text_is_kept_where_answers_are_not(table: Table) -> None:
    sessions = Sessions(table, TABLE, ttl=TTL, store_answers=False)
    claim = begun(sessions)
    [record] = table.items()
    assert record["item"]["S"] == "session"
    assert "Grüße" not in str(record)
    assert sessions.request(claim.session_id) is None
    with pytest.raises(Conflict):
        sessions.begin(new_session(claim.session_id), "worker-2", NOW)


def test_every_item_expires_by_the_attribute_that_the_template_names(table: Table, sessions: Sessions) -> None:
    claim = begun(sessions)
    answer = Attempt(claim.session_id).answer("Hello")
    sessions.store(claim, answer[:-1], NOW + 10)
    sessions.renew(claim, NOW + 10)
    sessions.settle(claim, "complete", answer[-1])
    attribute = template_table()["TimeToLiveSpecification"]["AttributeName"]
    expiry = {item["item"]["S"].partition("#")[0]: item[attribute] for item in table.items()}
    assert expiry == {
        "session": {"N": str(int(NOW) + TTL)},
        "request": {"N": str(int(NOW) + TTL)},
        "frames": {"N": str(int(NOW) + 10 + TTL)},
    }


def test_the_record_that_is_read_twice_a_second_stays_under_a_kilobyte(table: Table, sessions: Sessions) -> None:
    profile = "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/" + "a" * 64
    new = NewSession(str(uuid4()), str(uuid4()), "websocket", "queued", profile, REQUEST * 100)
    sessions.accept(new, Recipient("VqYb2cO1IAMCIhw=" * 2, BEGINNING, str(uuid4())), NOW, begin_within=BEGIN_SECONDS)
    claim = sessions.claim(new.session_id, str(uuid4()), NOW)
    furthest = Recipient("VqYb2cO1IAMCIhw=" * 2, Position(999_999, LAST_SEQUENCE), str(uuid4()))
    sessions.redirect(new.session_id, new.owner, furthest)
    sessions.client_gone(new.session_id, furthest)
    sessions.fallen_behind(new.session_id)
    sessions.request_cancel(new.session_id, new.owner)
    sessions.release(claim, ErrorCode.INVALID_REQUEST, NOW)
    assert size({"M": table.record(new.session_id)}) < 1024
    claim = sessions.claim(new.session_id, str(uuid4()), NOW)
    failed = Attempt(new.session_id).error(Internal())
    sessions.settle(claim, "failed", failed)
    assert size({"M": table.record(new.session_id)}) < 1024


def size(value: dict[str, Any]) -> int:
    """Count a value's bytes as DynamoDB does (developer guide, "DynamoDB item sizes and formats")."""
    match value:
        case {"S": text}:
            return len(text.encode())
        case {"N": digits}:
            return len(digits) // 2 + 2
        case {"BOOL": _}:
            return 1
        case {"M": values}:
            return 3 + sum(len(name) + size(each) + 1 for name, each in values.items())
    raise AssertionError(f"no value of a record's: {value}")


# Holding an attempt


def test_an_attempt_that_is_held_cannot_be_claimed(sessions: Sessions) -> None:
    claim = begun(sessions)
    for now in (NOW, NOW + LEASE_SECONDS):
        with pytest.raises(LeaseLost):
            sessions.claim(claim.session_id, "worker-2", now)


def test_an_attempt_whose_worker_is_gone_is_claimed_as_the_next_one(sessions: Sessions) -> None:
    lost = begun(sessions)
    claim = sessions.claim(lost.session_id, "worker-2", NOW + LEASE_SECONDS + 1)
    assert claim == Claim(lost.session_id, 2, "worker-2", NOW + 2 * LEASE_SECONDS + 1)
    assert sessions.get(lost.session_id, OWNER).lease_until == claim.lease_until
    assert sessions.instructions(claim).cancel is False


def test_of_two_that_claim_a_session_at_once_one_gets_it(sessions: Sessions) -> None:
    for _ in range(10):
        lost = begun(sessions)
        later = NOW + LEASE_SECONDS + 1
        results = both(
            lambda: sessions.claim(lost.session_id, "worker-2", later),  # noqa: B023 - ended within the round
            lambda: sessions.claim(lost.session_id, "worker-3", later),  # noqa: B023 - as above
        )
        assert sorted(type(result).__name__ for result in results) == ["Claim", "LeaseLost"]
        assert sessions.get(lost.session_id, OWNER).attempt == 2


def test_a_renewed_lease_keeps_others_off(sessions: Sessions) -> None:
    claim = begun(sessions)
    assert sessions.renew(claim, NOW + 20).cancel is False
    with pytest.raises(LeaseLost):
        sessions.claim(claim.session_id, "worker-2", NOW + 20 + LEASE_SECONDS)
    assert sessions.claim(claim.session_id, "worker-2", NOW + 21 + LEASE_SECONDS).attempt == 2


def test_a_session_that_was_released_is_claimed_at_once(sessions: Sessions) -> None:
    first = begun(sessions)
    sessions.release(first, ErrorCode.THROTTLED, NOW + 1)
    session = sessions.get(first.session_id, OWNER)
    assert (session.status, session.failure) == ("recovering", ErrorCode.THROTTLED)
    second = sessions.claim(first.session_id, "worker-2", NOW + 1)
    assert (second.attempt, sessions.get(first.session_id, OWNER).status) == (2, "running")


def test_a_worker_that_is_known_to_have_failed_is_not_waited_for(sessions: Sessions) -> None:
    failed = begun(sessions)
    sessions.abandon(failed.session_id, "worker-1", NOW + 1)
    assert sessions.get(failed.session_id, OWNER).status == "recovering"
    with pytest.raises(LeaseLost):
        sessions.renew(failed, NOW + 2)
    claim = sessions.claim(failed.session_id, "worker-2", NOW + 2)
    assert (claim.attempt, claim.worker) == (2, "worker-2")


@pytest.mark.parametrize("failed_worker", ["another", ""])
def test_the_failure_of_one_worker_takes_nothing_from_another(
    table: Table, sessions: Sessions, failed_worker: str
) -> None:
    claim = begun(sessions)
    before = table.record(claim.session_id)
    sessions.abandon(claim.session_id, failed_worker, NOW + 1)
    assert table.record(claim.session_id) == before
    assert sessions.renew(claim, NOW + 2) == NOTHING_WANTED


def test_a_session_that_is_no_failed_workers_any_more_stays_as_it_is(table: Table, sessions: Sessions) -> None:
    """The news of a failure may come twice, and late."""
    ended, released = begun(sessions), begun(sessions)
    sessions.settle(ended, "complete", Attempt(ended.session_id).complete())
    sessions.release(released, ErrorCode.THROTTLED, NOW)
    waiting = accepted(sessions)
    before = table.items()
    for session_id in (ended.session_id, released.session_id, waiting, str(uuid4())):
        sessions.abandon(session_id, "worker-1", NOW + 50)
    assert table.items() == before


def test_a_session_between_attempts_has_time_before_it_counts_as_forgotten(sessions: Sessions) -> None:
    released, abandoned = begun(sessions), begun(sessions)
    sessions.release(released, None, NOW)
    sessions.abandon(abandoned.session_id, abandoned.worker, NOW)
    for claim in (released, abandoned):
        session = sessions.get(claim.session_id, OWNER)
        assert not session.orphaned(NOW + NEXT_ATTEMPT_SECONDS)
        assert session.orphaned(NOW + NEXT_ATTEMPT_SECONDS + 0.001)


def test_a_session_says_why_its_last_attempt_was_given_up_and_not_an_earlier_one(sessions: Sessions) -> None:
    claim = begun(sessions)

    def failure() -> ErrorCode | None:
        return sessions.get(claim.session_id, OWNER).failure

    assert failure() is None
    sessions.release(claim, ErrorCode.THROTTLED, NOW)
    claim = sessions.claim(claim.session_id, "worker-2", NOW)
    assert failure() is None
    sessions.release(claim, ErrorCode.MODEL_TIMEOUT, NOW)
    assert failure() is ErrorCode.MODEL_TIMEOUT
    # The next one breaks off without a word, and nobody looks after it.
    claim = sessions.claim(claim.session_id, "worker-3", NOW)
    sessions.abandon(claim.session_id, "worker-3", NOW)
    assert failure() is None


def test_a_session_that_does_not_exist_is_not_made_by_claiming_it(table: Table, sessions: Sessions) -> None:
    with pytest.raises(LeaseLost):
        sessions.claim(str(uuid4()), "worker-1", NOW)
    assert table.items() == []


def writes(sessions: Sessions, claim: Claim) -> list[Callable[[], object]]:
    """Return everything that only the attempt's worker may do."""
    another_terminal = Attempt(claim.session_id, claim.attempt + 1).complete()
    return [
        lambda: sessions.renew(claim, NOW + 100),
        lambda: sessions.instructions(claim),
        lambda: sessions.release(claim, ErrorCode.THROTTLED, NOW),
        lambda: sessions.settle(claim, "complete", another_terminal),
    ]


@pytest.mark.parametrize("next_worker", ["worker-2", "worker-1"], ids=["another", "of the same name"])
def test_a_worker_that_was_overtaken_changes_nothing_any_more(
    table: Table, sessions: Sessions, next_worker: str
) -> None:
    """A retried invocation has the name of the first."""
    overtaken = begun(sessions, "worker-1")
    sessions.claim(overtaken.session_id, next_worker, NOW + LEASE_SECONDS + 1)
    before = table.record(overtaken.session_id)
    for write in writes(sessions, overtaken):
        with pytest.raises(LeaseLost):
            write()
    assert table.record(overtaken.session_id) == before


def test_a_write_that_is_repeated_because_its_answer_was_lost_succeeds(table: Table, sessions: Sessions) -> None:
    first = begun(sessions, "worker-1")
    later = NOW + LEASE_SECONDS + 1
    claim = sessions.claim(first.session_id, "worker-2", later)
    again = sessions.claim(first.session_id, "worker-2", later)
    assert again.attempt > claim.attempt
    terminal = Attempt(again.session_id, again.attempt).complete()
    sessions.settle(again, "complete", terminal)
    before = table.record(again.session_id)
    sessions.settle(again, "complete", terminal)
    assert table.record(again.session_id) == before
    with pytest.raises(LeaseLost):
        sessions.claim(again.session_id, "worker-2", later)


@pytest.mark.parametrize("status", ["complete", "failed", "cancelled"])
def test_a_session_ends_once(table: Table, sessions: Sessions, status: Status) -> None:
    claim = begun(sessions)
    terminal = Attempt(claim.session_id).complete()
    sessions.settle(claim, status, terminal)
    session = sessions.get(claim.session_id, OWNER)
    assert (session.status, session.terminal, session.ended) == (status, terminal, True)
    before = table.record(claim.session_id)
    for write in writes(sessions, claim):
        with pytest.raises(LeaseLost):
            write()
    with pytest.raises(LeaseLost):
        sessions.claim(claim.session_id, "worker-2", NOW + 10 * LEASE_SECONDS)
    assert table.record(claim.session_id) == before


def test_a_worker_is_missed_once_its_lease_is_over_and_not_behind_the_end(sessions: Sessions) -> None:
    claim = begun(sessions)
    session = sessions.get(claim.session_id, OWNER)
    assert not session.orphaned(NOW + LEASE_SECONDS)
    assert session.orphaned(NOW + LEASE_SECONDS + 0.001)
    sessions.settle(claim, "complete", Attempt(claim.session_id).complete())
    assert not sessions.get(claim.session_id, OWNER).orphaned(NOW + 10 * LEASE_SECONDS)


# Cancelling, and whose session it is


def test_a_cancel_reaches_the_worker_by_either_way_it_looks(sessions: Sessions) -> None:
    claim = begun(sessions)
    assert sessions.instructions(claim).cancel is False
    assert sessions.request_cancel(claim.session_id, OWNER) == "running"
    assert sessions.instructions(claim).cancel is True
    assert sessions.renew(claim, NOW + 10).cancel is True
    assert sessions.get(claim.session_id, OWNER).cancel_requested


def test_a_cancel_outlives_the_worker_that_it_was_meant_for(sessions: Sessions) -> None:
    lost = begun(sessions)
    sessions.request_cancel(lost.session_id, OWNER)
    claim = sessions.claim(lost.session_id, "worker-2", NOW + LEASE_SECONDS + 1)
    assert sessions.instructions(claim).cancel is True


def test_a_cancel_after_the_end_tells_how_it_ended(sessions: Sessions) -> None:
    claim = begun(sessions)
    sessions.settle(claim, "complete", Attempt(claim.session_id).complete())
    assert sessions.request_cancel(claim.session_id, OWNER) == "complete"


def test_another_users_session_looks_exactly_like_one_that_does_not_exist(table: Table, sessions: Sessions) -> None:
    mine = accepted(sessions)
    before = table.items()
    told = []

    def redirect(session_id: str, owner: str) -> object:
        return sessions.redirect(session_id, owner, SECOND)

    for session_id in (mine, str(uuid4())):
        for call in (sessions.get, sessions.request_cancel, redirect):
            with pytest.raises(NotFound) as raised:
                call(session_id, STRANGER)
            told.append((raised.value.code, raised.value.message, raised.value.field, raised.value.retryable))
    assert len(set(told)) == 1
    assert table.items() == before


# A client that is gone


def test_a_worker_learns_by_each_way_it_looks_that_its_client_is_gone(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    sessions.client_gone(session_id, FIRST)
    gone = Instructions(cancel=False, recipient=FIRST, gone=True)
    claim = sessions.claim(session_id, "worker-1", NOW)
    assert claim.instructions == gone
    assert sessions.instructions(claim) == gone
    assert sessions.renew(claim, NOW + 10) == gone
    assert sessions.settle(claim, "complete", Attempt(session_id).complete()) == gone


def test_a_client_that_has_come_back_is_not_taken_for_the_one_that_was_gone(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    sessions.client_gone(session_id, FIRST)
    sessions.redirect(session_id, OWNER, SECOND)
    assert sessions.instructions(claim) == Instructions(cancel=False, recipient=SECOND, gone=False)
    # The old connection is found closed once more, by a message that was still on its way.
    sessions.client_gone(session_id, FIRST)
    assert sessions.instructions(claim).gone is False
    # Nor does such a late word say that the new one is there.
    sessions.client_gone(session_id, SECOND)
    sessions.client_gone(session_id, FIRST)
    assert sessions.instructions(claim).gone is True


def test_a_client_that_asked_again_on_its_connection_is_not_gone_by_an_earlier_word(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    sessions.redirect(session_id, OWNER, FIRST._replace(ticket="ticket-2"))
    sessions.client_gone(session_id, FIRST)
    assert sessions.instructions(claim).gone is False


def test_nothing_is_noted_of_a_session_that_has_no_connection_or_does_not_exist(
    table: Table, sessions: Sessions
) -> None:
    claim = begun(sessions)
    before = table.items()
    for session_id in (claim.session_id, str(uuid4())):
        sessions.client_gone(session_id, FIRST)
    assert table.items() == before


# Queued frames that have to wait


def test_a_worker_learns_by_each_way_it_looks_that_its_frames_have_to_wait(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    assert (claim.instructions.behind, sessions.get(session_id, OWNER).behind) == (False, False)
    sessions.fallen_behind(session_id)
    behind = Instructions(cancel=False, recipient=FIRST, behind=True)
    assert sessions.instructions(claim) == behind
    assert sessions.renew(claim, NOW + 10) == behind
    assert sessions.get(session_id, OWNER).behind
    sessions.release(claim, None, NOW)
    claim = sessions.claim(session_id, "worker-2", NOW)
    assert claim.instructions == behind
    assert sessions.settle(claim, "complete", Attempt(session_id).complete()) == behind


def test_no_waiting_frame_is_noted_where_no_worker_would_hear_of_it(table: Table, sessions: Sessions) -> None:
    ended = sessions.claim(accepted(sessions), "worker-1", NOW)
    sessions.settle(ended, "complete", Attempt(ended.session_id).complete())
    to_begin, expired = accepted(sessions), str(uuid4())
    before = table.items()
    for session_id in (ended.session_id, to_begin, expired):
        sessions.fallen_behind(session_id)
    assert table.items() == before


# The sessions that are open

DAY = 86_400


def still_open(sessions: Sessions, before: float = NOW + DAY) -> set[str]:
    found = list(sessions.open_since(before))
    assert len(found) == len(set(found))
    return set(found)


def test_a_session_is_found_open_through_all_that_happens_to_it_up_to_its_end(sessions: Sessions) -> None:
    claims = [begun(sessions), sessions.claim(accepted(sessions), "worker-1", NOW)]
    waiting = accepted(sessions)
    ids = {claim.session_id for claim in claims}
    assert still_open(sessions) == ids | {waiting}
    for claim in claims:
        sessions.renew(claim, NOW + 10)
        sessions.release(claim, ErrorCode.THROTTLED, NOW + 11)
        assert still_open(sessions) == ids | {waiting}
        second = sessions.claim(claim.session_id, "worker-2", NOW + 12)
        sessions.store(second, [Attempt(claim.session_id, 2).start()], NOW + 12)
        sessions.abandon(claim.session_id, "worker-2", NOW + 13)
        sessions.request_cancel(claim.session_id, OWNER)
        assert still_open(sessions) == ids | {waiting}
        third = sessions.claim(claim.session_id, "worker-3", NOW + 14)
        sessions.settle(third, "failed", Attempt(claim.session_id, 3).error(Internal()))
        ids.remove(claim.session_id)
        assert still_open(sessions) == ids | {waiting}
    # Nothing that comes behind the end opens it again.
    for claim in claims:
        sessions.abandon(claim.session_id, "worker-3", NOW + 15)
        sessions.request_cancel(claim.session_id, OWNER)
        sessions.client_gone(claim.session_id, FIRST)
        sessions.redirect(claim.session_id, OWNER, SECOND)
    assert still_open(sessions) == {waiting}


def test_open_sessions_are_found_whatever_their_ids_begin_with(sessions: Sessions) -> None:
    ids = {f"{digit}{str(uuid4())[1:]}" for digit in "0123456789abcdef"}
    for session_id in ids:
        sessions.begin(new_session(session_id), "worker-1", NOW)
    assert still_open(sessions) == ids


def test_sessions_that_are_too_young_to_have_lost_their_worker_are_not_looked_at(sessions: Sessions) -> None:
    old, young = new_session("a" + str(uuid4())[1:]), new_session("a" + str(uuid4())[1:])
    # As text, the earlier time would be the later one.
    sessions.begin(old, "worker-1", 999_999_999.5)
    sessions.begin(young, "worker-2", NOW)
    assert still_open(sessions, NOW) == {old.session_id}
    assert still_open(sessions, NOW + 0.001) == {old.session_id, young.session_id}


def test_more_open_sessions_than_a_page_holds_are_all_found(
    table: Table, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {f"{digit}{str(uuid4())[1:]}" for digit in "aaaaabb"}
    for session_id in ids:
        sessions.begin(new_session(session_id), "worker-1", NOW)
    query = table._client.query
    monkeypatch.setattr(table._client, "query", lambda **parameters: query(Limit=2, **parameters))
    assert still_open(sessions) == ids
    assert sum("ExclusiveStartKey" in call for call in table.called("query")) >= 2


def test_renewing_a_lease_writes_nothing_that_the_index_of_the_open_ones_holds(
    table: Table, sessions: Sessions
) -> None:
    """Each such write would be paid twice, every ten seconds of every stream."""
    claim = begun(sessions)
    [index] = template_table()["GlobalSecondaryIndexes"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    held = {key["AttributeName"] for key in index["KeySchema"]}
    before = table.record(claim.session_id)
    assert held <= set(before)
    sessions.renew(claim, NOW + 10)
    after = table.record(claim.session_id)
    assert {name: after[name] for name in held} == {name: before[name] for name in held}


# Redirecting to another connection


def test_a_worker_learns_of_another_connection_by_each_way_it_looks(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    assert sessions.redirect(session_id, OWNER, SECOND) is True
    moved = Instructions(cancel=False, recipient=SECOND)
    assert sessions.instructions(claim) == moved
    assert sessions.renew(claim, NOW + 10) == moved
    assert sessions.get(session_id, OWNER).recipient == SECOND
    assert sessions.settle(claim, "complete", Attempt(session_id).complete()) == moved


def test_a_session_that_has_not_begun_or_is_between_attempts_is_redirected_too(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    assert sessions.redirect(session_id, OWNER, SECOND)
    claim = sessions.claim(session_id, "worker-1", NOW)
    assert claim.instructions.recipient == SECOND
    sessions.release(claim, None, NOW)
    assert sessions.redirect(session_id, OWNER, FIRST)
    assert sessions.claim(session_id, "worker-2", NOW).instructions.recipient == FIRST


def test_of_two_redirects_the_later_one_counts(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    sessions.redirect(session_id, OWNER, SECOND)
    again = SECOND._replace(ticket="ticket-3")
    sessions.redirect(session_id, OWNER, again)
    assert sessions.instructions(claim).recipient == again != SECOND


def test_a_redirect_keeps_a_cancel_and_a_cancel_a_redirect(sessions: Sessions) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    sessions.request_cancel(session_id, OWNER)
    sessions.redirect(session_id, OWNER, SECOND)
    sessions.request_cancel(session_id, OWNER)
    assert sessions.instructions(claim) == Instructions(cancel=True, recipient=SECOND)


@pytest.mark.parametrize("status", ["complete", "failed", "cancelled"])
def test_a_session_that_has_ended_has_nobody_who_would_send(table: Table, sessions: Sessions, status: Status) -> None:
    session_id = accepted(sessions)
    claim = sessions.claim(session_id, "worker-1", NOW)
    sessions.settle(claim, status, Attempt(session_id).complete())
    before = table.record(session_id)
    assert sessions.redirect(session_id, OWNER, SECOND) is False
    assert table.record(session_id) == before


def test_a_session_of_another_path_has_nobody_who_would_send(table: Table, sessions: Sessions) -> None:
    claim = begun(sessions)
    before = table.record(claim.session_id)
    assert sessions.redirect(claim.session_id, OWNER, SECOND) is False
    assert table.record(claim.session_id) == before


def test_a_redirect_and_the_end_at_once_leave_the_client_to_exactly_one(sessions: Sessions) -> None:
    """Either the worker learns of the new connection with its last write, or a replay has to serve it."""
    for _ in range(10):
        session_id = accepted(sessions)
        claim = sessions.claim(session_id, "worker-1", NOW)
        terminal = Attempt(session_id).complete()
        redirected, last_look = both(
            lambda: sessions.redirect(session_id, OWNER, SECOND),  # noqa: B023 - ended within the round
            lambda: sessions.settle(claim, "complete", terminal),  # noqa: B023 - as above
        )
        assert last_look == Instructions(cancel=False, recipient=SECOND if redirected else FIRST)


# Stored frames


def stored(sessions: Sessions, claim: Claim, sizes: list[int]) -> list[Sealed]:
    """Store an attempt's frames in batches of these sizes."""
    attempt = Attempt(claim.session_id, claim.attempt)
    frames = [attempt.start(), *(attempt.token(f"{number} ") for number in range(sum(sizes) - 1))]
    end = 0
    for size in sizes:
        begin, end = end, end + size
        sessions.store(claim, frames[begin:end], NOW)
    return frames


@given(first=st.lists(st.integers(1, 4), min_size=1, max_size=5), second=st.lists(st.integers(1, 4), max_size=4))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_client_gets_the_rest_from_wherever_it_stands(
    sessions: Sessions, first: list[int], second: list[int]
) -> None:
    claims = [begun(sessions)]  # each example has a session of its own
    claims.append(sessions.claim(claims[0].session_id, "worker-2", NOW + LEASE_SECONDS + 1))
    for claim, sizes in zip(claims, (first, second), strict=True):
        frames = stored(sessions, claim, sizes) if sizes else []
        for sequence in range(len(frames) + 3):
            assert sessions.frames_after(claim.session_id, claim.attempt, sequence) == frames[sequence:]


def test_a_client_gets_a_long_answer_in_pages_without_a_gap(sessions: Sessions) -> None:
    claim = begun(sessions)
    attempt = Attempt(claim.session_id)
    frames = [attempt.token("x" * 60_000) for _ in range(40)]
    for begin in range(0, len(frames), 4):
        sessions.store(claim, frames[begin : begin + 4], NOW)
    received: list[Sealed] = []
    rounds = 0
    while page := sessions.frames_after(claim.session_id, 1, len(received)):
        received += page
        rounds += 1
    assert received == frames
    assert rounds > 1, "one page holds it all: not what is to be shown"


def test_frames_that_are_stored_while_they_are_read_leave_no_gap(table: Table, sessions: Sessions) -> None:
    claim = begun(sessions)
    attempt = Attempt(claim.session_id)
    batches = [[attempt.token("a"), attempt.token("b")], [attempt.token("c")], [attempt.token("d")]]
    sessions.store(claim, batches.pop(0), NOW)
    reads = 0

    def store_between_the_reads(operation: str) -> None:
        nonlocal reads
        reads += operation == "query"
        if reads > 1:
            while batches:
                sessions.store(claim, batches.pop(0), NOW)

    table.before = store_between_the_reads
    received = [sealed.frame.sequence for sealed in sessions.frames_after(claim.session_id, 1, 2)]
    assert received == list(range(3, 3 + len(received)))


def test_a_batch_that_is_stored_again_replaces_itself(table: Table, sessions: Sessions) -> None:
    claim = begun(sessions)
    frames = Attempt(claim.session_id).answer("a", "b")
    for _ in range(2):
        sessions.store(claim, frames, NOW)
    assert sessions.frames_after(claim.session_id, 1, 0) == frames
    assert len(table.items()) == 3


def test_stored_frames_are_text_that_a_resolver_can_pass_on(table: Table, sessions: Sessions) -> None:
    claim = begun(sessions)
    frames = Attempt(claim.session_id).answer('a "\\ \x00 👋')
    sessions.store(claim, frames, NOW)
    [batch] = [item for item in table.items() if item["item"]["S"].startswith("frames#")]
    assert batch["item"]["S"] == "frames#000001#00000001"
    assert [frame["S"] for frame in batch["frames"]["L"]] == [sealed.json.decode() for sealed in frames]


@pytest.mark.parametrize("position", [Position(1, LAST_SEQUENCE), Position(999_999, LAST_SEQUENCE), Position(1, 0)])
def test_the_furthest_position_that_a_client_can_name_reads_nothing(
    table: Table, sessions: Sessions, position: Position
) -> None:
    claim = begun(sessions)
    assert sessions.frames_after(claim.session_id, *position) == []
    for query in table.called("query"):
        bounds = query["ExpressionAttributeValues"]
        assert bounds[":first"]["S"] <= bounds[":last"]["S"], "DynamoDB refuses such a BETWEEN"


# The table can't be used


def real_client(**options: Any) -> Any:
    return botocore.session.Session().create_client(
        "dynamodb",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1),
        **options,
    )


def every_operation(sessions: Sessions) -> list[Callable[[], object]]:
    claim = Claim(str(uuid4()), 1, "worker-1", NOW)
    return [
        lambda: sessions.begin(new_session(), "worker-1", NOW),
        lambda: sessions.accept(new_session(path="websocket"), FIRST, NOW, begin_within=1),
        lambda: sessions.abandon(claim.session_id, "worker-1", NOW),
        lambda: sessions.client_gone(claim.session_id, FIRST),
        lambda: sessions.fallen_behind(claim.session_id),
        lambda: sessions.request(claim.session_id),
        lambda: list(sessions.open_since(NOW)),
        lambda: sessions.claim(claim.session_id, "worker-1", NOW),
        lambda: sessions.redirect(claim.session_id, OWNER, SECOND),
        lambda: sessions.find(claim.session_id),
        *writes(sessions, claim),
        lambda: sessions.store(claim, [Attempt(claim.session_id).start()], NOW),
        lambda: sessions.get(claim.session_id, OWNER),
        lambda: sessions.request_cancel(claim.session_id, OWNER),
        lambda: sessions.frames_after(claim.session_id, 1, 0),
    ]


def assert_unavailable(call: Callable[[], object]) -> None:
    with pytest.raises(SessionsUnavailable) as raised:
        call()
    assert (raised.value.code, raised.value.retryable) == (ErrorCode.INTERNAL, True)
    assert raised.value.__cause__ is not None
    assert not re.search(r"dynamodb|127\.0\.0\.1|table|resource", raised.value.message, re.IGNORECASE)


def test_a_table_without_a_connection_is_reported_as_such_by_every_operation() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and not listening: a connection is refused
        client = real_client(endpoint_url=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        for call in every_operation(Sessions(client, TABLE, ttl=TTL, store_answers=True)):
            assert_unavailable(call)
        client.close()


def test_a_table_that_answers_with_an_error_is_reported_as_such_by_every_operation(table: Table) -> None:
    for call in every_operation(Sessions(table, "no-such-table", ttl=TTL, store_answers=True)):
        assert_unavailable(call)
