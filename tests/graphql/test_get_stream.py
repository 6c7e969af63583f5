"""Catching up over GraphQL gives what Python has stored, wherever the client stands."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.frames import MODEL, SESSION, Attempt
from tests.graphql.emulated_api import STRANGER, EmulatedApi, only_error, token
from tests.graphql.emulated_api import USER as OWNER
from tests.graphql.node_runtime import run_resolver
from tokenstream.errors import ModelError
from tokenstream.frames import BEGINNING, Position, Sealed
from tokenstream.session import Claim, NewSession
from tokenstream.sessions import LAST_SEQUENCE, Sessions

NOW = 1_763_668_800.25
WORKER = "worker-1"
FIELDS = "{ sessionId status frames more }"
AWKWARD = 'NUL \x00, "quotes", \\n, \\, \r\n\u2028\x85, 👩\u200d🚀, \u202e\u05e9\u05dc, ${x}, {{a}}, %s, </script>'


def begun(sessions: Sessions) -> Claim:
    return sessions.begin(NewSession(str(uuid4()), OWNER, "appsync", "direct", MODEL, b"{}"), WORKER, NOW)


def store(sessions: Sessions, claim: Claim, frames: Sequence[Sealed], sizes: Iterable[int]) -> None:
    """Store the frames in batches of these sizes."""
    rest = list(frames)
    for size in sizes:
        sessions.store(claim, rest[:size], NOW)
        del rest[:size]
    assert not rest


def batchings(frames: int) -> Iterator[list[int]]:
    """Go through all ways to divide so many frames."""
    if frames == 0:
        yield []
    for first in range(1, frames + 1):
        for rest in batchings(frames - first):
            yield [first, *rest]


def expected(sessions: Sessions, session_id: str, after: Position, limit: int) -> dict[str, Any]:
    """Give what Python finds for a client that stands there."""
    session = sessions.get(session_id, OWNER)
    frames = sessions.frames_after(session_id, *max(after, Position(session.attempt, 0)))
    if session.terminal and session.terminal.frame.position != after:
        frames.append(session.terminal)
    return {
        "sessionId": session_id,
        "status": session.status,
        "frames": [json.loads(frame.json) for frame in frames[:limit]],
        "more": len(frames) > limit,
    }


def read(state: dict[str, Any]) -> dict[str, Any]:
    """Parse the frames of an answer: each is a text of JSON."""
    return state | {"frames": [json.loads(frame) for frame in state["frames"]]}


def get_stream(api: EmulatedApi, session_id: str, **arguments: int | None) -> dict[str, Any]:
    answer = api.ask(
        "query ($id: ID!, $attempt: Int, $sequence: Int, $limit: Int) {"
        f" getStream(sessionId: $id, afterAttempt: $attempt, afterSequence: $sequence, limit: $limit) {FIELDS} }}",
        {"id": session_id, **arguments},
    )
    assert "errors" not in answer, answer
    return read(answer["data"]["getStream"])


def assert_same_everywhere(
    api: EmulatedApi, sessions: Sessions, session_id: str, positions: Iterable[Position], limits: Sequence[int]
) -> None:
    """Ask for all positions and limits in one operation, and compare each answer with Python's."""
    cases = list(product(positions, limits))
    asked = " ".join(
        f'q{number}: getStream(sessionId: "{session_id}", afterAttempt: {after.attempt},'
        f" afterSequence: {after.sequence}, limit: {limit}) {FIELDS}"
        for number, (after, limit) in enumerate(cases)
    )
    answer = api.ask(f"{{ {asked} }}")
    assert "errors" not in answer, answer
    for number, (after, limit) in enumerate(cases):
        found = read(answer["data"][f"q{number}"])
        assert found == expected(sessions, session_id, after, limit), (after, limit)


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("batches", [sizes for count in range(4) for sizes in batchings(count)], ids=str)
def test_a_client_gets_what_it_lacks_wherever_it_stands_and_however_it_was_stored(
    api: EmulatedApi, batches: list[int], ended: bool
) -> None:
    sessions, count = api.sessions(), sum(batches)
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token(f"t{number}") for number in range(count)], batches)
    if ended:
        sessions.settle(claim, "complete", frames.complete())
    # Up to a position behind everything, the terminal frame's own among them.
    positions = [Position(1, sequence) for sequence in range(count + 3)]
    assert_same_everywhere(api, sessions, claim.session_id, positions, range(1, count + 3))


