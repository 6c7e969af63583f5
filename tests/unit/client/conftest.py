import signal
from collections.abc import Iterator

import pytest

from tokenstream_client.delivery import QUEUED_PATHS
from tokenstream_client.endpoints import PathName


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Undo what a shell does to the jobs that it starts in the background: they ignore SIGINT, children included."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(params=QUEUED_PATHS)
def queued_path(request: pytest.FixtureRequest) -> PathName:
    """A path on which frames may go the queued way."""
    path: PathName = request.param
    return path


@pytest.fixture(params=["url", "websocket", "appsync"])
def path(request: pytest.FixtureRequest) -> PathName:
    """One path of each kind: `rest` differs from `url` by its address only."""
    path: PathName = request.param
    return path
