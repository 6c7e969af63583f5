"""Lines on a terminal that change in place."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

INTERVAL = 0.1
"""Seconds between two drawings."""

_UP = "\x1b[{}A"
_CLEAR_LINE = "\x1b[2K"
_CLEAR_BELOW = "\x1b[J"


def can_redraw(output: TextIO) -> bool:
    """Tell whether what is written there can be written over."""
    return output.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Scoreboard:
    """Draws what `lines` gives, again and again over itself, for as long as it is entered; then it is gone.

    A line is cut to the terminal's width.
    """

    def __init__(self, output: TextIO, lines: Callable[[], Sequence[str]]) -> None:
        self._output = output
        self._lines = lines
        self._drawn = 0
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._drawing = asyncio.create_task(self._keep_drawing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
            await asyncio.wait({self._drawing})
        self._write([])

    async def _keep_drawing(self) -> None:
        while True:
            size = shutil.get_terminal_size()
            self._write([line[: size.columns - 1] for line in self._lines()][: size.lines - 1])
            await asyncio.sleep(INTERVAL)

    def _write(self, lines: Sequence[str]) -> None:
        up = _UP.format(self._drawn) if self._drawn else ""
        text = "".join(f"{_CLEAR_LINE}{line}\n" for line in lines)
        # What the terminal has echoed below, `^C`, goes as well.
        self._output.write(f"\r{up}{text}{_CLEAR_BELOW}")
        self._output.flush()
        self._drawn = len(lines)
