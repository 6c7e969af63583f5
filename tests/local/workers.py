"""Finds the processes in which a function of the local stack runs."""

from collections.abc import Iterator
from pathlib import Path

from tests.local.stack_process import RunningStack, descendants


def workers_of(stack: RunningStack, function: str) -> Iterator[int]:
    """Give the ids of the processes that run the function of this folder now."""
    for pid in descendants(stack.process.process.pid):
        environment = Path(f"/proc/{pid}/environ")
        try:
            if f"/{function}\0".encode() in environment.read_bytes() and _is_python(pid):
                yield pid
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue


def _is_python(pid: int) -> bool:
    return b"awslambdaric" in Path(f"/proc/{pid}/cmdline").read_bytes()
