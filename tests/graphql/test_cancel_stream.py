"""Stopping over GraphQL: the flag that the worker looks at, set by nobody but the session's owner."""

from uuid import uuid4

import pytest

from tests.fakes.frames import MODEL, Attempt
from tests.graphql.emulated_api import STRANGER, EmulatedApi, only_error, token
from tests.graphql.emulated_api import USER as OWNER
from tokenstream.session import Claim, NewSession
from tokenstream.sessions import Sessions

NOW = 1_763_668_800.25
CANCEL = "mutation ($id: ID!) { cancelStream(sessionId: $id) { sessionId status } }"


def new_session() -> NewSession:
    return NewSession(str(uuid4()), OWNER, "appsync", "direct", MODEL, b"{}")


def begun(sessions: Sessions) -> Claim:
    return sessions.begin(new_session(), "worker-1", NOW)


def test_the_worker_sees_the_cancel_and_the_client_the_status_at_that_moment(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    assert not sessions.instructions(claim).cancel
    answer = api.ask(CANCEL, {"id": claim.session_id})
    assert answer == {"data": {"cancelStream": {"sessionId": claim.session_id, "status": "running"}}}
    assert sessions.instructions(claim).cancel


def test_a_cancel_changes_nothing_else_of_the_session(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    sessions.store(claim, [frames.start(), frames.token("a")], NOW)
    before = sessions.get(claim.session_id, OWNER)
    api.ask(CANCEL, {"id": claim.session_id})
    after = sessions.get(claim.session_id, OWNER)
    assert after.cancel_requested
    assert [getattr(after, name) for name in ("status", "attempt", "lease_until", "terminal", "model")] == [
        getattr(before, name) for name in ("status", "attempt", "lease_until", "terminal", "model")
    ]
    assert [frame.frame.sequence for frame in sessions.frames_after(claim.session_id, 1, 0)] == [1, 2]


def test_a_session_that_still_waits_in_the_queue_is_cancelled(api: EmulatedApi) -> None:
    sessions = api.sessions()
    new = new_session()
    sessions.accept(new, None, NOW, begin_within=900)
    assert api.ask(CANCEL, {"id": new.session_id})["data"]["cancelStream"]["status"] == "accepted"
    assert sessions.claim(new.session_id, "worker-1", NOW).instructions.cancel


def test_one_that_has_ended_stays_as_it_is(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    sessions.settle(claim, "complete", frames.complete())
    assert api.ask(CANCEL, {"id": claim.session_id})["data"]["cancelStream"]["status"] == "complete"
    assert sessions.get(claim.session_id, OWNER).terminal


def test_cancelling_twice_is_cancelling_once(api: EmulatedApi) -> None:
    claim = begun(api.sessions())
    assert api.ask(CANCEL, {"id": claim.session_id}) == api.ask(CANCEL, {"id": claim.session_id})


def test_the_spelling_of_a_sessions_id_does_not_matter(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    answer = api.ask(CANCEL, {"id": claim.session_id.upper()})
    assert answer["data"]["cancelStream"]["sessionId"] == claim.session_id
    assert sessions.instructions(claim).cancel


def test_nobody_can_cancel_another_users_session_or_tell_it_from_none(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    unknown = str(uuid4())
    anothers = api.ask(CANCEL, {"id": claim.session_id}, token(STRANGER))
    none = api.ask(CANCEL, {"id": unknown}, token(STRANGER))
    assert only_error(anothers) == only_error(none)
    assert only_error(none) == {
        "errorType": "NotFound",
        "message": "There is no such session.",
        "data": None,
        "errorInfo": {"code": "not_found", "retryable": False},
    }
    assert anothers["data"] == none["data"]
    assert not sessions.instructions(claim).cancel
    assert sessions.find(unknown) is None


@pytest.mark.parametrize("session_id", ["", "session", "6b1f1c1e8a434b0e9d3f0f9b6c1d2e3a", "x" * 36, " " * 36])
def test_an_id_that_is_no_uuid_is_told_so(api: EmulatedApi, session_id: str) -> None:
    error = only_error(api.ask(CANCEL, {"id": session_id}))
    assert error["errorType"] == "InvalidRequest"
    assert error["errorInfo"] == {"code": "invalid_request", "retryable": False, "field": "sessionId"}


def test_an_access_token_cancels_nothing(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    error = only_error(api.ask(CANCEL, {"id": claim.session_id}, token(OWNER, token_use="access")))
    assert error["errorType"] == "Unauthorized"
    assert not sessions.instructions(claim).cancel
