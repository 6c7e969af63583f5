from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.fakes.frames import MODEL, SESSION, Attempt
from tokenstream.errors import ErrorCode
from tokenstream.frames import BEGINNING, Path
from tokenstream.pump import DISCONNECT_GRACE_SECONDS
from tokenstream.recovery import Decision, Step, decide, final_error
from tokenstream.session import LEASE_SECONDS, NEXT_ATTEMPT_SECONDS, Recipient, Session, Status

NOW = 1_763_668_800.25
RECIPIENT = Recipient("VqYb2cO1IAMCIhw=", BEGINNING, "ticket")
FOREVER = NOW + 900
LONG_AGO = NOW - 900


def session(status: Status = "recovering", path: Path = "websocket", **changes: Any) -> Session:
    """Return a session whose client waits for its next attempt."""
    waiting = Session(
        session_id=SESSION,
        owner="user",
        status=status,
        attempt=1,
        path=path,
        delivery="direct",
        model=MODEL,
        lease_until=LONG_AGO,
        cancel_requested=False,
        recipient=RECIPIENT if path == "websocket" else None,
        behind=False,
        failure=None,
        terminal=Attempt().complete() if status in {"complete", "failed", "cancelled"} else None,
    )
    return replace(waiting, **changes)


def decided(of: Session | None, now: float = NOW, **changes: Any) -> Decision:
    circumstances: dict[str, Any] = {
        "tries_left": True,
        "tries": 0,
        "client_gone": False,
        "lingered": False,
        "jitter": 0.5,
    }
    return decide(of, now, **circumstances | changes)


END = Decision(Step.END)
GIVE_UP = Decision(Step.GIVE_UP)
AGAIN = Decision(Step.GENERATE, 2)
LINGER = Decision(Step.LINGER, 30)

CASES: dict[str, tuple[Session | None, dict[str, Any], Decision]] = {
    "expired": (None, {}, END),
    "complete": (session("complete"), {}, END),
    "failed": (session("failed"), {}, END),
    "cancelled": (session("cancelled"), {}, END),
    "complete, and nothing left to do it with": (session("complete"), {"tries_left": False}, END),
    "complete, its client gone": (session("complete"), {"client_gone": True}, END),
    "running, its worker alive": (session("running", lease_until=NOW + 20), {}, Decision(Step.WAIT, 21)),
    "running, its worker alive, no tries left": (
        session("running", lease_until=NOW + 20),
        {"tries_left": False},
        Decision(Step.WAIT, 21),
    ),
    "running, its worker alive, to be cancelled": (
        session("running", lease_until=NOW + 20, cancel_requested=True),
        {},
        Decision(Step.WAIT, 21),
    ),
    "running, its worker alive, its client gone": (
        session("running", lease_until=NOW + 20),
        {"client_gone": True},
        Decision(Step.WAIT, 21),
    ),
    "running, over HTTP, its worker alive": (
        session("running", "url", lease_until=NOW + 20),
        {},
        Decision(Step.WAIT, 21),
    ),
    "running, its worker gone": (session("running"), {}, AGAIN),
    "running on AppSync, its worker gone": (session("running", "appsync"), {}, AGAIN),
    "between attempts": (session(lease_until=FOREVER), {}, AGAIN),
    "between attempts, forgotten": (session(), {}, AGAIN),
    "never begun": (session("accepted", lease_until=FOREVER), {}, AGAIN),
    "never begun, forgotten": (session("accepted"), {}, AGAIN),
    "to be cancelled": (session(cancel_requested=True), {}, GIVE_UP),
    "to be cancelled, its worker gone": (session("running", cancel_requested=True), {}, GIVE_UP),
    "to be cancelled, its client gone": (session(cancel_requested=True), {"client_gone": True}, GIVE_UP),
    "over a function's URL": (session("running", "url"), {}, GIVE_UP),
    "over a REST API": (session("running", "rest"), {}, GIVE_UP),
    "no tries left": (session(), {"tries_left": False, "tries": 2}, GIVE_UP),
    "no tries left, its client gone": (session(), {"tries_left": False, "client_gone": True}, GIVE_UP),
    "its client gone": (session(), {"client_gone": True}, LINGER),
    "its client still gone": (session(), {"client_gone": True, "lingered": True}, GIVE_UP),
    "its client back": (session(), {"lingered": True}, AGAIN),
}


@pytest.mark.parametrize(("of", "circumstances", "expected"), CASES.values(), ids=CASES)
def test_what_becomes_of_a_session(of: Session | None, circumstances: dict[str, Any], expected: Decision) -> None:
    assert decided(of, **circumstances) == expected


def test_a_session_that_ran_out_of_tries_is_never_generated_again_nor_one_that_has_ended() -> None:
    """Whatever else holds: the model is paid for each time."""
    statuses: list[Status] = ["accepted", "running", "recovering", "complete", "failed", "cancelled"]
    paths: list[Path] = ["url", "rest", "websocket", "appsync"]
    flags = [False, True]
    for status, path, lease, cancel, gone, lingered in product(
        statuses, paths, [LONG_AGO, FOREVER], flags, flags, flags
    ):
        of = session(status, path, lease_until=lease, cancel_requested=cancel)
        decision = decided(of, tries_left=False, client_gone=gone, lingered=lingered)
        assert decision.step in {Step.END, Step.WAIT, Step.GIVE_UP}
        if of.ended:
            assert decision == END


@pytest.mark.parametrize("left", [0.0, 0.001, 0.5, 1.0, 29.75, float(LEASE_SECONDS)])
def test_a_worker_that_was_waited_for_has_renewed_its_lease_or_is_gone(left: float) -> None:
    """Else the state machine would go round and round within one lease."""
    running = session("running", lease_until=NOW + left)
    step, seconds = decided(running)
    assert step is Step.WAIT
    assert running.orphaned(NOW + seconds)
    assert seconds <= left + 2


def test_a_client_is_given_the_time_that_a_worker_would_give_it() -> None:
    assert decided(session(), client_gone=True).seconds == DISCONNECT_GRACE_SECONDS


def test_the_pauses_grow_and_are_spread_and_never_longer_than_a_session_is_left_alone() -> None:
    """Longer, and the sweep would take the session for forgotten."""
    for tries, shortest, longest in ((0, 1, 3), (1, 4, 12), (2, 16, 48)):
        pauses = [decided(session(), tries=tries, jitter=jitter).seconds for jitter in (0.0, 0.5, 0.999)]
        assert pauses == sorted(set(pauses))
        assert (pauses[0], pauses[-1]) == (shortest, longest)
        assert pauses[-1] < NEXT_ATTEMPT_SECONDS


# How it ends


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ErrorCode.THROTTLED, ErrorCode.THROTTLED),
        (ErrorCode.MODEL_TIMEOUT, ErrorCode.MODEL_TIMEOUT),
        (ErrorCode.MODEL_ERROR, ErrorCode.MODEL_ERROR),
        (ErrorCode.INTERNAL, ErrorCode.INTERNAL),
        (None, ErrorCode.INTERNAL),
    ],
)
def test_a_client_is_told_what_the_last_attempt_failed_for_and_may_ask_again(
    failure: ErrorCode | None, code: ErrorCode
) -> None:
    error = final_error(failure)
    assert (error.code, error.retryable) == (code, True)
    assert error.message


def test_whatever_an_attempt_was_given_up_for_a_client_is_told_something() -> None:
    assert {final_error(failure).retryable for failure in ErrorCode} == {True}
