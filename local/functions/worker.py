"""One worker process: a Lambda execution environment on this machine."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from local.functions.config import FunctionConfig
from local.functions.invocation import FunctionFailed, FunctionTimedOut, InvocationError, WorkerDied
from local.functions.runtime_api import RuntimeApi, Task, WorkerEvents
from local.functions.worker_environment import worker_command, worker_environment

_MAX_LOG_LINE = 256 * 1024
"""CloudWatch Logs' limit for an event."""
_LAST_WORDS = 1.0
"""Seconds for what a process sent before it ended; a reader who is behind may not get all of it."""
_PR_SET_PDEATHSIG = 1

Log = Callable[[str], None]


class Worker:
    """Runs the tasks it is given, one at a time, until it is killed or ends by itself.

    ``on_idle`` is called whenever it waits for a task, ``on_ended`` once, when the process and its children are gone,
    with the error for whoever waits for it.
    """

    def __init__(self, config: FunctionConfig, log: Log, *, init_timeout: float) -> None:
        self.on_idle: Callable[[Worker], None] = lambda _: None
        self.on_ended: Callable[[Worker, InvocationError], None] = lambda *_: None
        self.fresh = True
        """It has had no task yet."""
        self.responded = False
        """The response is out, and the worker not back for the next task yet."""
        self._config = config
        self._log = log
        self._init_timeout = init_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False
        self._task: Task | None = None
        self._cause: InvocationError | None = None
        self._error: InvocationError | None = None
        self._initialized = False
        self._alarm: asyncio.TimerHandle | None = None
        self._api = RuntimeApi(WorkerEvents(self._waiting, self._delivered, self._responded, self._init_failed))
        self.ended: asyncio.Task[None] | None = None

    async def start(self, opt: Path) -> None:
        """Start the process; ``opt`` stands for /opt. Raises `FunctionFailed` if it can't be started."""
        address = await self._api.start()
        environment = worker_environment(self._config, opt, address, f"local/[$LATEST]{uuid.uuid4().hex}")
        try:
            self._process = await _spawn(worker_command(self._config, opt), environment)
        except OSError as error:
            await self._api.close(0)
            raise FunctionFailed("Runtime.InvalidEntrypoint", str(error)) from error
        self._set_alarm(self._init_timeout, FunctionFailed("Sandbox.Timedout", "the function's start took too long"))
        self.ended = asyncio.create_task(self._follow(self._process))
        if self._killed:
            self.kill()

    def run(self, task: Task) -> None:
        """Give a task to a worker that is idle."""
        self.fresh = False
        if self._error is not None:
            task.channel.fail(self._error)
            return
        self._task = task
        self._api.deliver(task)

    def kill(self, cause: InvocationError | None = None) -> None:
        """End the process and its children at once. What it was working on fails with ``cause``."""
        self._cause = self._cause or cause
        self._killed = True
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # Darwin refuses a group of zombies
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        log = asyncio.create_task(self._copy_log(process))
        status = await process.wait()
        self._stop_alarm()
        self.kill()  # its children
        await self._api.close(_LAST_WORDS)
        await asyncio.wait({log}, timeout=_LAST_WORDS)
        log.cancel()
        # Who was given the worker a moment ago may run a task on it only now.
        self._error = self._cause or self._death(status)
        if self._task is not None:
            self._task.channel.fail(self._error)
        self.on_ended(self, self._error)

    def _death(self, status: int) -> InvocationError:
        ending = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        if self._initialized:
            return WorkerDied(f"the function's process ended: {ending}")
        return FunctionFailed("Runtime.ExitError", f"the function's process ended while it started: {ending}")

    async def _copy_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - started with a pipe
        line = b""
        while data := await process.stdout.read(_MAX_LOG_LINE):
            # awslambdaric parts the lines of one event by carriage returns.
            *lines, line = (line + data).replace(b"\r", b"\n").split(b"\n")
            while len(line) > _MAX_LOG_LINE:
                lines.append(line[:_MAX_LOG_LINE])
                line = line[_MAX_LOG_LINE:]
            for whole in filter(None, lines):
                self._log(whole.decode(errors="replace"))
        if line:
            self._log(line.decode(errors="replace"))

    def _waiting(self) -> None:
        self._stop_alarm()
        self._initialized, self.responded = True, False
        self._task = None
        self.on_idle(self)

    def _delivered(self, task: Task) -> None:
        message = f"{task.request_id} Task timed out after {task.timeout:.2f} seconds"
        self._set_alarm(task.timeout, FunctionTimedOut(message))

    def _responded(self) -> None:
        self.responded = True

    def _init_failed(self, error: FunctionFailed) -> None:
        self._cause = self._cause or error

    def _set_alarm(self, seconds: float, error: InvocationError) -> None:
        self._stop_alarm()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._time_out, error)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _time_out(self, error: InvocationError) -> None:
        self._log(str(error))
        self.kill(error)


async def _spawn(command: Sequence[str], environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd=environment["LAMBDA_TASK_ROOT"],
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    # Where there is no such call an orphan ends when it next asks for work: its Runtime API is gone.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
