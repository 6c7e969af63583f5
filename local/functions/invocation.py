"""An invocation of a local function, as whoever invoked it sees it.

Errors::

    InvocationError
    ├── UnknownFunction      nothing is deployed under that name
    ├── TooManyRequests      as many invocations are running as the function may have
    ├── FunctionFailed       the function said so: `/error`, `/init/error`, or trailers midway
    ├── FunctionTimedOut     its time was up, and its process was killed
    └── WorkerDied           its process ended without a word
"""

import asyncio
import weakref
from collections.abc import AsyncIterator

from local.functions.response_channel import Prelude, ResponseChannel


class InvocationError(Exception):
    """Base of what `LambdaService.invoke` and `Invocation.body` raise; `error_type` is as Lambda calls it."""

    error_type = "Runtime.Unknown"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnknownFunction(InvocationError):
    """No function of that name is deployed."""

    error_type = "ResourceNotFoundException"


class TooManyRequests(InvocationError):
    """The function's concurrency is used up."""

    error_type = "TooManyRequestsException"


class FunctionFailed(InvocationError):
    """The function reported an error."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message}"


class FunctionTimedOut(InvocationError):
    """The function didn't end in time."""

    error_type = "Sandbox.Timedout"


class WorkerDied(InvocationError):
    """The function's process ended during the invocation."""

    error_type = "Runtime.ExitError"


class Invocation:
    """A response whose head has arrived. An abandoned one is read to its end by the service."""

    def __init__(
        self, request_id: str, *, cold: bool, content_type: str, prelude: Prelude | None, channel: ResponseChannel
    ) -> None:
        self.request_id = request_id
        self.cold = cold
        """Whether a process was started for it."""
        self.content_type = content_type
        self.prelude = prelude
        """Status, headers and cookies of an HTTP response, None for any other result."""
        self._channel = channel
        # A caller that drops the invocation without ever iterating leaves no iterator whose end could be noticed.
        weakref.finalize(self, _abandon, asyncio.get_running_loop(), channel).atexit = False

    async def body(self) -> AsyncIterator[bytes]:
        """Yield each chunk as soon as it has arrived; once only.

        Raises `FunctionFailed` for a failure midway, `FunctionTimedOut` and `WorkerDied`, after the chunks that came
        before it.
        """
        try:
            while (chunk := await self._channel.read()) is not None:
                yield chunk
        finally:
            self._channel.abandon()


def _abandon(loop: asyncio.AbstractEventLoop, channel: ResponseChannel) -> None:
    if not loop.is_closed():  # a garbage collection may run anywhere, and late
        loop.call_soon_threadsafe(channel.abandon)
