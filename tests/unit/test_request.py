import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenstream.errors import InvalidRequest, Rejected, TooLarge
from tokenstream.frames import Position
from tokenstream.request import (
    MAX_REQUEST_BYTES,
    Limits,
    Message,
    Options,
    StreamRequest,
    parse_position,
    parse_request,
    parse_session_id,
)

NEW_ID = "00000000-0000-4000-8000-000000000000"
SESSION_ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
LIMITS = Limits(models=("default-model", "other-model"), max_tokens=1000)
MESSAGE = {"role": "user", "content": "Hi"}


def parse(document: Any) -> StreamRequest:
    return parse_request(json.dumps(document).encode(), LIMITS, NEW_ID)


def field_at_fault(document: Any) -> str | None:
    with pytest.raises(InvalidRequest) as raised:
        parse(document)
    assert not raised.value.retryable
    return raised.value.field


def test_a_bare_prompt_gets_every_default() -> None:
    assert parse({"prompt": "Hi"}) == StreamRequest(
        session_id=NEW_ID,
        messages=(Message("user", "Hi"),),
        system=None,
        model="default-model",
        options=Options(max_tokens=1000),
        delivery="direct",
    )


def test_everything_that_can_be_said_reaches_the_model() -> None:
    request = parse(
        {
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
            ],
            "system": "Be brief.",
            "model": "other-model",
            "options": {"maxTokens": 7, "temperature": 0.25, "topP": 1, "stopSequences": ["END", "\n\nHuman:"]},
            "sessionId": SESSION_ID,
            "delivery": "direct",
        }
    )
    assert request == StreamRequest(
        session_id=SESSION_ID,
        messages=(Message("user", "one"), Message("assistant", "two"), Message("user", "three")),
        system="Be brief.",
        model="other-model",
        options=Options(max_tokens=7, temperature=0.25, top_p=1, stop_sequences=("END", "\n\nHuman:")),
        delivery="direct",
    )


def test_the_prompt_keeps_every_character() -> None:
    prompt = ' \n\t"\\\u2028\u0000é漢👩‍👩‍👧 '
    assert parse({"prompt": prompt}).messages == (Message("user", prompt),)


def test_null_is_the_same_as_leaving_a_field_out() -> None:
    absent = dict.fromkeys(["messages", "system", "model", "options", "sessionId", "delivery"])
    assert parse({"prompt": "Hi", **absent}) == parse({"prompt": "Hi"})
    options = dict.fromkeys(["maxTokens", "temperature", "topP", "stopSequences"])
    assert parse({"prompt": "Hi", "options": options}) == parse({"prompt": "Hi"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"Hi",
        b"{",
        b'{"prompt": "Hi"',
        b'{"prompt": "Hi"} {}',
        b"{'prompt': 'Hi'}",
        b'{"prompt": "Hi",}',
        b'\xef\xbb\xbf{"prompt": "Hi"}',
        '{"prompt": "Hi"}'.encode("utf-16"),
        b'{"prompt": "\xff"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"\xc3": 1}',
        b'{"prompt": "\\ud83d"}',
        b'{"prompt": "\\udc00\\ud83d"}',
        b'{"\\ud800": 1}',
        b'{"prompt": "a\nb"}',
        b'{"prompt": "Hi", "options": {"temperature": NaN}}',
        b'{"prompt": "Hi", "options": {"temperature": Infinity}}',
        b'{"prompt": "Hi", "options": {"temperature": 1e400}}',
        b'{"prompt": "Hi", "options": {"maxTokens": ' + b"9" * 5000 + b"}}",
        b"[" * 50_000,
        b'{"prompt":' * 9000,
        b"[" * 40_000 + b"]" * 40_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_request(body, LIMITS, NEW_ID)
    assert (raised.value.message, raised.value.field) == ("The body is not valid JSON.", None)


@pytest.mark.parametrize("document", [None, True, 5, "Hi", [], [{"prompt": "Hi"}]])
def test_a_body_that_is_no_object_is_refused(document: Any) -> None:
    assert field_at_fault(document) is None


def test_a_hundred_thousand_bytes_are_accepted_and_one_more_is_not() -> None:
    frame = len(b'{"prompt":""}')
    largest = b'{"prompt":"' + b"x" * (MAX_REQUEST_BYTES - frame) + b'"}'
    assert len(largest) == MAX_REQUEST_BYTES == 100_000
    assert len(parse_request(largest, LIMITS, NEW_ID).messages[0].content) == MAX_REQUEST_BYTES - frame
    with pytest.raises(TooLarge):
        parse_request(largest + b" ", LIMITS, NEW_ID)


def test_the_size_counts_bytes_not_characters() -> None:
    with pytest.raises(TooLarge):
        parse_request(json.dumps({"prompt": "漢" * 40_000}, ensure_ascii=False).encode(), LIMITS, NEW_ID)


def test_a_body_too_large_is_not_even_read() -> None:
    with pytest.raises(TooLarge):
        parse_request(b"\xff" * (MAX_REQUEST_BYTES + 1), LIMITS, NEW_ID)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t\u00a0\u2003"}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["Hi"]}, "prompt"),
        ({"prompt": {"text": "Hi"}}, "prompt"),
        ({"prompt": False}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"messages": [MESSAGE]}, "prompt"),
        ({"system": ""}, "system"),
        ({"system": ["Be brief."]}, "system"),
        ({"model": "unknown"}, "model"),
        ({"model": "Default-Model"}, "model"),
        ({"model": ""}, "model"),
        ({"model": ["default-model"]}, "model"),
        ({"model": 0}, "model"),
        ({"model": False}, "model"),
        ({"delivery": "queued"}, "delivery"),
        ({"delivery": "DIRECT"}, "delivery"),
        ({"delivery": {}}, "delivery"),
        ({"stream": True}, "stream"),
        ({"Prompt": "Hi"}, "Prompt"),
        ({"": 1}, ""),
        ({"x" * 100: 1}, "x" * 64),
        ({"options": []}, "options"),
        ({"options": "fast"}, "options"),
        ({"options": False}, "options"),
        ({"options": {"max_tokens": 5}}, "options.max_tokens"),
        ({"sessionId": ""}, "sessionId"),
        ({"sessionId": 5}, "sessionId"),
        ({"sessionId": "me"}, "sessionId"),
    ],
    ids=repr,
)
def test_a_bad_field_is_named(change: dict[str, Any], field: str) -> None:
    assert field_at_fault({"prompt": "Hi"} | change) == field


