import asyncio
import ctypes
import operator
import select
import selectors
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from tokenstream_client.command.interrupt import on_interrupt, woken_by_signals

raise_signal: Callable[[int], int] = ctypes.PyDLL(None)["raise"]


class LateSignal(selectors.DefaultSelector):
    """Once `armed` it has a SIGINT come after the interpreter's last step before the wait for something to happen.

    Both are done in C, without a step of the interpreter between them. `woken_by` is what ends the wait at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.woken_by: list[tuple[int, int]] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.armed:
            self.armed = False
            waiting = select.poll()
            for file in self.get_map():
                waiting.register(file, select.POLLIN)
            steps: tuple[Callable[[], Any], ...] = (partial(raise_signal, signal.SIGINT), partial(waiting.poll, 0))
            _, self.woken_by = map(operator.call, steps)
        return super().select(timeout)


def test_ctrl_c_just_before_the_wait_for_a_frame_is_noticed_at_once() -> None:
    selector = LateSignal()

    async def wait_for_ctrl_c() -> None:
        stopped = asyncio.Event()
        with on_interrupt(stopped.set):
            selector.armed = True
            await stopped.wait()

    loop = asyncio.SelectorEventLoop(selector)
    with asyncio.Runner(loop_factory=lambda: loop) as runner, woken_by_signals(loop):
        runner.run(wait_for_ctrl_c())
    assert selector.woken_by
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1
