import json
from base64 import b64encode
from typing import Any

import pytest

from tests.unit.bedrock_messages import TEXTS, anthropic_events
from tokenstream.errors import ModelError, Throttled, TokenstreamError
from tokenstream.frames import Usage
from tokenstream.request import Message as Turn
from tokenstream.request import Options, StreamRequest
from tokenstream.sources import Delta, Finished, ReasoningDelta, SourceEvent
from tokenstream.sources.anthropic import EventReader, request_body
from tokenstream.sources.eventstream import Message


def carried(event: Any) -> Message:
    return Message({}, json.dumps({"bytes": b64encode(json.dumps(event).encode()).decode()}).encode())


def read(*events: Any) -> list[SourceEvent]:
    reader = EventReader()
    return [result for event in events if (result := reader.read(carried(event))) is not None]


def delta(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def ended(**delta: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 22}}


STOP = {"type": "message_stop"}


def test_a_bare_request_names_nothing_that_is_left_to_the_model() -> None:
    request = StreamRequest("id", (Turn("user", "Hi"),), None, "m", Options(max_tokens=5), "direct")
    assert json.loads(request_body(request)) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_every_option_reaches_the_model_zero_too() -> None:
    turns = (Turn("user", "é"), Turn("assistant", "two"), Turn("user", "three"))
    options = Options(max_tokens=5, temperature=0, top_p=0.0, stop_sequences=("END",))
    assert json.loads(request_body(StreamRequest("id", turns, "Be brief.", "m", options, "direct"))) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": "é"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ],
        "system": "Be brief.",
        "temperature": 0,
        "top_p": 0.0,
        "stop_sequences": ["END"],
    }


def test_a_whole_answer_gives_its_text_its_end_and_its_counts() -> None:
    assert read(*anthropic_events()) == [*map(Delta, TEXTS), Finished("end_turn", Usage(11, 22))]


def test_thinking_is_reasoning_and_no_text() -> None:
    assert read(delta("thinking_delta", thinking="Hm."), delta("signature_delta", signature="x")) == [
        ReasoningDelta("Hm.")
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_use"),
        ("refusal", "refusal"),
        ("content_filter", "content_filtered"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_why_the_model_stopped_is_told_in_our_words(theirs: str, ours: str) -> None:
    assert read(ended(stop_reason=theirs), STOP) == [Finished(ours, Usage(0, 22))]


def test_an_answer_that_the_guardrail_stopped_says_so() -> None:
    assert read(ended(stop_reason="end_turn"), STOP | {"amazon-bedrock-guardrailAction": "INTERVENED"}) == [
        Finished("guardrail", Usage(0, 22))
    ]
    assert read(STOP | {"amazon-bedrock-guardrailAction": "INTERVENED"}) == [Finished("guardrail", Usage())]
    assert read(ended(stop_reason="end_turn"), STOP | {"amazon-bedrock-guardrailAction": "NONE"}) == [
        Finished("end_turn", Usage(0, 22))
    ]


def test_counts_are_known_before_the_end() -> None:
    reader = EventReader()
    for event in anthropic_events()[:3]:
        reader.read(carried(event))
    assert reader.usage == Usage(11, 1)


def test_counts_that_the_end_repeats_replace_those_of_the_start() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1, "output_tokens": 1}}}
    end = ended(stop_reason="end_turn") | {"usage": {"input_tokens": 12, "output_tokens": 7}}
    assert read(start, end, STOP) == [Finished("end_turn", Usage(12, 7))]


def test_an_answer_that_ends_without_a_reason_is_not_complete() -> None:
    with pytest.raises(ModelError):
        read(delta("text_delta", text="Hi"), STOP)


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error"])
def test_an_overloaded_model_is_throttling(kind: str) -> None:
    with pytest.raises(Throttled) as raised:
        read({"type": "error", "error": {"type": kind, "message": "theirs"}})
    assert raised.value.retryable


@pytest.mark.parametrize(
    "error", [{"type": "api_error", "message": "theirs"}, {"type": ["overloaded_error"]}, {"type": None}, {}, None, "x"]
)
def test_any_other_error_event_ends_the_answer(error: Any) -> None:
    with pytest.raises(ModelError) as raised:
        read({"type": "error", "error": error})
    assert raised.value.retryable
    assert "theirs" not in str(raised.value)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ping"},
        {"type": "something_new", "delta": {"text": "x"}},
        {"type": None},
        {"type": ["content_block_delta"]},
        {},
        [],
        None,
        5,
        "content_block_delta",
        delta("text_delta"),
        delta("text_delta", text=None),
        delta("text_delta", text=5),
        delta("text_delta", text={"text": "x"}),
        delta("thinking_delta", thinking=None),
        delta("input_json_delta", partial_json="{"),
        {"type": "content_block_delta", "delta": None},
        {"type": "content_block_delta", "delta": "x"},
        {"type": "content_block_delta"},
        {"type": "message_start"},
        {"type": "message_start", "message": None},
        {"type": "message_start", "message": []},
        {"type": "message_start", "message": {"usage": None}},
        {"type": "message_start", "message": {"usage": [1, 2]}},
        {"type": "message_start", "message": {"usage": {"input_tokens": None, "output_tokens": "5"}}},
        {"type": "message_delta"},
        {"type": "message_delta", "delta": None},
        {"type": "message_delta", "delta": {}, "usage": None},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {}},
        {"type": "message_delta", "delta": {"stop_reason": 5}},
        {"type": "message_delta", "delta": {"stop_reason": ["end_turn"]}},
        {"type": "message_delta", "delta": {"stop_reason": {}}},
    ],
    ids=repr,
)
def test_an_event_of_an_unknown_shape_does_no_harm(event: Any) -> None:
    answer = anthropic_events()
    for place in range(len(answer)):
        assert read(*answer[:place], event, *answer[place:]) == read(*answer)


@pytest.mark.parametrize("usage", [None, [], 5, {}, {"output_tokens": None}, {"output_tokens": "22"}])
def test_counts_that_are_missing_at_the_end_cost_no_answer(usage: Any) -> None:
    start = anthropic_events()[0]
    assert read(start, ended(stop_reason="end_turn") | {"usage": usage}, STOP) == [Finished("end_turn", Usage(11, 1))]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"5",
        b"[]",
        b'"bytes"',
        b"{}",
        b'{"bytes": null}',
        b'{"bytes": 5}',
        b'{"bytes": ["e30="]}',
        b'{"bytes": ""}',
        b'{"bytes": "e30"}',
        '{"bytes": "é"}'.encode(),
        b'{"bytes": "AAAA"}',
        json.dumps({"bytes": b64encode(b'{"type": "\xff"}').decode()}).encode(),
    ],
    ids=repr,
)
def test_a_chunk_that_is_none_is_an_error_that_the_source_translates(payload: bytes) -> None:
    with pytest.raises((ValueError, TokenstreamError)):
        EventReader().read(Message({}, payload))