def test_a_client_of_an_earlier_attempt_gets_all_of_the_current_one_and_nothing_of_the_other(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    first = Attempt(claim.session_id)
    store(sessions, claim, [first.start(), first.token("given up"), first.token("too")], [2, 1])
    sessions.release(claim, None, NOW)
    recovering = get_stream(api, claim.session_id, attempt=1, sequence=1)
    assert (recovering["status"], len(recovering["frames"]), recovering["more"]) == ("recovering", 2, False)
    claim = sessions.claim(claim.session_id, "worker-2", NOW)
    second = Attempt(claim.session_id, attempt=2)
    store(sessions, claim, [second.start(), second.token("anew")], [1, 1])
    sessions.settle(claim, "failed", second.error(ModelError("The model failed.")))
    positions = [Position(attempt, sequence) for attempt in range(4) for sequence in range(5)]
    assert_same_everywhere(api, sessions, claim.session_id, positions, [1, 2, 3, 4])


def test_text_comes_back_to_the_character(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.start(), frames.token(AWKWARD), frames.reasoning(AWKWARD)], [3])
    sessions.settle(claim, "complete", frames.complete())
    found = get_stream(api, claim.session_id)["frames"]
    assert [frame.get("token") for frame in found] == [None, AWKWARD, AWKWARD, None]
    assert [frame["type"] for frame in found] == ["start", "token", "reasoning", "complete"]


def test_without_a_position_and_with_null_ones_everything_comes(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token(str(number)) for number in range(3)], [1, 2])
    everything = expected(sessions, claim.session_id, BEGINNING, 500)
    assert get_stream(api, claim.session_id) == everything
    assert get_stream(api, claim.session_id, attempt=None, sequence=None, limit=None) == everything
    # A sequence number without its attempt is of none that has been.
    assert get_stream(api, claim.session_id, sequence=2) == everything


def test_a_session_that_waits_for_its_worker_has_its_status_and_no_frames(api: EmulatedApi) -> None:
    sessions = api.sessions()
    new = NewSession(str(uuid4()), OWNER, "appsync", "direct", MODEL, b"{}")
    sessions.accept(new, None, NOW, begin_within=900)
    assert get_stream(api, new.session_id) == {
        "sessionId": new.session_id,
        "status": "accepted",
        "frames": [],
        "more": False,
    }


def test_without_stored_answers_the_ending_is_there_for_whoever_has_not_got_it(api: EmulatedApi) -> None:
    sessions = api.sessions(store_answers=False)
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    sent = frames.answer("never", "stored")
    sessions.settle(claim, "complete", sent[-1])
    assert_same_everywhere(
        api, sessions, claim.session_id, [Position(1, sequence) for sequence in range(len(sent) + 2)], [1, 2]
    )


def test_far_off_positions_give_what_there_is(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token("a"), frames.token("b")], [1, 1])
    sessions.settle(claim, "complete", frames.complete())
    positions = [Position(1, LAST_SEQUENCE - 1), Position(1, LAST_SEQUENCE), Position(999_999, LAST_SEQUENCE)]
    assert_same_everywhere(api, sessions, claim.session_id, positions, [1, 1000])


def test_numbers_of_more_than_one_digit_keep_their_order(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token(str(number)) for number in range(121)], [7, 3, 90, 1, 20])
    positions = [Position(1, sequence) for sequence in (0, 6, 7, 8, 9, 10, 11, 98, 99, 100, 101, 102, 120, 121)]
    assert_same_everywhere(api, sessions, claim.session_id, positions, [1, 9, 10, 100, 200])


def test_page_by_page_a_client_gets_everything_once(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token(str(number)) for number in range(30)], [1, 4, 10, 2, 13])
    sessions.settle(claim, "complete", frames.complete())
    received: list[dict[str, Any]] = []
    more = True
    while more:
        at = received[-1]["sequence"] if received else 0
        page = get_stream(api, claim.session_id, attempt=1, sequence=at, limit=7)
        assert 0 < len(page["frames"]) <= 7
        received += page["frames"]
        more = page["more"]
    assert [frame["sequence"] for frame in received] == list(range(1, 32))
    assert received[-1]["type"] == "complete"


def test_a_thousand_frames_of_a_thousand_batches_come_at_once_and_the_rest_afterwards(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token("t") for _ in range(1002)], [1] * 1002)
    page = get_stream(api, claim.session_id, limit=1000)
    assert [frame["sequence"] for frame in page["frames"]] == list(range(1, 1001))
    assert page["more"]
    page = get_stream(api, claim.session_id, attempt=1, sequence=1000, limit=1000)
    assert [frame["sequence"] for frame in page["frames"]] == [1001, 1002]
    assert not page["more"]


