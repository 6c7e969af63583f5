"""Logger, metrics and tracer, and the names that they use.

A log line carries ids, paths, attempts and codes; never a prompt, a token of the model's, a JWT or a raw event. A
metric's dimensions are `service` and `path`; the session's id is metadata.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, assert_never

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from tokenstream.frames import Complete, Error, Path
from tokenstream.pump import Ending, Outcome
from tokenstream.session import Claim

SERVICE = "tokenstream"

Handler = Callable[[dict[str, Any], Any], Any]

# At DEBUG the SDK logs what it sends: prompts, frames, tokens of users. Not even a stack that is debugged shall.
for _name in ("botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# The modules' own loggers (`tokenstream.pump`) are below this one by their names.
logger = Logger(service=SERVICE)
# Their namespace is POWERTOOLS_METRICS_NAMESPACE: two stacks in one account count apart.
_metrics = Metrics(service=SERVICE)


def traced(handler: Handler, *, enabled: bool) -> Handler:
    """Record each invocation with X-Ray; where tracing is off its library is not even imported (a quarter second)."""
    handler = _reported(handler)
    if not enabled:
        return handler
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415 - see above

    # A streamed answer is no response to record.
    return Tracer(service=SERVICE).capture_lambda_handler(handler, capture_response=False)


def _reported(handler: Handler) -> Handler:
    @wraps(handler)
    def report(event: dict[str, Any], context: Any) -> Any:
        try:
            return handler(event, context)
        except Exception as error:
            if error.__cause__ is not None:
                # The runtime's own report leaves that out.
                logger.exception("invocation failed")
            raise

    return report


def stream_ended(claim: Claim, path: Path, outcome: Outcome) -> None:
    """Log and count the end of an attempt."""
    ids = {"session_id": claim.session_id, "attempt": claim.attempt, "path": path}
    match outcome.terminal:
        case Complete(stop_reason=reason, usage=usage, timings=timings):
            logger.info("stream ended", extra={**ids, "stop_reason": reason, "duration_ms": timings.duration_ms})
            _count("CancelledStreams" if reason == "cancelled" else "CompletedStreams")
            _metrics.add_metric("StreamDuration", MetricUnit.Milliseconds, timings.duration_ms)
            _metrics.add_metric("InputTokens", MetricUnit.Count, usage.input_tokens)
            _metrics.add_metric("OutputTokens", MetricUnit.Count, usage.output_tokens)
            if timings.time_to_first_token_ms is not None:
                _metrics.add_metric("TimeToFirstToken", MetricUnit.Milliseconds, timings.time_to_first_token_ms)
        case Error(error=error):
            logger.warning("stream failed", extra={**ids, "error_code": error.code})
            _count("FailedStreams")
        case None:
            logger.warning("attempt ended without the stream", extra={**ids, "ending": outcome.ending.value})
            _count("LostAttempts" if outcome.ending is Ending.LOST else "GivenUpAttempts")
        case _:
            assert_never(outcome.terminal)
    _flush(path, claim.session_id)


def failed_over(*, session_id: str, path: Path, reason: str) -> None:
    """Log and count that a stream goes the queued way from here on, its direct one having failed."""
    logger.warning("direct way failed", extra={"session_id": session_id, "path": path, "reason": reason})
    count("Failovers", path, session_id)


def count(name: str, path: Path, session_id: str) -> None:
    """Count one event of a path."""
    _count(name)
    _flush(path, session_id)


def _flush(path: Path, session_id: str) -> None:
    _metrics.add_dimension("path", path)
    _metrics.add_metadata("session_id", session_id)
    _metrics.flush_metrics()


def _count(name: str) -> None:
    _metrics.add_metric(name, MetricUnit.Count, 1)
