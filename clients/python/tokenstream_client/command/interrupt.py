"""Ctrl-C: once to stop an answer, twice to end at once."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` in the running loop at the first SIGINT within the block; a second one ends the process.

    To be used in the main thread: Python handles signals nowhere else. The loop is to be `woken_by_signals`.
    """
    loop = asyncio.get_running_loop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have every signal within the block wake the loop, so that the signal's handler runs at once.

    Python runs a handler only between two steps of the interpreter. A signal after the last step before the loop waits
    would rest until something else wakes the loop: a frame, or the timeout of a silent connection. The interpreter
    writes the signal's number into a socket that the loop waits for, which no moment escapes.
    """
    if sys.platform == "win32":  # whose loop does this by itself
        yield
        return
    waiting, written = socket.socketpair()
    with waiting, written:
        waiting.setblocking(False)
        written.setblocking(False)
        loop.add_reader(waiting, waiting.recv, 4096)
        previous = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            loop.remove_reader(waiting)
