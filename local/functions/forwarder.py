"""Stands in for a function's code in the emulator: hands each event over to the stack and gives back its result.

It runs where only MiniStack is installed (`local.cloud.forwarding` puts it there), so it imports nothing but the
standard library. `forward.json` beside it names the stack's own Lambda service: `host`, `port`, `secret`.
"""

import http.client
import json
import sys
from pathlib import Path
from typing import Any

_TARGET = Path(__file__).with_name("forward.json")


class FunctionError(Exception):
    """The function failed; the message is JSON with `errorType`, `errorMessage` and `requestId`."""


def handler(event: Any, context: Any) -> Any:
    """Invoke the function of the same name in the stack, under the same request id."""
    # MiniStack waits 50 ms for the output of a handler that prints nothing.
    print(context.aws_request_id, file=sys.stderr)
    target = json.loads(_TARGET.read_text())
    connection = http.client.HTTPConnection(target["host"], target["port"])
    try:
        connection.request(
            "POST",
            f"/functions/{context.function_name}/invocations",
            json.dumps(event),
            {"Authorization": f"Bearer {target['secret']}", "X-Amzn-Request-Id": context.aws_request_id},
        )
        answer = connection.getresponse()
        result = answer.read().decode()
    finally:
        connection.close()
    if answer.getheader("X-Amz-Function-Error"):
        raise FunctionError(result)
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"the stack answered {answer.status}: {result}")
    return json.loads(result)
