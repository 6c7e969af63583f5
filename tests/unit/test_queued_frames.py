import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes.frames import SESSION, Attempt
from tests.fakes.topics_api import ALLOWED_BY_SQS, Published
from tokenstream.frames import Token
from tokenstream.queued_frames import (
    NoMessage,
    QueuedFrames,
    QueuedReply,
    encode_frames,
    encode_reply,
    read_record,
)

CONNECTION = "VqYb2cO1IAMCIhw="


SENT_AT = 1_763_668_800.25


def record(text: str, receives: int = 1) -> dict[str, Any]:
    return Published(SESSION, "id", text).record(receives, SENT_AT)


# Frames


def test_frames_come_out_to_the_byte_and_in_order() -> None:
    frames = Attempt().answer(AWKWARD_TEXT, "", "👩\u200d🚀 \u2028")
    text = encode_frames(SESSION, [sealed.json for sealed in frames], None)
    assert read_record(record(text, receives=3)) == QueuedFrames(SESSION, tuple(frames), None, 3, SENT_AT)


def test_a_replays_frames_name_the_one_connection_that_asked() -> None:
    start = Attempt().start()
    assert read_record(record(encode_frames(SESSION, [start.json], CONNECTION))) == QueuedFrames(
        SESSION, (start,), CONNECTION, 1, SENT_AT
    )


def test_a_message_without_frames_is_a_heartbeat() -> None:
    assert read_record(record(encode_frames(SESSION, [], None))) == QueuedFrames(SESSION, (), None, 1, SENT_AT)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_of_a_models_has_a_character_that_sqs_refuses_or_comes_out_another(text: str) -> None:
    text += "\ufffe\uffff"
    message = encode_frames(SESSION, [Attempt().token(text).json], None)
    assert ALLOWED_BY_SQS.fullmatch(message)
    queued = read_record(record(message))
    assert isinstance(queued, QueuedFrames)
    [sealed] = queued.frames
    assert isinstance(sealed.frame, Token)
    assert sealed.frame.token == json.loads(sealed.json)["token"] == text


def test_what_a_later_version_adds_to_a_message_is_ignored() -> None:
    text = json.dumps({"type": "frames", "sessionId": SESSION, "frames": [], "traceId": "1"})
    assert read_record(record(text)) == QueuedFrames(SESSION, (), None, 1, SENT_AT)


# Replies


def test_a_reply_comes_out_to_the_byte() -> None:
    reply = b'{"type":"pong","requestId":"\xf0\x9f\x91\x8b"}'
    assert read_record(record(encode_reply(CONNECTION, reply))) == QueuedReply(CONNECTION, reply, 1)


# What is none

START = json.loads(Attempt().start().json)
NO_MESSAGES = [
    "",
    "Hi",
    "null",
    "[]",
    "{}",
    json.dumps({"type": "frames"}),
    json.dumps({"type": "frames", "sessionId": SESSION}),
    json.dumps({"type": "frames", "frames": []}),
    json.dumps({"type": "frames", "sessionId": "mark", "frames": []}),
    json.dumps({"type": "frames", "sessionId": SESSION, "frames": None}),
    json.dumps({"type": "frames", "sessionId": SESSION, "frames": ["mark"]}),
    json.dumps({"type": "frames", "sessionId": SESSION, "frames": [{}]}),
    json.dumps({"type": "frames", "sessionId": SESSION, "frames": [START | {"type": "heartbeat"}]}),
    json.dumps({"type": "frames", "sessionId": SESSION, "frames": [START | {"sequence": 0}]}),
    json.dumps({"type": "frames", "sessionId": SESSION, "frames": [], "connectionId": 7}),
    json.dumps({"type": "reply", "connectionId": CONNECTION}),
    json.dumps({"type": "mark", "sessionId": SESSION, "frames": []}),
    '{"type": "frames", "sessionId": "\\ud800", "frames": []}',
    f'{{"type": "frames", "sessionId": "{SESSION}", "frames": ' + "[" * 20_000,
]


@pytest.mark.parametrize("text", NO_MESSAGES, ids=lambda text: text[:80])
def test_a_message_of_somebody_elses_is_known_for_what_it_is(text: str) -> None:
    with pytest.raises(NoMessage) as raised:
        read_record(record(text))
    assert "mark" not in repr(raised.value)


def test_frames_of_another_session_do_not_reach_this_ones_client() -> None:
    another = Attempt("99999999-0000-4000-8000-000000000000")
    with pytest.raises(NoMessage):
        read_record(record(encode_frames(SESSION, [Attempt().start().json, another.token("secret").json], None)))


@given(text=st.text())
def test_no_text_whatsoever_is_a_fault(text: str) -> None:
    with pytest.raises(NoMessage):
        read_record(record(text))
