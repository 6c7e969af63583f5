from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import decode

from tests.unit.recorded_response import RecordedResponse
from tokenstream.errors import Throttled
from tokenstream.frames import (
    Complete,
    Error,
    ErrorDetail,
    Reasoning,
    Sealed,
    Start,
    Timings,
    Token,
    Usage,
    seal,
)
from tokenstream.sinks import ClientGone
from tokenstream.sinks.http import BrokenOff, EventStream, HttpSink, JsonLines, PlainText, negotiated

SESSION_ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
HEARTBEAT = b'{"type":"heartbeat","sessionId":"%s"}' % SESSION_ID.encode()


def start() -> Sealed:
    return seal(Start(session_id=SESSION_ID, attempt=1, sequence=1, model="m", path="url", delivery="direct"))


def token(text: str, sequence: int = 2) -> Sealed:
    return seal(Token(session_id=SESSION_ID, attempt=1, sequence=sequence, token=text))


def reasoning(text: str) -> Sealed:
    return seal(Reasoning(session_id=SESSION_ID, attempt=1, sequence=2, token=text))


def complete() -> Sealed:
    return seal(
        Complete(
            session_id=SESSION_ID,
            attempt=1,
            sequence=3,
            stop_reason="end_turn",
            usage=Usage(1, 2),
            timings=Timings(5, 9),
        )
    )


def error() -> Sealed:
    detail = ErrorDetail.of(Throttled("Busy.", retryable=True))
    return seal(Error(session_id=SESSION_ID, attempt=1, sequence=2, error=detail))


FORMATS: list[Any] = [EventStream, JsonLines, PlainText]


def sink(response: RecordedResponse, body_format: Any = EventStream) -> HttpSink:
    return HttpSink(response.open, body_format(), {"X-Session-Id": SESSION_ID})


def run(out: HttpSink, *batches: list[Sealed]) -> None:
    with out:
        for batch in batches:
            out.send(batch)
        out.end()


def test_server_sent_events_to_the_byte() -> None:
    response = RecordedResponse()
    with sink(response) as out:
        out.send([start(), token('Hi "you"\n')])
        out.heartbeat(SESSION_ID)
        out.send([complete()])
    assert b"".join(response.writes) == (
        b"id: 1.1\nevent: start\n"
        b'data: {"type":"start","sessionId":"%(id)s","attempt":1,"sequence":1,"model":"m","path":"url",'
        b'"delivery":"direct"}\n\n'
        b"id: 1.2\nevent: token\n"
        b'data: {"type":"token","sessionId":"%(id)s","attempt":1,"sequence":2,"token":"Hi \\"you\\"\\n"}\n\n'
        b'event: heartbeat\ndata: {"type":"heartbeat","sessionId":"%(id)s"}\n\n'
        b"id: 1.3\nevent: complete\n"
        b'data: {"type":"complete","sessionId":"%(id)s","attempt":1,"sequence":3,"stopReason":"end_turn",'
        b'"usage":{"inputTokens":1,"outputTokens":2},"timings":{"timeToFirstTokenMs":5,"durationMs":9}}\n\n'
    ) % {b"id": SESSION_ID.encode()}


def test_json_lines_to_the_byte() -> None:
    response = RecordedResponse()
    frames = [start(), reasoning("Hm."), token("Hi\n"), complete()]
    with sink(response, JsonLines) as out:
        out.send(frames[:3])
        out.heartbeat(SESSION_ID)
        out.send(frames[3:])
    lines = [frame.json for frame in frames]
    assert b"".join(response.writes) == b"".join(line + b"\n" for line in [*lines[:3], HEARTBEAT, lines[3]])


def test_plain_text_is_the_text_and_nothing_else() -> None:
    response = RecordedResponse()
    with sink(response, PlainText) as out:
        out.send([start(), reasoning("Hm."), token("Hé ")])
        out.heartbeat(SESSION_ID)
        out.send([token("you\n", 3), complete()])
    assert b"".join(response.writes) == "Hé you\n".encode()


@pytest.mark.parametrize(
    ("body_format", "content_type"),
    [
        (EventStream, "text/event-stream; charset=utf-8"),
        (JsonLines, "application/x-ndjson"),
        (PlainText, "text/plain; charset=utf-8"),
    ],
)
def test_the_head_names_format_and_session(body_format: Any, content_type: str) -> None:
    response = RecordedResponse()
    with sink(response, body_format) as out:
        assert response.head is None
        out.send([start(), token("Hi")])
        assert response.head == (200, {"X-Session-Id": SESSION_ID, "Content-Type": content_type})
    assert response.ended == "well"


@given(st.text())
def test_no_text_breaks_an_event_or_a_line(text: str) -> None:
    sealed = token(text)
    event = EventStream().encode(sealed)
    # Only line feed and carriage return end a line there (HTML standard, 9.2.5).
    assert b"\r" not in event
    lines = event.split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data", b"", b""]
    assert decode(lines[2].removeprefix(b"data: "))["token"] == text
    assert JsonLines().encode(sealed).count(b"\n") == 1
    assert PlainText().encode(sealed).decode() == text


