"""A function with a handler for everything that a streamed response can do; `event["do"]` names it."""

# ruff: noqa: T201 - what a function prints is its log

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer

from tokenstream.runtime import StreamingUnavailableError, response_stream

logger = Logger(service="streaming-function")
metrics = Metrics(namespace="tests", service="streaming-function")
tracer = Tracer(service="streaming-function", disabled=True)

TEXT = {"content-type": "text/plain; charset=utf-8"}


def handler(event: dict[str, Any], context: Any) -> Any:
    if event["do"] == "decorated":
        return decorated(event, context)
    return HANDLERS[event["do"]](event)


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler
@metrics.log_metrics
def decorated(event: dict[str, Any], _context: Any) -> None:
    with response_stream(200, TEXT, ["a=1", "b=2"]) as stream:
        stream.write(f"{os.getpid()}\n")
        wait_for(event.get("gate"))
        stream.write("decorated")
        metrics.add_metric("Chunks", "Count", 2)
        logger.info("inside the stream")
        if event.get("fail"):
            raise ValueError("after two chunks")


def wait_for(path: str | None) -> None:
    """Go on when the test says so; the function's time-out is the deadline."""
    while path is not None and not Path(path).exists():
        time.sleep(0.005)


def generator(event: dict[str, Any]) -> dict[str, Any]:
    def body() -> Iterator[str]:
        try:
            yield f"{os.getpid()}\n"
            wait_for(event.get("gate"))
            yield "generated"
            if event.get("fail"):
                raise ValueError("after two chunks")
        finally:
            print("the generator was closed")

    return {"statusCode": 201, "headers": TEXT, "cookies": ["a=1"], "body": body()}


def chunks(event: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": 200, "body": iter(["", "plain ", b"bytes ", "", "Ünï ✓ 🚀", b"\x00\xff"])}


def numbered(event: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": 200, "headers": TEXT, "body": (f"{event['name']}:{i}\n" for i in range(event["count"]))}


def fails_first(event: dict[str, Any]) -> dict[str, Any]:
    def body() -> Iterator[str]:
        raise LookupError("before the first chunk")
        yield ""

    return {"statusCode": 200, "body": body()}


def fails(event: dict[str, Any]) -> dict[str, Any]:
    raise LookupError("before the response")


def fails_deep(event: dict[str, Any]) -> None:
    def descend(depth: int) -> None:
        if depth > 0:
            (descend if depth % 2 else ascend)(depth - 1)
        else:
            raise ValueError("deep " * 2000)

    def ascend(depth: int) -> None:
        descend(depth)

    with response_stream(200, TEXT) as stream:
        stream.write("shallow")
        descend(300)


def fails_after(event: dict[str, Any]) -> None:
    with response_stream(200, TEXT) as stream:
        stream.write("complete")
    raise ValueError("after the response")


def never_closed(event: dict[str, Any]) -> None:
    response_stream(200, TEXT).__enter__().write("begun")


def exit_stack(event: dict[str, Any]) -> str:
    with ExitStack() as stack:
        stream = stack.enter_context(response_stream(202, TEXT))
        stream.write("entered")
    return "ignored"


def opened_twice(event: dict[str, Any]) -> None:
    with response_stream(200, TEXT), response_stream(200, TEXT):
        pass


def invalid(event: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": 200, "headers": {"x": "y" * event.get("header", 1)}, "body": {"an": "object"}}


def empty(event: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": 204}


def v1_result(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "statusCode": 200,
        "headers": {"x-count": 3},
        "multiValueHeaders": {"X-Count": ["4", "5"], "Set-Cookie": ["a=1", "b=2"]},
        "isBase64Encoded": True,
        "body": "w6k=",
    }


def plain(event: dict[str, Any]) -> dict[str, Any]:
    return {"no": "statusCode", "text": "é"}


def large(event: dict[str, Any]) -> str:
    size: int = event["size"]
    return "x" * size


def unavailable(event: dict[str, Any]) -> str:
    try:
        with response_stream(200, TEXT):
            return "opened"
    except StreamingUnavailableError:
        return "unavailable"


def big(event: dict[str, Any]) -> None:
    with response_stream(200, TEXT) as stream:
        for _ in range(event["megabytes"]):
            stream.write(b"x" * 2**20)
    Path(event["done"]).touch()


def environment(event: dict[str, Any]) -> dict[str, Any]:
    return {"environment": dict(os.environ), "path": sys.path, "pid": os.getpid()}


def parent(event: dict[str, Any]) -> None:
    child = subprocess.Popen(["/bin/sleep", "600"])
    with response_stream(200, TEXT) as stream:
        stream.write(f"{os.getpid()} {child.pid}\n")
        wait_for(event["gate"])


def long_line(event: dict[str, Any]) -> None:
    print("y" * event["length"])
    print("after it")


HANDLERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    handler.__name__: handler
    for handler in (
        generator, chunks, numbered, fails_first, fails, fails_deep, fails_after, never_closed, exit_stack,
        opened_twice, invalid, empty, v1_result, plain, large, unavailable, big, environment, parent, long_line,
    )
}  # fmt: skip
