"""Something that takes a while, done once for all who want it meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from tokenstream_client.errors import ConnectionFailed

T = TypeVar("T")


class SharedAttempt(Generic[T]):
    """At most one attempt at a time; who stops waiting doesn't take it away from the others."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._attempt: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """Return what the attempt under way gives, or a new one; raises what it raises."""
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._make())
            self._attempt.add_done_callback(self._over)
        attempt = self._attempt
        await asyncio.wait({attempt})
        if attempt.cancelled():
            raise ConnectionFailed("The client was closed.", reached=False)
        return attempt.result()

    async def cancel(self) -> None:
        """End the attempt under way."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait({self._attempt})

    def _over(self, attempt: asyncio.Task[T]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # nobody may be left who waits for it
