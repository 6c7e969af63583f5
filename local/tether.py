"""Runs a command that can't outlive whoever started it: `python tether.py GRACE COMMAND…`.

Its standard input is a pipe that the starter keeps open. When that ends, because the starter closed it or died in
whatever way, the command and everything in its process group get SIGTERM and, GRACE seconds later, SIGKILL.
Uses the standard library alone: it is started as a file, without the project's path.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # Darwin refuses a group of zombies
        os.killpg(leader, number)


def main(grace: float, command: list[str]) -> None:
    """Exit with the command's status, negated signal numbers as 128 + n."""
    # Only the pipe ends the command: a Ctrl-C or a kill meant for the group reaches the starter as well.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN not inherited by the command
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 the starter's

    def follow() -> None:
        status = child.wait()
        _signal_group(child.pid, signal.SIGKILL)
        os._exit(status if status >= 0 else 128 - status)

    threading.Thread(target=follow).start()
    while os.read(0, 1):
        pass
    _signal_group(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace)
    _signal_group(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