def test_frames_that_leave_together_are_one_write() -> None:
    response = RecordedResponse()
    with sink(response) as out:
        out.send([start(), token("a"), token("b", 3)])
    assert len(response.writes) == 1


@pytest.mark.parametrize("body_format", FORMATS)
def test_an_answer_that_fails_before_its_first_byte_opens_no_response(body_format: Any) -> None:
    response = RecordedResponse()
    with sink(response, body_format) as out:
        out.send([start(), error()])
        out.end()
    assert response.head is None
    assert out.rejection == ErrorDetail.of(Throttled("Busy.", retryable=True))


@pytest.mark.parametrize("body_format", [EventStream, JsonLines])
def test_an_answer_that_fails_later_says_so_in_a_frame(body_format: Any) -> None:
    response = RecordedResponse()
    with sink(response, body_format) as out:
        out.send([start(), token("Hi")])
        out.send([error()])
        out.end()
    assert out.rejection is None
    assert error().json in response.writes[-1]
    assert response.ended == "well"


def test_an_answer_whose_only_news_so_far_was_a_heartbeat_fails_in_a_frame() -> None:
    response = RecordedResponse()
    with sink(response) as out:
        out.heartbeat(SESSION_ID)
        out.send([start(), error()])
        out.end()
    assert out.rejection is None
    assert error().json in response.writes[-1]


def test_a_plain_text_that_fails_ends_with_the_error_in_its_trailers() -> None:
    response = RecordedResponse()
    with pytest.raises(BrokenOff, match="throttled"):
        run(sink(response, PlainText), [start(), token("Hi")], [error()])
    assert (response.writes, response.ended) == ([b"Hi"], "BrokenOff")


def test_a_plain_text_that_fails_while_all_was_reasoning_is_broken_off_too() -> None:
    response = RecordedResponse()
    with pytest.raises(BrokenOff):
        run(sink(response, PlainText), [start(), reasoning("Hm.")], [error()])
    assert (response.writes, response.ended) == ([], "BrokenOff")


@pytest.mark.parametrize("body_format", FORMATS)
def test_an_answer_that_goes_well_ends_well(body_format: Any) -> None:
    response = RecordedResponse()
    with sink(response, body_format) as out:
        out.send([start(), complete()])
        out.end()
    assert (out.rejection, response.ended) == (None, "well")


def test_an_answer_of_which_nothing_was_sent_is_never_an_empty_200() -> None:
    response = RecordedResponse()
    with sink(response) as out:
        out.end()
    assert response.head is None
    assert out.rejection is not None
    assert out.rejection.code == "internal"


def test_a_client_that_is_gone_is_noticed_again_and_again() -> None:
    response = RecordedResponse()
    with sink(response) as out:
        out.send([start(), token("Hi")])
        response.breaks = True
        for _ in range(3):
            with pytest.raises(ClientGone):
                out.send([token("more", 3)])
            with pytest.raises(ClientGone):
                out.heartbeat(SESSION_ID)


def test_a_fault_within_the_response_ends_it_as_failed() -> None:
    response = RecordedResponse()
    with pytest.raises(AttributeError):
        run(sink(response), [start(), token("Hi")], [None])  # type: ignore[list-item] # no frame
    assert response.ended == "AttributeError"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PlainText),
        ("*/*", PlainText),
        ("text/*", PlainText),
        ("text/plain", PlainText),
        ("text/html", PlainText),
        ("application/json, text/plain, */*", PlainText),
        ("text/event-streams", PlainText),
        ("garbage;;;,,,=", PlainText),
        ("text/event-stream", EventStream),
        ("TEXT/Event-Stream", EventStream),
        (" text/event-stream ; charset=utf-8", EventStream),
        ("text/event-stream, */*", EventStream),
        ("*/*, text/event-stream", EventStream),
        ("text/html, text/event-stream;q=0.9", EventStream),
        ("application/x-ndjson", JsonLines),
        ("Application/X-NDJSON;q=0.5, */*;q=0.1", JsonLines),
        ("text/event-stream, application/x-ndjson", EventStream),
        ("application/x-ndjson, text/event-stream", JsonLines),
        ("application/x-ndjson;q=0.4, text/event-stream;q=0.8", EventStream),
        ("text/event-stream; q=0.4, application/x-ndjson; Q=0.8", JsonLines),
        ("text/event-stream;q=0.5, text/plain", PlainText),
        ("text/event-stream;q=0", PlainText),
        ("text/event-stream;q=0.000, application/x-ndjson;q=0.001", JsonLines),
        ("text/event-stream;q=high", EventStream),
        ("text/event-stream;q=nan", EventStream),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, expected: type) -> None:
    assert type(negotiated(accept)) is expected
