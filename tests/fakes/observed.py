"""What another thread changes and a test waits for."""

from collections.abc import Callable
from threading import Condition

PATIENCE_SECONDS = 60.0
"""When a test gives up waiting; far beyond what a busy machine needs."""


class Observed:
    """State that is changed under `changed`, so that a test can wait for what it wants to see."""

    def __init__(self) -> None:
        self.changed = Condition()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_SECONDS), "it never came to it"
