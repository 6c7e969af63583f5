"""The record that a failure destination gets, as Lambda writes it.

The emulator leaves out version, time and request id, and tells of a forwarder's failure in place of the function's.
Source: Lambda developer guide, "Capturing records of Lambda asynchronous invocations".
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from local.functions.invoke_api import Invoke


def with_failure_records(invoke: Invoke, now: Callable[[], datetime]) -> Invoke:
    """Complete every event that is the emulator's failure record; `now` tells the time, in UTC."""

    async def invoke_with_record(function: str, event: bytes, request_id: str) -> bytes:
        document = json.loads(event)
        if _is_record(document):
            event = json.dumps(_completed(document, now())).encode()
        return await invoke(function, event, request_id)

    return invoke_with_record


def _is_record(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and {"requestContext", "requestPayload", "responsePayload"} <= event.keys()
        and "condition" in event["requestContext"]
    )


def _completed(record: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    failure = _failure(record["responsePayload"])
    context = record["requestContext"]
    return {
        "version": "1.0",
        "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z",
        "requestContext": {
            **context,
            "requestId": failure.get("requestId", ""),
            "functionArn": f"{context['functionArn']}:$LATEST",
            # The emulator says 3 whatever happened; without retries, as all of these are, it is this one.
            "approximateInvokeCount": 1,
        },
        "requestPayload": record["requestPayload"],
        "responseContext": {**record["responseContext"], "executedVersion": "$LATEST"},
        "responsePayload": {name: failure[name] for name in ("errorType", "errorMessage") if name in failure},
    }


def _failure(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read what the forwarder raised; the payload itself when the forwarder didn't get that far."""
    try:
        failure = json.loads(payload.get("errorMessage", ""))
    except ValueError:
        return payload
    return failure if isinstance(failure, dict) and "requestId" in failure else payload
