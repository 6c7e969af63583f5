import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.frames import MODEL, SESSION
from tests.fakes.keeper import FakeKeeper
from tests.fakes.sink import FakeSink
from tests.fakes.source import Break, FakeSource, Step
from tokenstream import telemetry
from tokenstream.errors import Throttled
from tokenstream.frames import Complete, Error, ErrorDetail, StopReason, Timings, Usage
from tokenstream.pump import Ending, Outcome, Pump
from tokenstream.relay import Relay
from tokenstream.session import Claim
from tokenstream.sources import Delta, Finished, ReasoningDelta

LAYER = Path(__file__).parents[2] / "layers" / "tokenstream"
CLAIM = Claim(SESSION, 2, "worker-1", 0.0)
FAILED = Outcome(
    Ending.TERMINAL,
    Error(session_id=SESSION, attempt=2, sequence=3, error=ErrorDetail.of(Throttled("Told to the client."))),
)


def completed(stop_reason: StopReason = "end_turn", first_token_ms: int | None = 250) -> Outcome:
    terminal = Complete(
        session_id=SESSION,
        attempt=2,
        sequence=3,
        stop_reason=stop_reason,
        usage=Usage(30, 40),
        timings=Timings(first_token_ms, 2500),
    )
    return Outcome(Ending.TERMINAL, terminal)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the functions' logger writes; its handler took hold of stdout before the test."""
    handler = telemetry.logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one line of embedded metrics that was printed."""
    [line] = capsys.readouterr().out.splitlines()
    document: dict[str, Any] = json.loads(line)
    return document


def names(document: dict[str, Any]) -> dict[str, float]:
    """Return the metrics as CloudWatch reads them out of the line."""
    [directive] = document["_aws"]["CloudWatchMetrics"]
    return {metric["Name"]: document[metric["Name"]][0] for metric in directive["Metrics"]}


def test_an_answer_counts_with_its_times_and_tokens(capsys: pytest.CaptureFixture[str], log: io.StringIO) -> None:
    telemetry.stream_ended(CLAIM, "rest", completed())
    assert names(metrics(capsys)) == {
        "CompletedStreams": 1,
        "StreamDuration": 2500,
        "InputTokens": 30,
        "OutputTokens": 40,
        "TimeToFirstToken": 250,
    }
    [line] = log.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["level"]) == ("stream ended", "INFO")
    assert (entry["session_id"], entry["attempt"], entry["path"]) == (SESSION, 2, "rest")
    assert entry["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (completed("cancelled"), "CancelledStreams"),
        (completed("deadline"), "CompletedStreams"),
        (FAILED, "FailedStreams"),
        (Outcome(Ending.LOST), "LostAttempts"),
        (Outcome(Ending.GIVEN_UP), "GivenUpAttempts"),
    ],
)
def test_each_ending_has_a_count_of_its_own_by_service_and_path(
    capsys: pytest.CaptureFixture[str], log: io.StringIO, outcome: Outcome, counted: str
) -> None:
    telemetry.stream_ended(CLAIM, "url", outcome)
    document = metrics(capsys)
    [directive] = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "tokenstream"
    # A dimension is paid for each of its values: an id would cost a metric a session.
    assert [sorted(dimensions) for dimensions in directive["Dimensions"]] == [["path", "service"]]
    assert (document["service"], document["path"]) == ("tokenstream", "url")
    assert document["session_id"] == SESSION
    counts = {name for name in names(document) if name.endswith(("Streams", "Attempts"))}
    assert counts == {counted}
    assert len(log.getvalue().splitlines()) == 1


def test_an_answer_without_a_token_spoils_no_average(capsys: pytest.CaptureFixture[str], log: io.StringIO) -> None:
    telemetry.stream_ended(CLAIM, "url", completed(first_token_ms=None))
    assert "TimeToFirstToken" not in names(metrics(capsys))


def test_a_failover_is_counted_by_path_and_its_reason_logged(
    capsys: pytest.CaptureFixture[str], log: io.StringIO
) -> None:
    telemetry.failed_over(session_id=SESSION, path="websocket", reason="status 503")
    document = metrics(capsys)
    assert names(document) == {"Failovers": 1}
    [directive] = document["_aws"]["CloudWatchMetrics"]
    assert [sorted(dimensions) for dimensions in directive["Dimensions"]] == [["path", "service"]]
    assert (document["path"], document["session_id"]) == ("websocket", SESSION)
    [line] = log.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["level"]) == ("direct way failed", "WARNING")
    assert (entry["session_id"], entry["path"], entry["reason"]) == (SESSION, "websocket", "status 503")


def test_what_is_counted_in_a_streams_course_is_not_counted_with_its_end(
    capsys: pytest.CaptureFixture[str], log: io.StringIO
) -> None:
    telemetry.count("Failovers", "appsync", "another-session")
    [directive] = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    assert [sorted(dimensions) for dimensions in directive["Dimensions"]] == [["path", "service"]]
    telemetry.stream_ended(CLAIM, "websocket", FAILED)
    document = metrics(capsys)
    assert names(document) == {"FailedStreams": 1}
    assert (document["path"], document["session_id"]) == ("websocket", SESSION)


def test_nothing_of_one_stream_is_counted_with_the_next_on_a_warm_worker(
    capsys: pytest.CaptureFixture[str], log: io.StringIO
) -> None:
    telemetry.stream_ended(CLAIM, "url", completed())
    capsys.readouterr()
    other = Claim("another-session", 1, "worker-1", 0.0)
    telemetry.stream_ended(other, "rest", FAILED)
    document = metrics(capsys)
    assert names(document) == {"FailedStreams": 1}
    assert (document["path"], document["session_id"]) == ("rest", "another-session")


@pytest.mark.parametrize(
    "ending", [Finished("end_turn", Usage(1, 2)), Throttled("Slow down."), RuntimeError("odd")], ids=str
)
def test_neither_metrics_nor_log_hold_a_word_of_the_answer(
    capsys: pytest.CaptureFixture[str], log: io.StringIO, ending: Step
) -> None:
    sink, clock = FakeSink(), FakeClock()
    relay = Relay(
        session_id=SESSION,
        attempt=2,
        model=MODEL,
        path="url",
        delivery="direct",
        started_at=clock(),
        max_frame_bytes=sink.max_frame_bytes,
    )
    outcome = Pump(
        source=FakeSource(ReasoningDelta("zibeben"), Delta("quitten"), ending, Break.OFF),
        relay=relay,
        sink=sink,
        keeper=FakeKeeper(),
        clock=clock,
        deadline=clock() + 600,
    ).run()
    telemetry.stream_ended(CLAIM, "url", outcome)
    assert "quitten" in str(sink.frames)
    printed = capsys.readouterr().out + log.getvalue()
    assert SESSION in printed
    assert "quitten" not in printed
    assert "zibeben" not in printed


def test_the_modules_loggers_write_into_the_functions_log(log: io.StringIO) -> None:
    logging.getLogger("tokenstream.pump").warning("a word", extra={"session_id": SESSION})
    [line] = log.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["session_id"], entry["service"]) == ("a word", SESSION, "tokenstream")


def run_python(code: str) -> str:
    """Run code in an interpreter that has imported nothing yet; return what it prints."""
    environment = {"PYTHONPATH": str(LAYER), "POWERTOOLS_TRACE_DISABLED": "true"}
    process = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True
    )
    return process.stdout.strip()


TRACED = """
import sys
from tokenstream.telemetry import traced
def handler(event, context):
    return event
