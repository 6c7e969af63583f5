"""What MiniStack's Step Functions lack, put into its process by `guarded_ministack`.

A function that fails in a state machine's task is `Runtime.HandlerError` there, whatever it raised: where it runs in
the stack (`local.cloud.ministack_functions`) its own error is JSON inside the message. On AWS the error is what the
function raised, and the cause its whole error object, so that `Retry` and `Catch` can go by the name.
Source: Step Functions developer guide, "Handling errors in Step Functions workflows".

What is replaced is looked up by name, so that a MiniStack that has it elsewhere doesn't start. This file imports
nothing of the stack: it runs where only MiniStack is installed.
"""

import json
from collections.abc import Callable
from typing import Any

Call = Callable[[Any, Any], Any]
"""Function, event → its result."""


def own_error(cause: str) -> tuple[str, str] | None:
    """Read the function's error, and the cause that Step Functions makes of it, from what is known of a forwarder's."""
    try:
        failure = json.loads(json.loads(cause)["errorMessage"])
        error = {"errorMessage": failure["errorMessage"], "errorType": failure["errorType"]}
    except (ValueError, KeyError, TypeError):
        return None
    return error["errorType"], json.dumps(error)


def with_own_errors(call: Call, failed: type[Exception]) -> Call:
    """Have `call` raise the function's own error; `failed` is what it raises, with `error` and `cause`."""

    def call_function(function: Any, event: Any) -> Any:
        try:
            return call(function, event)
        except failed as failure:
            if own := own_error(getattr(failure, "cause", "")):
                raise failed(*own) from failure
            raise

    return call_function


def install() -> None:
    """Replace what is missing; raises where MiniStack is not as this module knows it."""
    from ministack.services import stepfunctions  # noqa: PLC0415 - there is no MiniStack where this is tested

    stepfunctions._call_lambda = with_own_errors(stepfunctions._call_lambda, stepfunctions._ExecutionError)  # noqa: SLF001
