"""What a way out could not deliver yet, in order."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from tokenstream.sinks import DeliveryFailed

T = TypeVar("T")


class Backlog(Generic[T]):
    """Delivers by `post`, which takes an item and whether to try for long, and raises `DeliveryFailed`.

    What could not be delivered waits here and leaves first with the next call. While the way fails, each call makes one
    try, so that it is no busier than it has to be.
    """

    def __init__(self, post: Callable[[T, bool], None]) -> None:
        self._post = post
        self._waiting: deque[T] = deque()
        self._failing = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def clear(self) -> None:
        """Forget what waits, and that the way failed."""
        self._waiting.clear()
        self._failing = False

    def deliver(self, items: Iterable[T]) -> None:
        """Deliver what waits and then these; raises what `post` raises."""
        self._waiting.extend(items)
        try:
            while self._waiting:
                self._post(self._waiting[0], not self._failing)
                self._failing = False
                self._waiting.popleft()
        except DeliveryFailed:
            self._failing = True
            raise
