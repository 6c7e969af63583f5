"""The official Runtime API client with the posting of results replaced.

Written against awslambdaric 4.2.2, which the layer pins. Its loop, ``bootstrap.handle_event_request``, calls within
one try statement the handler and ``marshaller.marshal_response``, logs what they raise and gives it to
``post_invocation_error``; otherwise it gives the marshalled result to ``post_invocation_result``, whose exceptions end
the process.
"""

import contextlib
import json
import logging
from typing import Any

from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import InvocationRequest, LambdaRuntimeClient
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from tokenstream.runtime.errors import StreamNotClosedError
from tokenstream.runtime.function_error import describe
from tokenstream.runtime.invocation import Invocation
from tokenstream.runtime.post import PostState
from tokenstream.runtime.prelude import CONTENT_TYPE
from tokenstream.runtime.result import HttpResult, is_http_result, read_http_result

_log = logging.getLogger(__name__)


class StreamingMarshaller(LambdaMarshaller):  # type: ignore[misc] # awslambdaric has no types
    """Turns HTTP results into streams, and leaves any other result to its base."""

    def marshal_response(self, response: object) -> tuple[object, str]:
        """Return what ``post_invocation_result`` shall post, and its content type; None where all is posted.

        What is raised here becomes the invocation's error.
        """
        if Invocation.current is not None and Invocation.current.response is not None:
            if Invocation.current.response.is_open:
                raise StreamNotClosedError("the handler returned without leaving the `with` block of its stream")
            return None, CONTENT_TYPE
        if is_http_result(response):
            return read_http_result(response), CONTENT_TYPE  # type: ignore[arg-type] # is_http_result says so
        result, content_type = super().marshal_response(response)
        return result, content_type


class StreamingRuntimeClient(LambdaRuntimeClient):  # type: ignore[misc] # awslambdaric has no types
    """Posts HTTP results as streams. One invocation at a time."""

    def __init__(self, lambda_runtime_address: str, use_thread_for_polling_next: bool = False) -> None:
        super().__init__(lambda_runtime_address, use_thread_for_polling_next)
        # Not a class attribute as in the base: its encoder depends on the environment.
        self.marshaller = StreamingMarshaller()

    def wait_next_invocation(self) -> InvocationRequest:
        """Wait for an invocation and make it the current one."""
        Invocation.current = None
        request = super().wait_next_invocation()
        Invocation.current = Invocation(self.lambda_runtime_address, request.invoke_id, request.invocation_id)
        return request

    def post_invocation_result(
        self, invoke_id: str, result_data: Any, content_type: str = "application/json", invocation_id: str | None = None
    ) -> None:
        """Post a result; nothing where the handler has posted it itself.

        Raises `RuntimeApiError`, which ends the process as any failing post in ``awslambdaric`` does.
        """
        match result_data:
            case None:
                return
            case HttpResult():
                self._post_stream(invoke_id, result_data)
            case _:
                super().post_invocation_result(invoke_id, result_data, content_type, invocation_id)

    def post_invocation_error(
        self, invoke_id: str, error_response_data: str, xray_fault: str, invocation_id: str | None = None
    ) -> None:
        """Report an error the way that is still legal: ``/error``, trailers, or only the log (where it is already)."""
        response = Invocation.current.response if Invocation.current is not None else None
        if response is None:
            super().post_invocation_error(invoke_id, error_response_data, xray_fault, invocation_id)
        elif response.is_open:
            response.fail(json.loads(error_response_data))
        elif response.state is PostState.COMPLETE:
            _log.warning("the error above came after the response had ended: the client doesn't see it")

    def _post_stream(self, invoke_id: str, result: HttpResult) -> None:
        assert Invocation.current is not None  # noqa: S101 - a result comes after wait_next_invocation
        response = None
        try:
            with contextlib.closing(result):
                response = Invocation.current.start_response(result.prelude)
                for chunk in result.chunks:
                    response.write(chunk)
        except BaseException as error:
            # A broken connection has ended the response; raised, it ends the process, as in the base's posts.
            if response is None or not response.is_open:
                raise
            described = describe(error, invoke_id)
            _log_error(described)
            response.fail(described)
            if not isinstance(error, Exception):
                raise
        else:
            response.complete()


def _log_error(described: dict[str, Any]) -> None:
    """Log a failure as awslambdaric logs a handler's, in the format and to the sink that it has set up."""
    sinks = (getattr(handler, "log_sink", None) for handler in logging.getLogger().handlers)
    bootstrap.log_error(described, next(filter(None, sinks), None) or bootstrap.StandardLogSink())
