import base64
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.runtime_api_recorder import RuntimeApiRecorder
from tokenstream.runtime import (
    InvalidResponseError,
    ResponseStartedError,
    RuntimeApiError,
    StreamClosedError,
    StreamingUnavailableError,
    response_stream,
)
from tokenstream.runtime.invocation import Invocation

PRELUDE_END = bytes(8)


@pytest.fixture
def api() -> Iterator[RuntimeApiRecorder]:
    with RuntimeApiRecorder() as api:
        yield api


@pytest.fixture
def invocation(api: RuntimeApiRecorder, monkeypatch: pytest.MonkeyPatch) -> Invocation:
    invocation = Invocation(api.address, "request-1", "attempt-1")
    monkeypatch.setattr(Invocation, "current", invocation)
    return invocation


@pytest.mark.usefixtures("invocation")
def test_each_write_arrives_before_the_next_is_made(api: RuntimeApiRecorder) -> None:
    with response_stream(201, {"content-type": "text/plain"}, ["a=1"]) as stream:
        post = api.post()
        head = {"statusCode": 201, "headers": {"content-type": "text/plain"}, "cookies": ["a=1"]}
        prelude = post.chunk()
        assert prelude is not None
        assert (json.loads(prelude.removesuffix(PRELUDE_END)), prelude[-8:]) == (head, PRELUDE_END)
        for text in ("one", "Ünï 🚀"):
            stream.write(text)
            assert post.chunk() == text.encode()
        stream.write(b"\x00\xff")
        assert post.chunk() == b"\x00\xff"
        stream.write("")
    assert (post.chunk(), post.trailers) == (None, {})


@pytest.mark.usefixtures("invocation")
def test_the_post_is_what_lambda_takes_for_a_streamed_http_response(api: RuntimeApiRecorder) -> None:
    with response_stream(200, {}):
        post = api.post()
    assert post.target == "/2018-06-01/runtime/invocation/request-1/response"
    expected = {
        "content-type": "application/vnd.awslambda.http-integration-response",
        "lambda-runtime-function-response-mode": "streaming",
        "lambda-runtime-invocation-id": "attempt-1",
        "transfer-encoding": "chunked",
        "trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        "connection": "close",
    }
    assert expected.items() <= post.headers.items()


def test_a_runtime_api_without_invocation_ids_gets_none_back(
    api: RuntimeApiRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invocation, "current", Invocation(api.address, "request-1", None))
    with response_stream(200, {}):
        pass
    assert "lambda-runtime-invocation-id" not in api.post().headers


@pytest.mark.usefixtures("invocation")
def test_a_failing_body_ends_in_http_trailers_and_the_exception_goes_on(api: RuntimeApiRecorder) -> None:
    with pytest.raises(ValueError, match="midway") as failure, response_stream(200, {}) as stream:  # noqa: PT012 - what fails is the body of the with
        stream.write("one")
        raise ValueError("midway ✗")
    post = api.post()
    assert post.body().endswith(b"one")
    error = json.loads(base64.b64decode(post.trailers["lambda-runtime-function-error-body"]))
    assert post.trailers["lambda-runtime-function-error-type"] == error["errorType"] == "ValueError"
    assert (error["errorMessage"], error["requestId"]) == ("midway ✗", "request-1")
    assert Path(__file__).name in error["stackTrace"][-1]
    assert failure.value.__context__ is None
    # Trailers stand after the last chunk: nothing of them is in the body.
    assert b"\r\n0\r\nLambda-Runtime-Function-Error-Type: ValueError\r\n" in post.raw


def test_opening_and_closing_may_be_separate_calls(invocation: Invocation, api: RuntimeApiRecorder) -> None:
    stack = ExitStack()
    stream = stack.enter_context(response_stream(200, {}))
    stream.write("one")
    stack.close()
    assert api.post().body().endswith(b"one")
    with pytest.raises(StreamClosedError):
        stream.write("two")
    assert invocation.response is not None
    assert not invocation.response.is_open


@pytest.mark.usefixtures("invocation")
def test_another_thread_may_write(api: RuntimeApiRecorder) -> None:
    with response_stream(200, {}) as stream:
        sender = threading.Thread(target=stream.write, args=("from a thread",))
        sender.start()
        sender.join()
    assert api.post().body().endswith(b"from a thread")


@pytest.mark.usefixtures("invocation")
def test_a_second_stream_is_refused_and_the_first_stays_usable(api: RuntimeApiRecorder) -> None:
    with response_stream(200, {}) as stream:
        with pytest.raises(ResponseStartedError):
            response_stream(200, {}).__enter__()
        stream.write("one")
    with pytest.raises(ResponseStartedError):
        response_stream(200, {}).__enter__()
    with pytest.raises(ResponseStartedError):
        stream.__enter__()
    assert api.post().body().endswith(b"one")
    assert api.nothing_posted()


def test_without_a_streaming_invocation_the_error_names_the_wrapper() -> None:
    with pytest.raises(StreamingUnavailableError, match="AWS_LAMBDA_EXEC_WRAPPER"):
        response_stream(200, {}).__enter__()


def test_a_write_before_entering_is_refused() -> None:
    with pytest.raises(StreamClosedError):
        response_stream(200, {}).write("early")


@pytest.mark.usefixtures("invocation")
@pytest.mark.parametrize("chunk", [None, 1, {"a": 1}, ["a"]])
def test_a_chunk_that_is_neither_text_nor_bytes_is_an_error(api: RuntimeApiRecorder, chunk: object) -> None:
    with pytest.raises(InvalidResponseError, match="str or bytes"), response_stream(200, {}) as stream:
        stream.write(chunk)  # type: ignore[arg-type] # what is tested
    assert api.post().body().endswith(PRELUDE_END)


@pytest.mark.usefixtures("api")
def test_a_head_that_cannot_be_sent_leaves_the_response_unstarted(invocation: Invocation) -> None:
    with pytest.raises(InvalidResponseError):
        response_stream(200, {"x": "y" * 20_000})
    assert invocation.response is None


REFUSAL = b'HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\n{"errorType":"TooLarge"}'


def test_a_refused_response_is_an_error_with_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeApiRecorder(REFUSAL) as api:
        monkeypatch.setattr(Invocation, "current", Invocation(api.address, "request-1", None))
        with pytest.raises(RuntimeApiError, match="TooLarge"), response_stream(200, {}) as stream:
            stream.write("one")


def test_a_broken_connection_is_an_error_in_the_handler_and_not_reported_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def write_on() -> None:
        with response_stream(200, {}) as stream:
            while True:
                stream.write("x" * 65536)

    with RuntimeApiRecorder(b"", hang_up=True) as api, caplog.at_level(logging.WARNING):
        monkeypatch.setattr(Invocation, "current", Invocation(api.address, "request-1", None))
        with pytest.raises(RuntimeApiError, match="hung up"):
            write_on()
    assert not caplog.records


def test_no_runtime_api_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeApiRecorder() as api:
        address = api.address
    monkeypatch.setattr(Invocation, "current", Invocation(address, "request-1", None))
    with pytest.raises(RuntimeApiError, match="no connection"):
        response_stream(200, {}).__enter__()


def test_a_failure_that_cannot_be_reported_does_not_hide_the_handlers_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with RuntimeApiRecorder(REFUSAL) as api:
        monkeypatch.setattr(Invocation, "current", Invocation(api.address, "request-1", None))
        with pytest.raises(ValueError, match="midway"), response_stream(200, {}):
            raise ValueError("midway")
    assert "could not be reported" in caplog.text
