"""One version of a function: its workers, and the invocations that wait for one."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable

from local.functions.config import FunctionConfig
from local.functions.invocation import InvocationError, TooManyRequests
from local.functions.worker import Worker
from local.functions.worker_environment import LayerRoot

_STARTS = os.cpu_count() or 1
"""How many workers start at once. More would make each one's start, and what runs already, slower by as much; and of a
burst of short invocations most find a worker that is done before another has started."""
_RETURN_GRACE = 0.1
"""Seconds that an invocation waits for a worker whose response is out, before a new one is started for it."""


class Retired(Exception):
    """The deployment has been replaced while an invocation waited for one of its workers."""


class Deployment:
    """`start` starts a worker, which calls `give_back` whenever it waits for a task, and `remove` when it has ended."""

    def __init__(self, config: FunctionConfig, start: Callable[["Deployment"], Worker], idle_timeout: float) -> None:
        self.config = config
        self.layer = LayerRoot(config)
        self._start = start
        self._idle_timeout = idle_timeout
        self._retired = False
        self._workers: set[Worker] = set()
        self._starting: set[Worker] = set()
        self._idle: dict[Worker, asyncio.TimerHandle] = {}
        self._waiting: deque[asyncio.Future[Worker]] = deque()

    @property
    def in_use(self) -> int:
        """How many invocations have a worker, or wait for one."""
        return len(self._workers) - len(self._starting) - len(self._idle) + len(self._waiting)

    async def worker(self) -> Worker:
        """Give the worker that was used last, or the next one that is free; starts one where that is needed.

        Raises `TooManyRequests`, `Retired`, and what a worker's start fails with.
        """
        if self._idle:
            worker, reaper = self._idle.popitem()
            reaper.cancel()
            return worker
        returning = any(worker.responded for worker in self._workers)
        waiting: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            if returning:
                await asyncio.wait({waiting}, timeout=_RETURN_GRACE)
            if not waiting.done() and self.in_use > self.config.max_concurrency:
                raise TooManyRequests(f"{self.config.max_concurrency} invocations of {self.config.name} are running")
            self._start_more()
            return await waiting
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)

    def give_back(self, worker: Worker) -> None:
        """Give a worker to who waits for one, or keep it for the next invocation; end it where there won't be one."""
        self._starting.discard(worker)
        if self._retired:
            worker.kill()
        elif waiting := self._next():
            waiting.set_result(worker)
            self._start_more()
        else:
            self._idle[worker] = asyncio.get_running_loop().call_later(self._idle_timeout, self._reap, worker)

    def remove(self, worker: Worker, error: InvocationError) -> None:
        """Forget a worker that has ended; `error` is for who waits for one that didn't come to its start's end."""
        self._workers.discard(worker)
        if (reaper := self._idle.pop(worker, None)) is not None:
            reaper.cancel()
        if worker in self._starting:
            self._starting.discard(worker)
            if waiting := self._next():
                waiting.set_exception(error)
        self._start_more()
        self._close_if_unused()

    def retire(self) -> None:
        """Take no further invocations: idle workers end now, busy ones with their invocation."""
        self._retired = True
        for worker, reaper in self._idle.items():
            reaper.cancel()
            worker.kill()
        self._idle.clear()
        while waiting := self._next():
            waiting.set_exception(Retired())
        self._close_if_unused()

    def _next(self) -> asyncio.Future[Worker] | None:
        """Give whoever has waited longest."""
        while self._waiting:
            if not (waiting := self._waiting.popleft()).done():
                return waiting
        return None

    def _start_more(self) -> None:
        while len(self._starting) < min(_STARTS, len(self._waiting)):
            worker = self._start(self)
            self._workers.add(worker)
            self._starting.add(worker)

    def _reap(self, worker: Worker) -> None:
        del self._idle[worker]
        worker.kill()

    def _close_if_unused(self) -> None:
        if self._retired and not self._workers:
            self.layer.close()