made = traced(handler, enabled={enabled})
print("aws_xray_sdk" in sys.modules, made({{"a": 1}}, None))
"""


def test_tracing_that_is_off_costs_no_import_at_a_cold_start() -> None:
    assert run_python(TRACED.format(enabled=False)) == "False {'a': 1}"


def test_tracing_that_is_on_wraps_the_handler() -> None:
    assert run_python(TRACED.format(enabled=True)) == "True {'a': 1}"


def test_what_a_failed_invocation_was_caused_by_is_in_the_log_and_it_fails_all_the_same(log: io.StringIO) -> None:
    """Lambda's own report has the last exception alone."""

    def handler(event: dict[str, Any], context: Any) -> None:
        raise RuntimeError("the fault") from OSError("the cause")

    with pytest.raises(RuntimeError, match="the fault"):
        telemetry.traced(handler, enabled=False)({"prompt": "quitten"}, None)
    [line] = log.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["level"]) == ("invocation failed", "ERROR")
    assert "the cause" in entry["exception"]
    assert "quitten" not in line


def test_not_even_a_debugged_stack_logs_what_the_sdk_sends() -> None:
    # As Lambda sets the root logger up with LogLevel DEBUG.
    script = (
        "import logging; logging.getLogger().setLevel(logging.DEBUG); import tokenstream.telemetry;"
        "print([logging.getLogger(n).isEnabledFor(logging.DEBUG) for n in ('botocore.endpoint', 'urllib3.util')])"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], env={"PYTHONPATH": str(LAYER)}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[False, False]"
