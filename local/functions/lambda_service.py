"""The local Lambda service: runs functions in worker processes and passes their responses on as they come.

Every worker has a Runtime API of its own (`local.functions.runtime_api`) and runs the function's real code under the
real awslambdaric, behind the real exec wrapper. As on Lambda a worker serves one invocation at a time, is kept warm for
the next, and isn't stopped when a client goes away.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

from local.functions.config import FunctionConfig
from local.functions.invocation import (
    FunctionFailed,
    FunctionTimedOut,
    Invocation,
    InvocationError,
    TooManyRequests,
    UnknownFunction,
    WorkerDied,
)
from local.functions.response_channel import Prelude, ResponseChannel
from local.functions.runtime_api import Task
from local.functions.worker import Worker
from local.functions.worker_environment import LayerRoot

__all__ = [
    "FunctionConfig",
    "FunctionFailed",
    "FunctionTimedOut",
    "Invocation",
    "InvocationError",
    "LambdaService",
    "Prelude",
    "TooManyRequests",
    "UnknownFunction",
    "WorkerDied",
]

_ACCOUNT = "000000000000"
_RETURN_GRACE = 0.1
"""Seconds that an invocation waits for a worker whose response is out, before a new one is started for it."""


class LambdaService:
    """Runs deployed functions. ``log`` takes a function's name and a line of its output; times in seconds."""

    def __init__(
        self, log: Callable[[str, str], None], *, idle_timeout: float = 600.0, init_timeout: float = 60.0
    ) -> None:
        self._log = log
        self._idle_timeout = idle_timeout
        self._init_timeout = init_timeout
        self._deployments: dict[str, _Deployment] = {}
        self._workers: set[Worker] = set()
        self._starting: set[asyncio.Task[None]] = set()

    def deploy(self, config: FunctionConfig) -> None:
        """Make this the function's code and configuration. Streams under way end on the old ones."""
        if (old := self._deployments.get(config.name)) is not None:
            old.retire()
        self._deployments[config.name] = _Deployment(config, self._idle_timeout)

    async def invoke(self, name: str, event: bytes, request_id: str | None = None) -> Invocation:
        """Run the function; returns when the head of its response is there.

        `request_id` is what the function sees as its own (a UUID; a new one if left out). Raises `InvocationError`. The
        function runs on when the caller is cancelled.
        """
        await self._deployment(name).settle()
        deployment = self._deployment(name)  # it may be another one now
        worker = deployment.take_idle()
        cold = worker is None
        config, channel = deployment.config, ResponseChannel()
        arn = f"arn:aws:lambda:{config.region}:{_ACCOUNT}:function:{config.name}"
        task = Task(request_id or str(uuid.uuid4()), str(uuid.uuid4()), arn, event, config.timeout, channel)
        if worker is None:
            worker = self._start_worker(deployment, task)
        worker.run(task)
        try:
            head = await asyncio.shield(channel.head)
        except asyncio.CancelledError:
            channel.abandon()
            raise
        return Invocation(
            task.request_id, cold=cold, content_type=head.content_type, prelude=head.prelude, channel=channel
        )

    async def call(self, name: str, event: bytes, request_id: str) -> bytes:
        """Run the function to its end and give its result. Raises `InvocationError`."""
        invocation = await self.invoke(name, event, request_id)
        return b"".join([chunk async for chunk in invocation.body()])

    async def close(self) -> None:
        """End every worker, children included; invocations under way fail with `WorkerDied`."""
        for deployment in self._deployments.values():
            deployment.retire()
        self._deployments.clear()
        for worker in self._workers:
            worker.kill(WorkerDied("the Lambda service was closed"))
        await asyncio.gather(*self._starting)
        await asyncio.gather(*(worker.ended for worker in self._workers if worker.ended is not None))

    def _deployment(self, name: str) -> "_Deployment":
        if (deployment := self._deployments.get(name)) is None:
            raise UnknownFunction(name)
        return deployment

    def _start_worker(self, deployment: "_Deployment", task: Task) -> Worker:
        def log(line: str) -> None:
            self._log(deployment.config.name, line)

        def on_ended(worker: Worker) -> None:
            self._workers.discard(worker)
            deployment.remove(worker)

        async def start() -> None:
            try:
                await worker.start(deployment.layer.path)
            except FunctionFailed as error:
                task.channel.fail(error)
                on_ended(worker)

        worker = Worker(deployment.config, log, init_timeout=self._init_timeout)
        worker.on_idle, worker.on_ended = deployment.give_back, on_ended
        self._workers.add(worker)
        deployment.add(worker)
        # A task of the service's own: a caller who is cancelled must not leave half a process.
        starting = asyncio.create_task(start())
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return worker


class _Deployment:
    """One version of a function, and its workers."""

    def __init__(self, config: FunctionConfig, idle_timeout: float) -> None:
        self.config = config
        self.layer = LayerRoot(config)
        self._idle_timeout = idle_timeout
        self._retired = False
        self._workers: set[Worker] = set()
        self._idle: dict[Worker, asyncio.TimerHandle] = {}
        self._returned = asyncio.Event()

    def add(self, worker: Worker) -> None:
        """Count a worker that has been started for an invocation."""
        self._workers.add(worker)

    async def settle(self) -> None:
        """Where no worker is idle but one has just responded, wait a moment for it."""
        if not self._idle and any(worker.responded for worker in self._workers):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._returned.wait(), _RETURN_GRACE)

    def take_idle(self) -> Worker | None:
        """Return the worker that was used last, None if one has to be started. Raises `TooManyRequests`."""
        if self._idle:
            worker, reaper = self._idle.popitem()
            reaper.cancel()
            return worker
        if len(self._workers) >= self.config.max_concurrency:
            raise TooManyRequests(f"{self.config.max_concurrency} invocations of {self.config.name} are running")
        return None

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next invocation, or end it where there won't be one."""
        if self._retired:
            worker.kill()
            return
        self._idle[worker] = asyncio.get_running_loop().call_later(self._idle_timeout, self._reap, worker)
        self._returned.set()
        self._returned = asyncio.Event()

    def remove(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        self._workers.discard(worker)
        if (reaper := self._idle.pop(worker, None)) is not None:
            reaper.cancel()
        self._close_if_unused()

    def retire(self) -> None:
        """Take no further invocations: idle workers end now, busy ones with their invocation."""
        self._retired = True
        for worker, reaper in self._idle.items():
            reaper.cancel()
            worker.kill()
        self._idle.clear()
        self._close_if_unused()

    def _reap(self, worker: Worker) -> None:
        del self._idle[worker]
        worker.kill()

    def _close_if_unused(self) -> None:
        if self._retired and not self._workers:
            self.layer.close()
