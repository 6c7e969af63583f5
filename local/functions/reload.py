"""Watches the sources: an edit of a function or of the layer's package counts with the next request."""

import ast
import asyncio
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from watchfiles import awatch

from local.checkout import Checkout
from local.functions.config import FunctionConfig


class Reloader:
    """Watches the folders of the deployed functions, the layer, the template and the state machines.

    `deploy` puts a function's sources as they are to work; `say` tells the user.
    """

    def __init__(
        self,
        checkout: Checkout,
        functions: Collection[FunctionConfig],
        deploy: Callable[[FunctionConfig], None],
        say: Callable[[str], None],
    ) -> None:
        self._checkout = checkout
        self._functions = functions
        self._deploy = deploy
        self._say = say

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as watchers:
            folders = (function.code for function in self._functions)
            watchers.create_task(self._watch(*folders, self._checkout.layer, recursive=True))
            # Its folder, because editors put another file in its place.
            watchers.create_task(self._watch(self._checkout.template.parent, recursive=False))
            if self._checkout.state_machines.exists():
                watchers.create_task(self._watch(self._checkout.state_machines, recursive=False))

    async def _watch(self, *folders: Path, recursive: bool) -> None:
        async for changes in awatch(*folders, recursive=recursive):
            self.changed(Path(path) for _, path in changes)

    def changed(self, paths: Iterable[Path]) -> None:
        """Act on a change of these files: deploy anew, or tell why not."""
        paths = sorted(set(paths))
        package = self._checkout.layer / "tokenstream"
        folders = [package, *(function.code for function in self._functions)]
        sources = [path for path in paths if path.suffix == ".py" and _within(path, *folders)]
        checkout = self._checkout
        deployed = [
            path
            for path in paths
            if path == checkout.template or _within(path, checkout.state_machines) or _is_built(path, checkout.layer)
        ]
        if deployed:
            self._say(f"{self._names(deployed)} changed: start the stack again to deploy that")
        if not sources:
            return
        if mistakes := [mistake for path in sources if (mistake := _mistake(path))]:
            self._say(f"not deployed, what ran before goes on: {'; '.join(mistakes)}")
            return
        for function in self._functions:
            if any(_within(path, function.code, package) for path in sources):
                self._deploy(function)
        self._say(f"deployed anew: {self._names(sources)} changed")

    def _names(self, paths: list[Path]) -> str:
        return ", ".join(str(path.relative_to(self._checkout.root)) for path in paths)


def _within(path: Path, *folders: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _is_built(path: Path, layer: Path) -> bool:
    """Whether this is among what `sam build` takes from the layer besides the package."""
    return path.parent == layer and path.name in {"Makefile", "requirements.txt", "streaming-bootstrap"}


def _mistake(path: Path) -> str | None:
    try:
        ast.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{path.name}{f', line {line}' if line else ''}: {error.args[0]}"
    return None
