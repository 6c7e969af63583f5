"""What the stack says on the terminal: steps while it starts, then requests and what functions log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_DIM, _RED, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[0m"
_HUES = ("\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[34m", "\x1b[32m")


class Terminal:
    """Writes whole lines; colour only where it is a terminal that shows it. Quiet, it says only what `say` is given."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self._quiet = quiet
        self._open_step = False
        self._paints: dict[str, str] = {}

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show that this is being done, then how long it took. One at a time."""
        if self._quiet:
            yield
            return
        started = time.monotonic()
        self._stream.write(f"{what} … ")
        self._stream.flush()
        self._open_step = True
        outcome = "interrupted"
        try:
            yield
            outcome = f"{time.monotonic() - started:.1f} s"
        except Exception:
            outcome = "failed"
            raise
        finally:
            # A line that came in between has ended the step's own.
            self._write(outcome if self._open_step else f"{what}: {outcome}", end_step=False)
            self._open_step = False

    def say(self, line: str) -> None:
        """Something that the user has to see."""
        self._write(line)

    def note(self, line: str) -> None:
        """Something in passing."""
        if not self._quiet:
            self._write(self._painted(line, _DIM))

    def warn(self, line: str) -> None:
        """Something that went wrong while the stack goes on."""
        self._write(self._painted(line, _RED))

    def function_line(self, function: str, line: str) -> None:
        """Show a line that a function logged."""
        if self._quiet:
            return
        paint = self._paints.setdefault(function, _HUES[len(self._paints) % len(_HUES)])
        self._write(f"{self._painted(function, paint)} {line}")

    def _painted(self, text: str, paint: str) -> str:
        return f"{paint}{text}{_RESET}" if self._colour else text

    def _write(self, line: str, *, end_step: bool = True) -> None:
        if end_step and self._open_step:
            self._stream.write("\n")
            self._open_step = False
        self._stream.write(f"{line}\n")
        self._stream.flush()
