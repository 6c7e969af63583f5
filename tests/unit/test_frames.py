import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import DecodeError

from tests.fakes.frames import SESSION, Attempt
from tokenstream.errors import ErrorCode, InvalidRequest, Throttled
from tokenstream.frames import (
    BEGINNING,
    Complete,
    ErrorDetail,
    Position,
    Timings,
    Token,
    Usage,
    encode_heartbeat,
    is_terminal,
    seal,
    unseal,
)


def test_a_client_reads_every_field_under_the_name_that_is_published() -> None:
    frames = Attempt(attempt=2)
    fields = {"sessionId": SESSION, "attempt": 2}
    assert json.loads(frames.start().json) == fields | {
        "type": "start",
        "sequence": 1,
        "model": "anthropic.claude-sonnet-4-20250514-v1:0",
        "path": "url",
        "delivery": "direct",
    }
    assert json.loads(frames.token("Hi").json) == fields | {"type": "token", "sequence": 2, "token": "Hi"}
    assert json.loads(frames.reasoning("Hm").json) == fields | {"type": "reasoning", "sequence": 3, "token": "Hm"}
    assert json.loads(frames.complete().json) == fields | {
        "type": "complete",
        "sequence": 4,
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 5},
        "timings": {"timeToFirstTokenMs": 20, "durationMs": 100},
    }
    assert json.loads(frames.error(Throttled("Busy.", retryable=True)).json) == fields | {
        "type": "error",
        "sequence": 5,
        "error": {"code": "throttled", "message": "Busy.", "retryable": True},
    }


def test_a_stop_reason_of_the_models_own_reaches_the_client_beside_other() -> None:
    frame = Complete(
        session_id=SESSION,
        attempt=1,
        sequence=1,
        stop_reason="other",
        usage=Usage(),
        timings=Timings(None, 0),
        model_stop_reason="bored",
    )
    document = json.loads(seal(frame).json)
    assert (document["stopReason"], document["modelStopReason"]) == ("other", "bored")
    assert document["timings"]["timeToFirstTokenMs"] is None


def test_an_error_names_the_field_at_fault_and_only_then() -> None:
    assert ErrorDetail.of(InvalidRequest("No.", field="options.maxTokens")).field == "options.maxTokens"
    without = json.loads(Attempt().error(InvalidRequest("No.")).json)["error"]
    assert without == {"code": ErrorCode.INVALID_REQUEST.value, "message": "No.", "retryable": False}


def test_a_heartbeat_has_no_number_that_a_client_could_count() -> None:
    assert json.loads(encode_heartbeat(SESSION)) == {"type": "heartbeat", "sessionId": SESSION}


def test_a_frame_is_one_line_to_any_reader() -> None:
    """Python's `splitlines` knows more ends of a line than the formats do."""
    line_ends = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    sealed = Attempt().token(line_ends)
    assert len(sealed.json.decode().splitlines()) == 1
    assert json.loads(sealed.json)["token"] == line_ends


@given(st.text())
def test_a_stored_frame_comes_back_with_the_same_bytes_and_the_same_text(text: str) -> None:
    sealed = Attempt().token(text)
    assert unseal(sealed.json) == sealed
    assert unseal(sealed.json.decode()) == sealed
    assert isinstance(sealed.frame, Token)
    assert json.loads(sealed.json)["token"] == sealed.frame.token == text


def test_a_frame_of_a_later_version_is_read_though_it_has_a_field_more() -> None:
    sealed = unseal(b'{"type":"token","sessionId":"s","attempt":1,"sequence":2,"token":"x","mood":"good"}')
    assert sealed.frame == Token(session_id="s", attempt=1, sequence=2, token="x")
    assert b"mood" in sealed.json


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{}",
        b'{"type":"heartbeat","sessionId":"s"}',
        b'{"type":"token","sessionId":"s","attempt":1,"sequence":0,"token":"x"}',
        b'{"type":"token","sessionId":"s","attempt":0,"sequence":1,"token":"x"}',
        b'{"type":"complete","sessionId":"s","attempt":1,"sequence":1,"stopReason":"bored","usage":{},'
        b'"timings":{"timeToFirstTokenMs":1,"durationMs":1}}',
    ],
)
def test_what_is_no_frame_is_not_taken_for_one(stored: bytes) -> None:
    with pytest.raises(DecodeError):
        unseal(stored)


def test_positions_order_as_frames_do_a_higher_attempt_first_of_all() -> None:
    assert BEGINNING < Position(1, 1) < Position(1, 99) < Position(2, 0) < Position(2, 1)
    assert Attempt(attempt=3).start().frame.position == Position(3, 1)


def test_only_complete_and_error_end_a_stream() -> None:
    frames = Attempt()
    unended = [frames.start(), frames.token("a"), frames.reasoning("b")]
    ends = [frames.complete(), frames.error(Throttled("Busy."))]
    assert [is_terminal(sealed.frame) for sealed in unended + ends] == [False, False, False, True, True]
