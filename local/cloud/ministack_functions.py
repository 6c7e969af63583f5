"""Stands in for MiniStack's worker processes: hands each event over to the stack, on the thread that invokes.

`local.cloud.forwarding` leaves `forward.json` as a function's code, which names the stack's own Lambda service: `host`,
`port`, `secret`. For such a function `guarded_ministack` has a `Forwarder` take the place of a worker: it costs no
process, and routes of a WebSocket API, which have one worker for all of a function's, no longer wait for each other.

What is replaced is looked up by name, so that a MiniStack that has it elsewhere doesn't start. This file imports
nothing of the stack: it runs where only MiniStack is installed.
"""

import http.client
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

HANDLER = "forward.to_the_stack"
"""The handler of the functions that are forwarded."""
TARGET = "forward.json"


class Forwarder:
    """What MiniStack takes for a function's worker; it may serve several invocations at once."""

    def __init__(self, name: str, config: Mapping[str, Any], code: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(code)) as package:
            self._target = json.loads(package.read(TARGET))
        self._name = name
        self._seconds = float(config["Timeout"])
        # The pool's, which asks them of every worker.
        self.config = config
        self.in_use = False
        self.last_used = time.time()
        self._proc = None

    def invoke(self, event: Any, request_id: str, **_environment: Any) -> dict[str, Any]:
        """Invoke the function of the same name in the stack, under the same request id.

        A failure's `error` is JSON with `errorType`, `errorMessage` and `requestId`.
        """
        try:
            failed, result = self._ask(json.dumps(event), request_id)
        except (OSError, http.client.HTTPException) as error:
            return {"status": "error", "error": f"no answer from the stack: {error!r}"}
        return {"status": "error", "error": result} if failed else {"status": "ok", "result": json.loads(result)}

    def kill(self) -> None:
        """Do nothing: there is no process."""

    def _discard_tmpdir(self) -> None:
        """Do nothing: there is no folder."""

    def _ask(self, event: str, request_id: str) -> tuple[bool, str]:
        """Give whether the function failed, and its result or error."""
        connection = http.client.HTTPConnection(self._target["host"], self._target["port"], timeout=self._seconds)
        try:
            connection.request(
                "POST",
                f"/functions/{self._name}/invocations",
                event,
                {"Authorization": f"Bearer {self._target['secret']}", "X-Amzn-Request-Id": request_id},
            )
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            return True, f"the stack answered {answer.status}: {text}"
        return bool(answer.getheader("X-Amz-Function-Error")), text


WorkerClass = Callable[[Mapping[str, Any]], Any]
"""A function's configuration → what makes its workers."""


def with_forwarders(worker_class: WorkerClass) -> WorkerClass:
    """Have the functions that are forwarded served by `Forwarder`."""

    def class_for(config: Mapping[str, Any]) -> Any:
        return Forwarder if config.get("Handler") == HANDLER else worker_class(config)

    return class_for


def install() -> None:
    """Replace what is missing; raises where MiniStack is not as this module knows it."""
    from ministack.core import lambda_runtime  # noqa: PLC0415 - there is no MiniStack where this is tested

    lambda_runtime._worker_class_for = with_forwarders(lambda_runtime._worker_class_for)  # noqa: SLF001