@pytest.mark.parametrize("document", [{}, {"prompt": None, "messages": None}, {"system": "Be brief."}])
def test_neither_prompt_nor_messages_is_refused(document: dict[str, Any]) -> None:
    assert field_at_fault(document) == "prompt"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ("Hi", "messages"),
        ({}, "messages"),
        (5, "messages"),
        ([MESSAGE] * 1001, "messages"),
        (["Hi"], "messages[0]"),
        ([None], "messages[0]"),
        ([[]], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"content": "Hi"}], "messages[0].role"),
        ([{"role": "assistant", "content": "Hi"}], "messages[0].role"),
        ([{"role": "system", "content": "Hi"}], "messages[0].role"),
        ([{"role": ["user"], "content": "Hi"}], "messages[0].role"),
        ([MESSAGE, MESSAGE, MESSAGE], "messages[1].role"),
        ([MESSAGE, {"role": "assistant", "content": "Hello"}], "messages"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": " "}], "messages[0].content"),
        ([{"role": "user", "content": [{"text": "Hi"}]}], "messages[0].content"),
        ([{"role": "user", "content": "Hi", "name": "me"}], "messages[0].name"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_conversation_that_does_not_go_to_and_fro_is_refused(messages: Any, field: str) -> None:
    assert field_at_fault({"messages": messages}) == field


@pytest.mark.parametrize("value", [-1, 0, 1001, 10**30, True, False, 5.0, 0.5, "5", [5], {}])
def test_max_tokens_outside_the_stacks_cap_is_refused(value: Any) -> None:
    assert field_at_fault({"prompt": "Hi", "options": {"maxTokens": value}}) == "options.maxTokens"


@pytest.mark.parametrize("value", [1, 1000])
def test_max_tokens_may_reach_its_bounds(value: int) -> None:
    assert parse({"prompt": "Hi", "options": {"maxTokens": value}}).options.max_tokens == value


@pytest.mark.parametrize("name", ["temperature", "topP"])
@pytest.mark.parametrize("value", [-0.01, 1.01, 2, -(10**30), True, "0.5", [0.5]])
def test_sampling_outside_zero_to_one_is_refused(name: str, value: Any) -> None:
    assert field_at_fault({"prompt": "Hi", "options": {name: value}}) == f"options.{name}"


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0, 5e-324])
def test_sampling_may_reach_its_bounds(value: float) -> None:
    options = parse({"prompt": "Hi", "options": {"temperature": value, "topP": value}}).options
    assert (options.temperature, options.top_p) == (value, value)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "options.stopSequences"),
        ("END", "options.stopSequences"),
        (["a", "b", "c", "d", "e"], "options.stopSequences"),
        (["a", ""], "options.stopSequences[1]"),
        ([" \n"], "options.stopSequences[0]"),
        ([None], "options.stopSequences[0]"),
        ([5], "options.stopSequences[0]"),
        (["x" * 257], "options.stopSequences[0]"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_stop_sequences_that_no_model_takes_are_refused(value: Any, field: str) -> None:
    assert field_at_fault({"prompt": "Hi", "options": {"stopSequences": value}}) == field


def test_a_session_id_has_one_spelling() -> None:
    assert parse({"prompt": "Hi", "sessionId": SESSION_ID.upper()}).session_id == SESSION_ID


@pytest.mark.parametrize(
    "value",
    [
        SESSION_ID.replace("-", ""),
        "{" + SESSION_ID + "}",
        "urn:uuid:" + SESSION_ID,
        SESSION_ID + " ",
        SESSION_ID + "\n",
        SESSION_ID[:-1],
        SESSION_ID[:-1] + "g",
        SESSION_ID.replace("-", "_"),
        SESSION_ID.replace("6", "\u0666"),
        "0x9619ff-8b86-4d01-b42d-00cf4fc964ff",
        "+f9619ff-8b86-4d01-b42d-00cf4fc964ff",
        "session",
        "",
    ],
)
def test_a_session_id_that_is_no_uuid_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_session_id(value)
    assert raised.value.field == "sessionId"


def test_where_frames_can_be_queued_a_client_may_ask_for_it() -> None:
    limits = Limits(("m",), 10, ("direct", "queued"))
    assert parse_request(b'{"prompt": "Hi", "delivery": "queued"}', limits, NEW_ID).delivery == "queued"
    assert parse_request(b'{"prompt": "Hi", "delivery": "direct"}', limits, NEW_ID).delivery == "direct"
    assert parse_request(b'{"prompt": "Hi"}', limits, NEW_ID).delivery == "direct"


@pytest.mark.parametrize("wanted", ["", ', "delivery": "direct"', ', "delivery": "queued"', ', "delivery": null'])
def test_where_nothing_is_sent_directly_every_answer_is_queued(wanted: str) -> None:
    limits = Limits(("m",), 10, ("direct", "queued"), direct_send=False)
    assert parse_request(f'{{"prompt": "Hi"{wanted}}}'.encode(), limits, NEW_ID).delivery == "queued"


def test_where_nothing_is_sent_directly_a_delivery_that_there_is_not_is_refused_all_the_same() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_request(
            b'{"prompt": "Hi", "delivery": "pigeon"}',
            Limits(("m",), 10, ("direct", "queued"), direct_send=False),
            NEW_ID,
        )
    assert raised.value.field == "delivery"


@pytest.mark.parametrize(
    ("value", "position"), [("1.2", Position(1, 2)), ("0.0", Position(0, 0)), ("012.00000007", Position(12, 7))]
)
def test_a_position_is_attempt_and_sequence(value: str, position: Position) -> None:
    assert parse_position(value) == position


@pytest.mark.parametrize(
    "value",
    ["", "1", "1.", ".1", "1.2.3", "-1.2", "1.-2", "1,2", " 1.2", "1.2\n", "\u0661.\u0662", "1.2e3", "9999999.1"],
)
def test_a_position_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_position(value)
    assert raised.value.field == "after"


def test_a_refusal_never_repeats_what_the_user_wrote() -> None:
    secret = "a secret"
    for document in (
        {"prompt": "Hi", "system": [secret]},
        {"prompt": "Hi", "model": secret},
        {"messages": [{"role": secret, "content": secret}]},
        {"prompt": "Hi", "options": {"stopSequences": [secret * 40]}},
        {"prompt": "Hi", "sessionId": secret},
    ):
        with pytest.raises(InvalidRequest) as raised:
            parse(document)
        assert secret not in raised.value.message


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
any_json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
# Half of the values are near to what a request wants: wholly random JSON fails at the first field.
texts = st.sampled_from(["Hi", "", " ", SESSION_ID, "user", "assistant", "direct", "default-model"])
near_messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]) | any_json, "content": texts | any_json}),
    max_size=3,
)
near_options = st.fixed_dictionaries(
    {},
    optional={
        "maxTokens": st.integers(-1, 1002) | any_json,
        "temperature": st.floats(-0.5, 1.5) | any_json,
        "topP": st.floats(-0.5, 1.5) | any_json,
        "stopSequences": st.lists(texts, max_size=5) | any_json,
    },
)
near_requests = st.fixed_dictionaries(
    {},
    optional={
        "prompt": texts | any_json,
        "messages": near_messages | any_json,
        "system": texts | any_json,
        "model": texts | any_json,
        "options": near_options | any_json,
        "sessionId": texts | any_json,
        "delivery": texts | any_json,
        "surplus": any_json,
    },
)


@given(near_requests | any_json)
@example({"prompt": "Hi", "options": {"temperature": -0.0}})
def test_any_json_is_a_valid_request_or_a_refusal(document: Any) -> None:
    try:
        request = parse(document)
    except Rejected:
        return
    assert [message.role for message in request.messages][::2] == ["user"] * ((len(request.messages) + 1) // 2)
    assert len(request.messages) % 2 == 1
    assert all(message.content.strip() for message in request.messages)
    assert request.model in LIMITS.models
    assert 1 <= request.options.max_tokens <= LIMITS.max_tokens
    assert parse_session_id(request.session_id) == request.session_id
    assert request.delivery == "direct"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_valid_request_or_a_refusal(body: bytes) -> None:
    try:
        parse_request(body, LIMITS, NEW_ID)
    except Rejected:
        return
