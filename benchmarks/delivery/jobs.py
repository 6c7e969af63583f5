"""What the harness asks of the processes that it measures, and what they answer: JSON, a line each."""

import resource
import sys
from collections.abc import Callable
from typing import Literal

from msgspec import Struct
from msgspec.json import decode, encode

from benchmarks.process import peak_kilobytes

Sink = Literal["url", "websocket", "appsync", "sns"]


class Job(Struct, frozen=True):
    """Stream one answer to this sink."""

    sink: Sink


class Done(Struct, frozen=True):
    """It has been streamed. User and system CPU, and the most memory that the process has had, are the system's."""

    cpu_seconds: float
    peak_kilobytes: int


def serve(stream: Callable[[Sink], None]) -> None:
    """Do jobs until there are no more."""
    for line in sys.stdin.buffer:
        job = decode(line, type=Job)
        before = _cpu()
        stream(job.sink)
        done = Done(_cpu() - before, peak_kilobytes())
        sys.stdout.buffer.write(encode(done) + b"\n")
        sys.stdout.buffer.flush()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
