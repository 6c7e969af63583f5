"""An event loop for a test's servers, in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop until the block is left; what runs in it has to be stopped before."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="servers-of-a-test")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