def test_without_a_limit_five_hundred_frames_come(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    frames = Attempt(claim.session_id)
    store(sessions, claim, [frames.token("t") for _ in range(501)], [501])
    page = get_stream(api, claim.session_id)
    assert (len(page["frames"]), page["more"]) == (500, True)


def test_the_spelling_of_a_sessions_id_does_not_matter(api: EmulatedApi) -> None:
    sessions = api.sessions()
    claim = begun(sessions)
    assert get_stream(api, claim.session_id.upper())["sessionId"] == claim.session_id


def test_where_dynamodb_cuts_a_page_the_rest_is_announced_and_the_ending_waits() -> None:
    frames = Attempt()
    held, following, terminal = frames.token("a"), frames.token("b"), frames.complete()
    stash = {"sessionId": SESSION, "status": "complete", "terminal": terminal.json.decode(), "first": 1, "limit": 10}
    stash |= {"after": {"attempt": 1, "sequence": 0}, "seen": 0, "held": [held.json.decode()]}
    result: dict[str, Any] = {"items": [{"frames": [following.json.decode()]}], "nextToken": "more"}
    cut = run_resolver("getStream", "response", {"stash": stash, "prev": {"result": result}})["value"]
    assert ([frame["sequence"] for frame in cut["frames"]], cut["more"]) == ([1, 2], True)
    result["nextToken"] = None
    whole = run_resolver("getStream", "response", {"stash": stash, "prev": {"result": result}})["value"]
    assert ([frame["sequence"] for frame in whole["frames"]], whole["more"]) == ([1, 2, 3], False)


@pytest.mark.parametrize("step", ["getStreamRecord", "getStreamHolding", "getStreamFollowing"])
def test_what_was_stored_a_moment_ago_is_read(step: str) -> None:
    stash = {"sessionId": SESSION, "attempt": 1, "seen": 0, "limit": 10, "first": 1, "held": []}
    assert run_resolver(step, "request", {"stash": stash})["value"]["consistentRead"] is True


def test_no_more_is_read_than_may_be_needed() -> None:
    stash = {"sessionId": SESSION, "attempt": 1, "seen": 4, "limit": 10, "first": 3, "held": ["3", "4", "5", "6"]}
    assert run_resolver("getStreamHolding", "request", {"stash": stash})["value"]["limit"] == 1
    # Up to frame 14, and one that tells that there are more: 7 to 15.
    assert run_resolver("getStreamFollowing", "request", {"stash": stash})["value"]["limit"] == 9


# What is refused

QUERY = f"query ($id: ID!) {{ getStream(sessionId: $id) {FIELDS} }}"
NOT_FOUND = {
    "errorType": "NotFound",
    "message": "There is no such session.",
    "data": None,
    "errorInfo": {"code": "not_found", "retryable": False},
}


def test_nobody_can_tell_another_users_session_from_none(api: EmulatedApi) -> None:
    claim = begun(api.sessions())
    anothers = api.ask(QUERY, {"id": claim.session_id}, token(STRANGER))
    none = api.ask(QUERY, {"id": str(uuid4())}, token(STRANGER))
    assert only_error(anothers) == only_error(none) == NOT_FOUND
    assert anothers["data"] == none["data"]


@pytest.mark.parametrize(
    "session_id",
    [
        "",
        "session",
        "6b1f1c1e8a434b0e9d3f0f9b6c1d2e3a",
        "{6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3a}",
        "6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3a\n",
        "6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3",
        "6b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3g",
        "6b1f1c1e-8a43-4b0e-9d3f0-f9b6c1d2e3a",
        "\uff16b1f1c1e-8a43-4b0e-9d3f-0f9b6c1d2e3a",
    ],
)
def test_an_id_that_is_no_uuid_is_told_so(api: EmulatedApi, session_id: str) -> None:
    error = only_error(api.ask(QUERY, {"id": session_id}))
    assert error["errorType"] == "InvalidRequest"
    assert error["errorInfo"] == {"code": "invalid_request", "retryable": False, "field": "sessionId"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", 0),
        ("limit", -1),
        ("limit", 1001),
        ("afterAttempt", -1),
        ("afterAttempt", 1_000_000),
        ("afterSequence", -1),
        ("afterSequence", 100_000_000),
    ],
)
def test_a_number_beyond_its_limits_is_told_so(api: EmulatedApi, field: str, value: int) -> None:
    claim = begun(api.sessions())
    error = only_error(api.ask(f'{{ getStream(sessionId: "{claim.session_id}", {field}: {value}) {FIELDS} }}'))
    assert error["errorType"] == "InvalidRequest"
    assert error["errorInfo"] == {"code": "invalid_request", "retryable": False, "field": field}


def test_an_access_token_reads_nothing(api: EmulatedApi) -> None:
    claim = begun(api.sessions())
    error = only_error(api.ask(QUERY, {"id": claim.session_id}, token(OWNER, token_use="access")))
    assert (error["errorType"], error["errorInfo"]["code"]) == ("Unauthorized", "unauthorized")
