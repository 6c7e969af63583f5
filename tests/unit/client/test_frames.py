from typing import Any

import pytest

from tests.unit.client.fake_stack import complete, error, numbered, start, token
from tokenstream_client.errors import ErrorDetail, ProtocolError
from tokenstream_client.frames import (
    Complete,
    ErrorFrame,
    Heartbeat,
    Reasoning,
    Start,
    Timings,
    Token,
    Unknown,
    Usage,
    parse,
)

PLACE: dict[str, Any] = {"session_id": "s", "attempt": 1, "sequence": 1}


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (start(), Start(**PLACE, model="paced", path="url", delivery="direct")),
        (token("é"), Token(**PLACE, token="é")),
        (token(""), Token(**PLACE, token="")),
        ({"type": "reasoning", "token": "hm"}, Reasoning(**PLACE, token="hm")),
        (
            complete(),
            Complete(**PLACE, stop_reason="end_turn", usage=Usage(3, 5), timings=Timings(210, 1900)),
        ),
        (
            {"type": "complete", "stopReason": "other", "modelStopReason": "novel", "timings": {"durationMs": 5}},
            Complete(**PLACE, stop_reason="other", model_stop_reason="novel", timings=Timings(None, 5)),
        ),
        (
            {"type": "complete", "stopReason": "cancelled", "timings": {"timeToFirstTokenMs": None, "durationMs": 9}},
            Complete(**PLACE, stop_reason="cancelled", timings=Timings(None, 9)),
        ),
        (
            error("throttled", "Later.", field="model"),
            ErrorFrame(**PLACE, error=ErrorDetail("throttled", "Later.", retryable=True, field="model")),
        ),
        ({"type": "citation"}, Unknown(**PLACE)),
    ],
)
def test_every_type_of_frame_is_read(message: dict[str, Any], frame: object) -> None:
    assert parse(numbered(message)[0]) == frame


def test_a_field_from_the_future_is_ignored_but_kept_for_those_who_look() -> None:
    message = numbered({**token("text"), "weight": 0.5})[0]
    frame = parse(message, 12.5)
    assert frame == Token(**PLACE, token="text")
    assert isinstance(frame, Token)
    assert frame.message["weight"] == 0.5
    assert frame.received_at_ms == 12.5


def test_a_heartbeat_is_outside_the_numbering() -> None:
    assert parse({"type": "heartbeat", "sessionId": "s"}) == Heartbeat()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": 1},
        {"type": "token", "sessionId": "s", "attempt": 1, "token": "x"},
        {"type": "token", "sessionId": "s", "attempt": 1, "sequence": "1", "token": "x"},
        numbered({"type": "token"})[0],
        numbered({"type": "complete"})[0],
        numbered({"type": "error", "error": "broken"})[0],
        numbered({"type": "start", "model": "m"})[0],
    ],
)
def test_what_lacks_a_needed_field_is_no_frame(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse(message)
