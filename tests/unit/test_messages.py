import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from messages import (
    MAX_ATTEMPT,
    MAX_REQUEST_ID_CHARACTERS,
    Cancel,
    Message,
    Ping,
    Resume,
    Stream,
    read_message,
    request_id_of,
    session_id_of,
)

from tokenstream.errors import InvalidRequest
from tokenstream.frames import BEGINNING, Position
from tokenstream.request import Limits, Options, StreamRequest, parse_json, read_request
from tokenstream.request import Message as Turn
from tokenstream.sessions import LAST_SEQUENCE

NEW_ID = "00000000-0000-4000-8000-000000000000"
SESSION_ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
LIMITS = Limits(models=("default-model", "other-model"), max_tokens=1000)
ACTIONS = ["stream", "cancel", "resume", "ping"]
# What each action needs besides its name.
NEEDED: dict[str, dict[str, Any]] = {
    "stream": {"prompt": "Hi"},
    "cancel": {"sessionId": SESSION_ID},
    "resume": {"sessionId": SESSION_ID},
    "ping": {},
}


def read(**fields: Any) -> Message:
    return read_message(fields, LIMITS, NEW_ID)


def field_at_fault(**fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as raised:
        read(**fields)
    assert not raised.value.retryable
    return raised.value.field


# What can be said


def test_a_prompt_is_a_stream_with_every_default() -> None:
    message = read(action="stream", prompt="Hi")
    assert isinstance(message, Stream)
    assert message.request == StreamRequest(
        session_id=NEW_ID,
        messages=(Turn("user", "Hi"),),
        system=None,
        model="default-model",
        options=Options(max_tokens=1000),
        delivery="direct",
    )


def test_a_stream_can_say_all_that_a_request_can_on_the_other_paths() -> None:
    asked = {
        "messages": [{"role": "user", "content": "Grüße 👋"}],
        "system": "Be brief.",
        "model": "other-model",
        "options": {"maxTokens": 5, "temperature": 0, "topP": 1, "stopSequences": ["."]},
        "sessionId": SESSION_ID.upper(),
        "delivery": "direct",
    }
    message = read(action="stream", requestId="1", **asked)
    assert isinstance(message, Stream)
    assert message.request == read_request(asked, LIMITS, NEW_ID)
    assert message.request.session_id == SESSION_ID


@pytest.mark.parametrize("named", [{}, {"sessionId": None}, {"sessionId": SESSION_ID.upper()}], ids=repr)
def test_a_later_attempt_reads_the_same_request_from_what_is_kept(named: dict[str, Any]) -> None:
    message = read(action="stream", requestId="1", prompt="Grüße \x00 👋", system=None, **named)
    assert isinstance(message, Stream)
    kept = parse_json(message.body)
    # The id that the server made is in it: another one must not be made.
    assert read_request(kept, LIMITS, "another id") == message.request
    assert read_request(message.fields, LIMITS, "another id") == message.request
    assert set(message.fields) == {"prompt", "sessionId"}


def test_a_cancel_names_its_session() -> None:
    assert read(action="cancel", sessionId=SESSION_ID) == Cancel(SESSION_ID)


def test_a_resume_names_its_session_and_what_the_client_has() -> None:
    after = {"attempt": 2, "sequence": 17}
    assert read(action="resume", sessionId=SESSION_ID, after=after) == Resume(SESSION_ID, Position(2, 17))


@pytest.mark.parametrize("after", [{}, {"after": None}])
def test_a_resume_without_a_position_is_from_the_beginning(after: dict[str, Any]) -> None:
    assert read(action="resume", sessionId=SESSION_ID, **after) == Resume(SESSION_ID, BEGINNING)


def test_a_ping_needs_nothing() -> None:
    assert read(action="ping") == Ping()


@pytest.mark.parametrize("action", ACTIONS)
def test_a_field_that_is_null_is_as_good_as_absent(action: str) -> None:
    plain = read(action=action, **NEEDED[action])
    assert read(action=action, requestId=None, nothing=None, **NEEDED[action]) == plain


@pytest.mark.parametrize("action", ["cancel", "resume"])
@pytest.mark.parametrize("spelling", [SESSION_ID, SESSION_ID.upper(), SESSION_ID.title()])
def test_a_session_is_found_in_whichever_case_its_id_is_written(action: str, spelling: str) -> None:
    message = read(action=action, sessionId=spelling)
    assert isinstance(message, Cancel | Resume)
    assert message.session_id == SESSION_ID


@pytest.mark.parametrize("action", ACTIONS)
def test_every_message_may_carry_a_request_id(action: str) -> None:
    assert read(action=action, requestId="any text: é 👋", **NEEDED[action]) == read(action=action, **NEEDED[action])


# What is refused


@pytest.mark.parametrize("document", [None, True, 0, 1.5, "ping", [], [{"action": "ping"}]], ids=repr)
def test_what_is_no_object_is_no_message(document: object) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_message(document, LIMITS, NEW_ID)
    assert raised.value.field is None


@pytest.mark.parametrize("action", [None, "", "Stream", "ping ", "$connect", "$default", "message", 1, True, [], {}])
def test_an_unknown_action_is_named_as_the_fault(action: object) -> None:
    assert field_at_fault(action=action, prompt="Hi", sessionId=SESSION_ID) == "action"


def test_a_message_without_an_action_is_told_what_is_missing() -> None:
    assert field_at_fault(prompt="Hi") == "action"


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("value", ["x", 0, False, [], {}])
def test_an_unknown_field_is_named_as_the_fault(action: str, value: object) -> None:
    assert field_at_fault(action=action, promt=value, **NEEDED[action]) == "promt"


@pytest.mark.parametrize("action", ACTIONS)
def test_an_unknown_fields_name_comes_back_no_longer_than_a_name_is(action: str) -> None:
    assert field_at_fault(**{"action": action, **NEEDED[action], "x" * 50_000: 1}) == "x" * 64


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("cancel", {"after": {"attempt": 1, "sequence": 1}}),
        ("cancel", {"prompt": "Hi"}),
        ("resume", {"prompt": "Hi"}),
        ("ping", {"sessionId": SESSION_ID}),
        ("stream", {"after": {"attempt": 1, "sequence": 1}}),
    ],
)
def test_a_field_of_another_action_is_unknown(action: str, fields: dict[str, Any]) -> None:
    assert field_at_fault(action=action, **NEEDED[action], **fields) == next(iter(fields))


