import json
from typing import Any

import pytest

from tests.unit.bedrock_messages import TEXTS, converse_events
from tokenstream.errors import ModelError
from tokenstream.frames import Usage
from tokenstream.request import Message as Turn
from tokenstream.request import Options, StreamRequest
from tokenstream.settings import Guardrail
from tokenstream.sources import Delta, Finished, ReasoningDelta, SourceEvent
from tokenstream.sources.converse import EventReader, request_body
from tokenstream.sources.eventstream import Message


def read(*events: tuple[str, Any]) -> list[SourceEvent]:
    reader = EventReader()
    return [
        result
        for kind, event in events
        if (result := reader.read(Message({":event-type": kind}, json.dumps(event).encode()))) is not None
    ]


METADATA = ("metadata", {"usage": {"inputTokens": 11, "outputTokens": 22, "totalTokens": 33}})


def test_a_bare_request_names_nothing_that_is_left_to_the_model() -> None:
    request = StreamRequest("id", (Turn("user", "Hi"),), None, "m", Options(max_tokens=5), "direct")
    assert json.loads(request_body(request, None)) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 5},
    }


def test_every_option_reaches_the_model_zero_too() -> None:
    turns = (Turn("user", "é"), Turn("assistant", "two"), Turn("user", "three"))
    options = Options(max_tokens=5, temperature=0, top_p=0.0, stop_sequences=("END",))
    request = StreamRequest("id", turns, "Be brief.", "m", options, "direct")
    assert json.loads(request_body(request, Guardrail("gr", "1"))) == {
        "messages": [
            {"role": "user", "content": [{"text": "é"}]},
            {"role": "assistant", "content": [{"text": "two"}]},
            {"role": "user", "content": [{"text": "three"}]},
        ],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0, "topP": 0.0, "stopSequences": ["END"]},
        "guardrailConfig": {
            "guardrailIdentifier": "gr",
            "guardrailVersion": "1",
            "streamProcessingMode": "sync",
        },
    }


def test_a_whole_answer_gives_its_text_its_end_and_its_counts() -> None:
    assert read(*converse_events()) == [*map(Delta, TEXTS), Finished("end_turn", Usage(11, 22))]


def test_reasoning_is_no_text() -> None:
    assert read(
        ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "Hm."}}}),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"signature": "x"}}}),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": "eA=="}}}),
    ) == [ReasoningDelta("Hm.")]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_use"),
        ("guardrail_intervened", "guardrail"),
        ("content_filtered", "content_filtered"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
    ],
)
def test_why_the_model_stopped_is_told_in_our_words(theirs: str, ours: str) -> None:
    assert read(("messageStop", {"stopReason": theirs}), METADATA) == [Finished(ours, Usage(11, 22))]


def test_an_answer_that_ends_without_a_reason_is_not_complete() -> None:
    with pytest.raises(ModelError):
        read(("contentBlockDelta", {"delta": {"text": "Hi"}}), METADATA)


@pytest.mark.parametrize(
    "event",
    [
        ("somethingNew", {"delta": {"text": "x"}}),
        ("somethingNew", None),
        ("contentBlockStart", {"start": {"toolUse": {"name": "x"}}}),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": "{"}}}),
        ("contentBlockDelta", {"delta": {"text": None}}),
        ("contentBlockDelta", {"delta": {"text": 5}}),
        ("contentBlockDelta", {"delta": {"text": ["x"]}}),
        ("contentBlockDelta", {"delta": {"reasoningContent": None}}),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"text": None}}}),
        ("contentBlockDelta", {"delta": None}),
        ("contentBlockDelta", {"delta": "x"}),
        ("contentBlockDelta", {}),
        ("contentBlockDelta", []),
        ("contentBlockDelta", None),
        ("contentBlockDelta", 5),
        ("messageStop", {}),
        ("messageStop", None),
        ("messageStop", {"stopReason": None}),
        ("messageStop", {"stopReason": ["end_turn"]}),
        ("messageStop", {"stopReason": 5}),
        ("metadata", {}),
        ("metadata", None),
        ("metadata", {"usage": None}),
        ("metadata", {"usage": []}),
        ("metadata", {"usage": {"inputTokens": 1}}),
        ("metadata", {"usage": {"inputTokens": None, "outputTokens": 1}}),
        ("metadata", {"usage": {"inputTokens": "1", "outputTokens": 1}}),
    ],
    ids=repr,
)
def test_an_event_of_an_unknown_shape_does_no_harm(event: tuple[str, Any]) -> None:
    answer = converse_events()
    for place in range(len(answer)):
        assert read(*answer[:place], event, *answer[place:]) == read(*answer)


def test_an_event_without_its_type_does_no_harm() -> None:
    assert EventReader().read(Message({}, b'{"delta": {"text": "x"}}')) is None


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff", b'{"delta": {"text": "\xff"}}', b'{"delta": {"text": "\\ud800"}}']
)
def test_a_payload_that_is_no_json_is_an_error_that_the_source_translates(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - msgspec's and UnicodeDecodeError have no more in common
        EventReader().read(Message({":event-type": "contentBlockDelta"}, payload))
