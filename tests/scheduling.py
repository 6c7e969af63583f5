"""How the test files are dealt out to the workers of pytest-xdist (`make test`)."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


def stack_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Put the files that need the running local stack first, and the others, the unit tests' first, behind them."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    on_stack = [file for file in files.values() if any(map(_needs_stack, file))]
    others = [file for file in files.values() if file not in on_stack]
    return list(chain(*on_stack, *reversed(others)))


def _needs_stack(item: pytest.Item) -> bool:
    return item.path.parent.name in {"local", "browser"} and "stack" in getattr(item, "fixturenames", ())


class FromBothEnds(LoadFileScheduling):
    """One worker takes the files from the beginning, the others from the end: all have work until the last one.

    A local stack serves the worker that started it. So the first one is alone on its stack, which waits for a model
    most of the time, beside the others' computing; only when they run out of files do they start a stack of their own.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node is not self.nodes[0]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