@pytest.mark.parametrize("action", ["cancel", "resume"])
@pytest.mark.parametrize(
    "session_id",
    [
        None,
        "",
        "me",
        SESSION_ID.replace("-", ""),
        f"{{{SESSION_ID}}}",
        f"urn:uuid:{SESSION_ID}",
        f" {SESSION_ID}",
        SESSION_ID[:-1],
        SESSION_ID + "0",
        "\u0660" * 32,
        "0" * 50_000,
        1,
        True,
        [SESSION_ID],
        {"sessionId": SESSION_ID},
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_session_id_that_is_none_is_named_as_the_fault(action: str, session_id: object) -> None:
    assert field_at_fault(action=action, sessionId=session_id) == "sessionId"


@pytest.mark.parametrize("action", ["cancel", "resume"])
def test_a_session_id_that_is_missing_is_named_as_the_fault(action: str) -> None:
    assert field_at_fault(action=action) == "sessionId"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "Hi", "model": "gpt"}, "model"),
        ({"prompt": "Hi", "options": {"maxTokens": 1001}}, "options.maxTokens"),
        ({"prompt": "Hi", "sessionId": "me"}, "sessionId"),
        ({"prompt": "Hi", "delivery": "queued"}, "delivery"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "messages[0].role"),
    ],
)
def test_a_request_is_held_to_what_holds_on_every_path(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(action="stream", **fields) == field


# Where the client stands


@pytest.mark.parametrize(
    "position", [Position(0, 0), Position(1, 0), Position(0, 1), Position(MAX_ATTEMPT, LAST_SEQUENCE)]
)
def test_any_position_that_there_can_be_is_taken(position: Position) -> None:
    message = read(action="resume", sessionId=SESSION_ID, after=position._asdict())
    assert message == Resume(SESSION_ID, position)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"attempt": -1}, "after.attempt"),
        ({"attempt": MAX_ATTEMPT + 1}, "after.attempt"),
        ({"attempt": 1.0}, "after.attempt"),
        ({"attempt": True}, "after.attempt"),
        ({"attempt": "1"}, "after.attempt"),
        ({"attempt": None}, "after.attempt"),
        ({"attempt": 10**400}, "after.attempt"),
        ({"sequence": -1}, "after.sequence"),
        ({"sequence": LAST_SEQUENCE + 1}, "after.sequence"),
        ({"sequence": 0.5}, "after.sequence"),
        ({"sequence": []}, "after.sequence"),
        ({"frame": 1}, "after"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_position_that_is_none_is_named_as_the_fault(change: dict[str, Any], field: str) -> None:
    after = {"attempt": 1, "sequence": 1} | change
    assert field_at_fault(action="resume", sessionId=SESSION_ID, after=after) == field


@pytest.mark.parametrize("after", ["1.4", 4, True, [], [1, 4], {}, {"attempt": 1}, {"sequence": 4}], ids=repr)
def test_a_position_of_another_form_is_named_as_the_fault(after: object) -> None:
    assert field_at_fault(action="resume", sessionId=SESSION_ID, after=after) == "after"


# What an answer carries


@pytest.mark.parametrize("request_id", ["1", " ", "é" * MAX_REQUEST_ID_CHARACTERS, "👋" * MAX_REQUEST_ID_CHARACTERS])
def test_a_request_id_comes_back_as_it_is(request_id: str) -> None:
    assert request_id_of({"requestId": request_id}) == request_id
    assert read(action="ping", requestId=request_id) == Ping()


@pytest.mark.parametrize(
    "request_id", ["", "x" * (MAX_REQUEST_ID_CHARACTERS + 1), 1, 0, False, [], ["1"], {}], ids=lambda v: repr(v)[:30]
)
def test_a_request_id_that_cannot_come_back_is_the_fault(request_id: object) -> None:
    assert request_id_of({"requestId": request_id}) is None
    assert field_at_fault(action="ping", requestId=request_id) == "requestId"


@pytest.mark.parametrize("document", [None, 1, "requestId", [], ["requestId"], {}, {"requestId": None}], ids=repr)
def test_an_answer_carries_no_request_id_where_there_was_none(document: object) -> None:
    assert request_id_of(document) is None


def test_an_answer_names_the_session_that_the_message_named() -> None:
    assert session_id_of({"sessionId": SESSION_ID.upper()}) == SESSION_ID


@pytest.mark.parametrize(
    "document", [None, 1, [], SESSION_ID, {}, {"sessionId": None}, {"sessionId": "me"}, {"sessionId": [SESSION_ID]}]
)
def test_an_answer_names_no_session_where_the_message_did_not(document: object) -> None:
    assert session_id_of(document) is None


# Anything whatsoever

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.sampled_from([*ACTIONS, SESSION_ID, "user", "assistant", "default-model"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
# Objects that get as far as they can: names that are known, with anything for their values.
NAMES = ["requestId", "sessionId", "after", "prompt", "messages", "system", "model", "options", "delivery"]
ALMOST = st.builds(
    lambda action, fields: {"action": action, **fields},
    st.sampled_from(ACTIONS) | JSON,
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON, max_size=4),
)
AFTER = st.builds(
    lambda after, more: {"action": "resume", "sessionId": SESSION_ID, "after": after | more},
    st.fixed_dictionaries({"attempt": JSON, "sequence": JSON}),
    st.dictionaries(st.text(max_size=3), JSON, max_size=1),
)


@given(JSON | ALMOST | AFTER)
@example({"action": {"stream": 1}, "requestId": {}})
@example({"action": "resume", "sessionId": SESSION_ID, "after": {"attempt": 0, "sequence": 0, "": 0}})
def test_nothing_that_a_client_sends_is_a_fault_of_ours(document: object) -> None:
    request_id = request_id_of(document)
    assert request_id is None or isinstance(request_id, str)
    session_id = session_id_of(document)
    try:
        message = read_message(document, LIMITS, NEW_ID)
    except InvalidRequest:
        return
    match message:
        case Stream(request):
            assert read_request(parse_json(message.body), LIMITS, "another id") == request
        case Cancel(named) | Resume(named):
            assert named == session_id
        case Ping():
            assert isinstance(document, dict)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"action": "ping", "requestId": "\\ud800"}')
@example(b'{"action": "resume", "after": 1e999}')
@example(b"\xef\xbb\xbf{}")
def test_no_bytes_that_a_client_sends_are_a_fault_of_ours(body: bytes) -> None:
    try:
        read_message(parse_json(body), LIMITS, NEW_ID)
    except InvalidRequest:
        return
