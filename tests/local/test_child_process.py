"""Programs that the stack runs, which end with it."""

import asyncio
import os
from pathlib import Path

import pytest

from local.child_process import ChildProcess
from tests.local.stack_process import alive, descendants, eventually


async def test_a_program_that_is_given_up_while_it_starts_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = ["sh", "-c", f"echo $$ > {pid}; sleep 60"]
    before = descendants(os.getpid())
    starting = asyncio.create_task(ChildProcess.start(program, os.environ, tmp_path, asyncio.subprocess.PIPE))
    while descendants(os.getpid()) <= before:
        await asyncio.sleep(0)
    # It runs, and nothing here has got hold of it: this waits without asyncio.
    eventually(lambda: pid.exists() and pid.read_text())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(30):
            await starting
    assert not alive(int(pid.read_text()))
