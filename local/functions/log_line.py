"""How a function's log line reads on a terminal; its file has it unchanged."""

import json

# What every line repeats, and what is shown in front.
_REPEATED = frozenset(
    {
        "cold_start",
        "function_arn",
        "function_memory_size",
        "function_name",
        "function_request_id",
        "level",
        "location",
        "message",
        "service",
        "timestamp",
        "xray_trace_id",
    }
)


def readable(line: str) -> str | None:
    """Shorten a record of Powertools' logger; None for metrics, which are for machines. Other lines stay."""
    try:
        record = json.loads(line) if line.startswith("{") else None
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return line
    if "_aws" in record:
        return None
    if "level" not in record or "message" not in record:
        return line
    rest = [f"{name}={value}" for name, value in record.items() if name not in _REPEATED and name != "exception"]
    trace = [f"\n{record['exception']}"] if "exception" in record else []
    return " ".join([str(record["level"]), str(record["message"]), *rest, *trace])
