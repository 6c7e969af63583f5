import base64
import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest
from awslambdaric.bootstrap import StandardLogSink

from tests.unit.runtime_api_recorder import RuntimeApiRecorder
from tokenstream.runtime import ResponseStreamError, RuntimeApiError, StreamNotClosedError, response_stream
from tokenstream.runtime.client import StreamingRuntimeClient
from tokenstream.runtime.invocation import Invocation

REFUSAL = b'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{"errorType":"InvalidRequestID"}'
ERROR = json.dumps({"errorMessage": "late", "errorType": "ValueError", "requestId": "r", "stackTrace": []})


@pytest.fixture
def api() -> Iterator[RuntimeApiRecorder]:
    with RuntimeApiRecorder() as api:
        yield api


def client_of(api: RuntimeApiRecorder, monkeypatch: pytest.MonkeyPatch) -> StreamingRuntimeClient:
    monkeypatch.setattr(Invocation, "current", Invocation(api.address, "request-1", "attempt-1"))
    return StreamingRuntimeClient(api.address)


@pytest.fixture
def client(api: RuntimeApiRecorder, monkeypatch: pytest.MonkeyPatch) -> StreamingRuntimeClient:
    return client_of(api, monkeypatch)


def post_result(client: StreamingRuntimeClient, result: object) -> None:
    """Do what awslambdaric's loop does with a handler's result."""
    marshalled, content_type = client.marshaller.marshal_response(result)
    client.post_invocation_result("request-1", marshalled, content_type, "attempt-1")


class Body:
    """A generator that fails after its first item, and knows whether it was closed."""

    def __init__(self, failure: BaseException) -> None:
        self._failure = failure
        self.closed = False

    def __iter__(self) -> Iterator[str]:
        yield "one"
        raise self._failure

    def close(self) -> None:
        self.closed = True


def test_each_item_of_a_generator_goes_out_before_the_next_is_made(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder
) -> None:
    def body() -> Iterator[str]:
        yield "one"
        post = api.post()
        assert post.headers["lambda-runtime-invocation-id"] == "attempt-1"
        assert (post.chunk() or b"").startswith(b'{"statusCode":200')
        assert post.chunk() == b"one"
        yield "two"
        assert post.chunk() == b"two"
        yield ""
        yield "three"
        assert post.chunk() == b"three"

    post_result(client, {"statusCode": 200, "body": body()})


def test_a_generator_failing_midway_ends_in_trailers_and_is_logged_as_a_handlers_failure(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    body = Body(ValueError("midway"))
    post_result(client, {"statusCode": 200, "body": body})
    post = api.post()
    assert post.body().endswith(b"one")
    assert json.loads(base64.b64decode(post.trailers["lambda-runtime-function-error-body"]))["errorMessage"] == "midway"
    assert body.closed
    assert "[ERROR] ValueError: midway" in capsys.readouterr().out


def test_a_generator_that_ends_the_process_reports_it_first(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder
) -> None:
    with pytest.raises(SystemExit):
        post_result(client, {"statusCode": 200, "body": Body(SystemExit(1))})
    assert api.post().trailers["lambda-runtime-function-error-type"] == "SystemExit"


def test_a_failing_close_does_not_pass_for_a_whole_response(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder
) -> None:
    class Unclosable(Body):
        def __iter__(self) -> Iterator[str]:
            yield "one"

        def close(self) -> None:
            raise self._failure

    post_result(client, {"statusCode": 200, "body": Unclosable(OSError("not flushed"))})
    assert api.post().trailers["lambda-runtime-function-error-type"] == "OSError"


def test_a_refused_response_ends_the_process_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeApiRecorder(REFUSAL) as api, pytest.raises(RuntimeApiError, match="InvalidRequestID"):
        post_result(client_of(api, monkeypatch), {"statusCode": 200, "body": "short"})


def test_a_broken_connection_stops_and_closes_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Body):
        def __iter__(self) -> Iterator[str]:
            while True:
                yield "x" * 65536

    body = Endless(ValueError())
    with RuntimeApiRecorder(b"", hang_up=True) as api, pytest.raises(RuntimeApiError, match="hung up"):
        post_result(client_of(api, monkeypatch), {"statusCode": 200, "body": body})
    assert body.closed


def test_an_error_with_the_stream_still_open_goes_into_its_trailers(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder
) -> None:
    response_stream(200, {}).__enter__()
    with pytest.raises(StreamNotClosedError):
        client.marshaller.marshal_response(None)
    client.post_invocation_error("request-1", ERROR, "{}", "attempt-1")
    post = api.post()
    assert post.target.endswith("/response")
    assert json.loads(base64.b64decode(post.trailers["lambda-runtime-function-error-body"])) == json.loads(ERROR)


@pytest.mark.parametrize("failing", [False, True])
def test_an_error_after_the_response_is_never_posted(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder, caplog: pytest.LogCaptureFixture, *, failing: bool
) -> None:
    with contextlib.suppress(ResponseStreamError), response_stream(200, {}) as stream:
        stream.write(cast("str", None) if failing else "whole")
    client.post_invocation_error("request-1", ERROR, "{}", "attempt-1")
    assert bool(api.post().trailers) is failing
    assert api.nothing_posted()
    assert ("the client doesn't see it" in caplog.text) is not failing


def test_a_result_after_a_stream_is_not_posted(client: StreamingRuntimeClient, api: RuntimeApiRecorder) -> None:
    with response_stream(200, {}):
        pass
    post_result(client, {"statusCode": 500, "body": "ignored"})
    assert (api.post().body()[-8:], api.nothing_posted()) == (bytes(8), True)


def test_a_failure_goes_to_the_log_that_lambda_reads(
    client: StreamingRuntimeClient, api: RuntimeApiRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sink(StandardLogSink):  # type: ignore[misc] # awslambdaric has no types
        def log_error(self, message_lines: Any) -> None:
            lines.extend(message_lines)

    lines: list[str] = []
    handler = logging.NullHandler()
    monkeypatch.setattr(handler, "log_sink", Sink(), raising=False)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    post_result(client, {"statusCode": 200, "body": Body(ValueError("midway"))})
    assert lines[0] == "[ERROR] ValueError: midway"
