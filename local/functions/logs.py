"""What functions print: to the terminal, and to a file each."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from local.functions.log_line import readable
from local.terminal import Terminal


class FunctionLogs:
    """`names` gives the short name of a deployed function, which is its file's as well."""

    def __init__(self, folder: Path, terminal: Terminal, names: Mapping[str, str]) -> None:
        self._folder = folder
        self._terminal = terminal
        self._names = names
        self._files: dict[str, TextIO] = {}
        self._open = ExitStack()

    def write(self, function: str, line: str) -> None:
        """Take one line."""
        name = self._names.get(function, function)
        if name not in self._files:
            path = self._folder / f"{name}.log"
            self._files[name] = self._open.enter_context(path.open("w", buffering=1))
        self._files[name].write(f"{line}\n")
        if (shown := readable(line)) is not None:
            self._terminal.function_line(name, shown)

    def close(self) -> None:
        """Close the files."""
        self._open.close()
