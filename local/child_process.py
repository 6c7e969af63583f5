"""A program that the stack runs and that ends with it (see `local.tether`)."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_TETHER = Path(__file__).with_name("tether.py")
_GRACE = 3.0


class ChildProcess:
    """One running program with its process group."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path, output: int | IO[bytes]
    ) -> "ChildProcess":
        """Run the command with exactly this environment. `output` takes both of its output streams."""
        tethered = [sys.executable, "-I", "-S", _TETHER, str(_GRACE), *command]
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *tethered,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        )
        try:
            return cls(await asyncio.shield(starting))
        except asyncio.CancelledError:
            # By itself asyncio kills the tether, and then waits for what that has started and can't end any more.
            await cls(await starting).end()
            raise

    @property
    def exited(self) -> bool:
        """Whether the program has ended."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Its exit status."""
        return await self._process.wait()

    async def read(self) -> bytes:
        """All of its output, when `output` was a pipe; returns when it closes it."""
        assert self._process.stdout is not None  # noqa: S101 the caller asked for a pipe
        return await self._process.stdout.read()

    async def end(self) -> None:
        """Ask it to end, then make it, its children included; returns when it is gone."""
        assert self._process.stdin is not None  # noqa: S101 started with a pipe
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_GRACE + 2):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
