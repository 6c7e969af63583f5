"""Runs a program in a process of its own and tells what it took, by the operating system's accounts."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

_STATUS = Path("/proc/self/status")
_MOST = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_SAY_MOST = f"\nprint(open({str(_STATUS)!r}).read())"


class Used(NamedTuple):
    """What a process took: seconds of CPU (user and system) and of time, and at most so many kilobytes of memory."""

    cpu_seconds: float
    seconds: float
    peak_kilobytes: int


def peak_kilobytes() -> int:
    """Return the most memory that this process has had.

    Not by the resource usage where there is another account: Linux counts in what the parent had when it started this
    process (`exec` sets the high-water mark to that of the memory that it replaces).
    """
    if _STATUS.exists():
        return _peak_in(_STATUS.read_text())
    return _of_rusage(resource.getrusage(resource.RUSAGE_SELF))


def run(program: str, environment: Mapping[str, str]) -> Used:
    """Run a Python program; raises `RuntimeError` when it fails."""
    accounted = _STATUS.exists()
    started_at = perf_counter()
    with subprocess.Popen(  # noqa: S603 - this interpreter, on a program of the benchmarks'
        [sys.executable, "-c", program + _SAY_MOST * accounted], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - started_at
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"a measured program has failed with status {process.returncode}")
    return Used(used.ru_utime + used.ru_stime, seconds, _peak_in(said) if accounted else _of_rusage(used))


def _peak_in(status: str) -> int:
    found = _MOST.search(status)
    if found is None:
        raise RuntimeError("the system says nothing of a process's memory")
    return int(found[1])


def _of_rusage(used: resource.struct_rusage) -> int:
    # Kilobytes, but on macOS, which alone counts in bytes.
    return used.ru_maxrss // 1024 if sys.platform == "darwin" else used.ru_maxrss
