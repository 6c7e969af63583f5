"""The local Lambda service: runs functions in worker processes and passes their responses on as they come.

Every worker has a Runtime API of its own (`local.functions.runtime_api`) and runs the function's real code under the
real awslambdaric, behind the real exec wrapper. As on Lambda a worker serves one invocation at a time, is kept warm for
the next, and isn't stopped when a client goes away. Unlike there all of them share one machine: not every invocation of
a burst has a worker started for it (`local.functions.deployment`).
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

from local.functions.config import FunctionConfig
from local.functions.deployment import Deployment, Retired
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


class LambdaService:
    """Runs deployed functions. ``log`` takes a function's name and a line of its output; times in seconds."""

    def __init__(
        self, log: Callable[[str, str], None], *, idle_timeout: float = 600.0, init_timeout: float = 60.0
    ) -> None:
        self._log = log
        self._idle_timeout = idle_timeout
        self._init_timeout = init_timeout
        self._deployments: dict[str, Deployment] = {}
        self._workers: set[Worker] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._placing: set[asyncio.Task[bool]] = set()

    def deploy(self, config: FunctionConfig) -> None:
        """Make this the function's code and configuration. Streams under way end on the old ones."""
        if (old := self._deployments.get(config.name)) is not None:
            old.retire()
        self._deployments[config.name] = Deployment(config, self._start_worker, self._idle_timeout)

    async def invoke(self, name: str, event: bytes, request_id: str | None = None) -> Invocation:
        """Run the function; returns when the head of its response is there.

        `request_id` is what the function sees as its own (a UUID; a new one if left out). Raises `InvocationError`. The
        function runs on when the caller is cancelled.
        """
        config, channel = self._deployment(name).config, ResponseChannel()
        arn = f"arn:aws:lambda:{config.region}:{_ACCOUNT}:function:{config.name}"
        task = Task(request_id or str(uuid.uuid4()), str(uuid.uuid4()), arn, event, config.timeout, channel)
        # A task of the service's own: a caller who is cancelled doesn't take the invocation back.
        placing = asyncio.create_task(self._place(name, task))
        self._placing.add(placing)
        placing.add_done_callback(self._placing.discard)
        try:
            head = await asyncio.shield(channel.head)
        except asyncio.CancelledError:
            channel.abandon()
            raise
        return Invocation(
            task.request_id,
            cold=placing.result(),
            content_type=head.content_type,
            prelude=head.prelude,
            channel=channel,
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
            worker.kill(_closed())
        await asyncio.gather(*self._placing)
        await asyncio.gather(*self._starting)
        await asyncio.gather(*(worker.ended for worker in self._workers if worker.ended is not None))

    def _deployment(self, name: str) -> Deployment:
        if (deployment := self._deployments.get(name)) is None:
            raise UnknownFunction(name)
        return deployment

    async def _place(self, name: str, task: Task) -> bool:
        """Give a task to a worker; True if it is the worker's first."""
        try:
            worker = await self._worker(name)
        except InvocationError as error:
            task.channel.fail(error)
            return False
        first = worker.fresh
        worker.run(task)
        return first

    async def _worker(self, name: str) -> Worker:
        while (deployment := self._deployments.get(name)) is not None:
            with contextlib.suppress(Retired):
                return await deployment.worker()
        raise _closed()

    def _start_worker(self, deployment: Deployment) -> Worker:
        def log(line: str) -> None:
            self._log(deployment.config.name, line)

        def on_ended(worker: Worker, error: InvocationError) -> None:
            self._workers.discard(worker)
            deployment.remove(worker, error)

        async def start() -> None:
            try:
                await worker.start(deployment.layer.path)
            except FunctionFailed as error:
                on_ended(worker, error)

        worker = Worker(deployment.config, log, init_timeout=self._init_timeout)
        worker.on_idle, worker.on_ended = deployment.give_back, on_ended
        self._workers.add(worker)
        # A task of the service's own: a caller who is cancelled must not leave half a process.
        starting = asyncio.create_task(start())
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return worker


def _closed() -> WorkerDied:
    return WorkerDied("the Lambda service was closed")
