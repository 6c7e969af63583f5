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
from tokenstream.session import LEASE_SECONDS, NOTHING_WANTED, Claim, Instructions, NewSession, Recipient, Status
from tokenstream.sessions import LAST_SEQUENCE, LeaseLost, Sessions, SessionsUnavailable

NOW = 1_763_668_800.25
TTL = 3600
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
    sessions.accept(new, FIRST, NOW)
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
    assert not session.orphaned(NOW + 10 * LEASE_SECONDS)


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
            sessions.accept(new_session(session_id, "websocket"), SECOND, NOW)
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
    [request] = [item for item in table.items() if item["item"]["S"] == "request"]
    assert request["request"]["S"].encode() == REQUEST


def test_neither_request_nor_text_is_kept_where_answers_are_not(table: Table) -> None:
    sessions = Sessions(table, TABLE, ttl=TTL, store_answers=False)
    claim = begun(sessions)
    [record] = table.items()
    assert record["item"]["S"] == "session"
    assert "Grüße" not in str(record)
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
    sessions.accept(new, Recipient("VqYb2cO1IAMCIhw=" * 2, BEGINNING, str(uuid4())), NOW)
    claim = sessions.claim(new.session_id, str(uuid4()), NOW)
    furthest = Recipient("VqYb2cO1IAMCIhw=" * 2, Position(999_999, LAST_SEQUENCE), str(uuid4()))
    sessions.redirect(new.session_id, new.owner, furthest)
    sessions.request_cancel(new.session_id, new.owner)
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
    sessions.release(first)
    assert sessions.get(first.session_id, OWNER).status == "recovering"
    second = sessions.claim(first.session_id, "worker-2", NOW + 1)
    assert (second.attempt, sessions.get(first.session_id, OWNER).status) == (2, "running")


def test_a_worker_that_is_known_to_have_failed_is_not_waited_for(sessions: Sessions) -> None:
    failed = begun(sessions)
    claim = sessions.claim(failed.session_id, "worker-2", NOW + 1, failed_worker="worker-1")
    assert (claim.attempt, claim.worker) == (2, "worker-2")
    with pytest.raises(LeaseLost):
        sessions.renew(failed, NOW + 2)


@pytest.mark.parametrize("failed_worker", ["another", ""])
def test_the_failure_of_one_worker_takes_nothing_from_another(sessions: Sessions, failed_worker: str) -> None:
    claim = begun(sessions)
    with pytest.raises(LeaseLost):
        sessions.claim(claim.session_id, "worker-2", NOW + 1, failed_worker=failed_worker)
    assert sessions.renew(claim, NOW + 2) == NOTHING_WANTED


def test_a_session_that_has_ended_is_not_taken_up_for_its_worker_failed_behind_it(sessions: Sessions) -> None:
    claim = begun(sessions)
    sessions.settle(claim, "complete", Attempt(claim.session_id).complete())
    with pytest.raises(LeaseLost):
        sessions.claim(claim.session_id, "worker-2", NOW + 1, failed_worker=claim.worker)


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
        lambda: sessions.release(claim),
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


def test_a_worker_is_missed_once_its_lease_is_over_and_only_while_it_should_run(sessions: Sessions) -> None:
    claim = begun(sessions)
    session = sessions.get(claim.session_id, OWNER)
    assert not session.orphaned(NOW + LEASE_SECONDS)
    assert session.orphaned(NOW + LEASE_SECONDS + 0.001)
    sessions.release(claim)
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
    sessions.release(claim)
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
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        lambda: sessions.accept(new_session(path="websocket"), FIRST, NOW),
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
