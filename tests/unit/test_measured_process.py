import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import start_up
from benchmarks.process import Used, run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
MEGABYTE = 2**20
# The system counts a little late: some tens of pages.
FORTY = 39 * 1024


def test_what_a_program_takes_in_memory_is_found() -> None:
    nothing = run("pass", ENVIRONMENT)
    much = run(f"held = b'x' * {40 * MEGABYTE}", ENVIRONMENT)
    assert FORTY <= much.peak_kilobytes - nothing.peak_kilobytes < 60 * 1024


def test_memory_that_was_given_back_counts() -> None:
    nothing = run("pass", ENVIRONMENT)
    assert run(f"b'x' * {40 * MEGABYTE}", ENVIRONMENT).peak_kilobytes - nothing.peak_kilobytes >= FORTY


@pytest.mark.parametrize(
    "measured",
    ["run('pass', dict(os.environ)).peak_kilobytes", "int(subprocess.check_output([sys.executable, '-c', own]))"],
)
def test_a_program_is_not_charged_for_the_memory_of_whoever_starts_it(measured: str) -> None:
    """The system's own account of resources does that."""
    program = (
        "import os, subprocess, sys\nfrom benchmarks.process import run\n"
        "own = 'from benchmarks.process import peak_kilobytes; print(peak_kilobytes())'\n"
        f"held = b'x' * {200 * MEGABYTE}\nprint({measured})"
    )
    printed = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert int(printed.stdout) < 100 * 1024


def test_work_is_charged_and_waiting_is_not() -> None:
    worked = run("import time\nwhile time.process_time() < 0.2: pass", ENVIRONMENT)
    assert worked.cpu_seconds >= 0.2
    assert worked.seconds >= 0.2
    waited = run("import time\ntime.sleep(0.2)", ENVIRONMENT)
    assert waited.seconds >= 0.2
    assert waited.cpu_seconds < worked.cpu_seconds


def test_a_program_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="status 3"):
        run("raise SystemExit(3)", ENVIRONMENT)


def test_a_start_is_compared_with_the_baseline_of_the_same_round() -> None:
    baseline = [Used(cpu, 2 * cpu, 1) for cpu in (0.4, 0.2, 9.0)]
    starts = [Used(cpu, cpu, 1) for cpu in (0.1, 0.1, 5.0)]
    rows = {(row.what, row.case): row for row in start_up._rows(baseline, {"f": starts})}
    cpu = rows["start-up, CPU, against boto3 with a client", "f"]
    assert (cpu.figure, cpu.reached) == (0.25, True)
    assert rows["start-up, time, against boto3 with a client", "f"].figure == 0.125
    assert rows["start-up, CPU", "f"].figure == 100
    assert rows["start-up, CPU", "boto3 with a client"].figure == 400
