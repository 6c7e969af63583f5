"""MiniStack, the emulator of the AWS services: a program of its own, on loopback, whose state ends with it."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientError, ClientSession

from local.checkout import Checkout
from local.child_process import ChildProcess
from local.cloud import guarded_ministack
from local.errors import StackError
from local.loopback import HOST, free_port

_GUARDED = Path(guarded_ministack.__file__)
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_TRIES = 3
_LAST_LINES = 30


class MiniStack:
    """A running emulator."""

    def __init__(self, endpoint: str, process: ChildProcess, log: Path) -> None:
        self.endpoint = endpoint
        self._process = process
        self._log = log

    async def ended(self) -> None:
        """Wait until it has ended by itself."""
        await self._process.wait()

    def last_words(self) -> str:
        """Give the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


@asynccontextmanager
async def ministack(checkout: Checkout, region: str, port: int | None = None) -> AsyncIterator[MiniStack]:
    """Run it on this port, or a free one. Raises `StackError` when it doesn't start."""
    python = checkout.tools / "ministack" / "bin" / "python"
    if not python.exists():
        raise StackError(f"MiniStack is not installed ({python} is missing): make install")
    state = checkout.temporary / "ministack"
    log = checkout.logs / "ministack.log"
    for left in range(_TRIES - 1, -1, -1):
        process, endpoint = await _launch(python, state, log, region, port or free_port())
        emulator = MiniStack(endpoint, process, log)
        try:
            if await _healthy(process, endpoint):
                yield emulator
                return
        finally:
            await process.end()
            await asyncio.to_thread(shutil.rmtree, state, ignore_errors=True)
        # Somebody else may have taken the free port in between.
        if port or not left:
            raise StackError("MiniStack did not start.", emulator.last_words())


async def _launch(python: Path, state: Path, log: Path, region: str, port: int) -> tuple[ChildProcess, str]:
    shutil.rmtree(state, ignore_errors=True)
    temporary = state / "tmp"
    temporary.mkdir(parents=True)
    with log.open("wb") as output:
        process = await ChildProcess.start(
            [python, "-P", _GUARDED], _environment(state, temporary, region, port), cwd=state, output=output
        )
    return process, f"http://{HOST}:{port}"


def _environment(state: Path, temporary: Path, region: str, port: int) -> dict[str, str]:
    """Everything that it reads and would otherwise take from the machine.

    Its defaults listen on all interfaces and on further ports (MQTT, SFTP), and remove containers that they take for
    their own.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(state),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "STATE_DIR": str(state / "state"),
        "S3_DATA_DIR": str(state / "s3"),
        "PERSIST_STATE": "0",
        "LAMBDA_EXECUTOR": "local",
        # AWS's default. MiniStack's goes by the memory, and what is above it is dropped without a word.
        "LAMBDA_ACCOUNT_CONCURRENCY": "1000",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{state / 'no-docker.sock'}",
    }


async def _healthy(process: ChildProcess, endpoint: str) -> bool:
    """Wait until it answers; False when it ends before, `StackError` when it takes too long."""
    try:
        async with asyncio.timeout(_START_SECONDS), ClientSession() as http:
            while not process.exited:
                try:
                    async with http.get(f"{endpoint}/_ministack/health") as answer:
                        # Another server on the port wouldn't say this.
                        if answer.ok and "services" in json.loads(await answer.read()):
                            return True
                except (ClientError, json.JSONDecodeError):
                    pass
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise StackError(f"MiniStack did not answer within {_START_SECONDS:.0f} s.") from None
    return False
