"""Response streaming for Python functions on AWS Lambda.

Lambda's managed Python runtimes post a response in one piece. With ``AWS_LAMBDA_EXEC_WRAPPER=/opt/streaming-bootstrap``
this package runs the official ``awslambdaric`` loop with a client that posts HTTP responses as streams. Handlers have
two shapes::

    def handler(event, context):
        return {"statusCode": 200, "headers": {…}, "cookies": […], "body": generator}


    def handler(event, context):
        with response_stream(200, {"content-type": "text/plain"}) as stream:
            stream.write("…")

In the first the head goes out together with the generator's first item, and the generator runs after the handler and
its decorators have returned. In the second the head goes out on entering, decorators span the whole stream, and what
the handler returns afterwards is ignored.

Every result with an integer ``statusCode`` is posted with the HTTP prelude, a short one too; any other result is
posted by ``awslambdaric`` itself.

Errors::

    ResponseStreamError
    ├── StreamingUnavailableError   no invocation that can be streamed to: another runtime, a unit test, start-up
    ├── ResponseStartedError        a second response in one invocation
    ├── StreamClosedError           a write before entering or after leaving the ``with`` block
    ├── StreamNotClosedError        the handler returned and left its stream open
    ├── InvalidResponseError        status, headers, cookies or body that can't be sent
    └── RuntimeApiError             the Runtime API refused the response or hung up
"""

from tokenstream.runtime.errors import (
    InvalidResponseError,
    ResponseStartedError,
    ResponseStreamError,
    RuntimeApiError,
    StreamClosedError,
    StreamingUnavailableError,
    StreamNotClosedError,
)
from tokenstream.runtime.stream import ResponseStream, response_stream

__all__ = [
    "InvalidResponseError",
    "ResponseStartedError",
    "ResponseStream",
    "ResponseStreamError",
    "RuntimeApiError",
    "StreamClosedError",
    "StreamNotClosedError",
    "StreamingUnavailableError",
    "response_stream",
]
