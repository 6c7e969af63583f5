"""The synchronous face: the asynchronous client, run by an event loop in a thread of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from tokenstream_client.client import IDLE_TIMEOUT, Client, RequestFields
from tokenstream_client.endpoints import Endpoints, PathName
from tokenstream_client.frames import Frame
from tokenstream_client.retry import RetryPolicy
from tokenstream_client.tokens import TokenProvider

T = TypeVar("T")

LONGEST_WAIT = 0.5
"""Seconds. Python notices a Ctrl-C that comes between its last step and a wait only when the wait is over."""


class SyncClient:
    """`Client` without `async`; may be used from several threads. Close it, or use `with`."""

    def __init__(
        self,
        endpoints: Endpoints | None = None,
        *,
        path: PathName = "url",
        token: str | TokenProvider | None = None,
        retry: RetryPolicy | None = None,
        idle_timeout: float = IDLE_TIMEOUT,
    ) -> None:
        self._client = Client(endpoints, path=path, token=token, retry=retry, idle_timeout=idle_timeout)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tokenstream-client", daemon=True)
        self._thread.start()

    def stream(self, **request: Unpack[RequestFields]) -> Generator[Frame, None, None]:
        """Iterate over the frames of an answer; leaving early stops it on the server."""
        stream = self._client.stream(**request)
        try:
            frames = aiter(stream)
            while (frame := self._wait_for(_next(frames))) is not None:
                yield frame
        finally:
            self._wait_for(stream.aclose())

    def text(self, **request: Unpack[RequestFields]) -> str:
        """Return the whole text of an answer; see `Client.text`."""
        return self._wait_for(self._client.text(**request))

    def connect(self) -> None:
        """Sign in and open the connections that the next stream uses; see `Client.connect`."""
        self._wait_for(self._client.connect())

    def cancel(self, session_id: str) -> None:
        """Stop the generation of any session of the user's."""
        self._wait_for(self._client.cancel(session_id))

    def close(self) -> None:
        """Stop the answers that haven't ended, close every connection and end the thread."""
        if self._loop.is_closed():
            return
        self._wait_for(self._client.aclose())
        self._wait_for(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        call = _Call(work)
        try:
            self._loop.call_soon_threadsafe(call.start)
            while not concurrent.futures.wait((call.result,), LONGEST_WAIT).done:
                pass
            return call.result.result()
        except BaseException:
            # KeyboardInterrupt, in the waiting thread: the work must not go on without it.
            self._loop.call_soon_threadsafe(call.cancel)
            raise


class _Call(Generic[T]):
    """Work for the loop that another thread waits for.

    `asyncio.run_coroutine_threadsafe` won't do: an interrupt within it leaves the work running, with nobody to cancel
    it. Here what can be cancelled exists before anything is started.
    """

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.result: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._work = work
        self._task: asyncio.Task[T] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._work)
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        if self._task is None:
            self._work.close()
        else:
            self._task.cancel()

    def _done(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.result.cancel()
        elif (error := task.exception()) is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())


def stream_sync(
    *, endpoints: Endpoints | None = None, path: PathName = "url", **request: Unpack[RequestFields]
) -> Generator[Frame, None, None]:
    """Stream one answer with a client of its own; see `SyncClient.stream`."""
    with SyncClient(endpoints, path=path) as client:
        yield from client.stream(**request)


async def _next(frames: AsyncIterator[Frame]) -> Frame | None:
    return await anext(frames, None)
