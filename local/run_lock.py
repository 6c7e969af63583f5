"""One stack a checkout."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.errors import StackError


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the checkout's lock, or raise `StackError` naming the process that does.

    The kernel holds it and lets go when the process is gone, however it ended: a file that stays behind locks nothing.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StackError(
                f"A local stack already runs in this checkout (process {holder}). "
                f"End it with Ctrl-C in its terminal, or with: kill {holder}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
