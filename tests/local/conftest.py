from collections.abc import Iterator

import pytest

from tests.local.stack_process import RunningStack, StackProcess, copy_checkout

TTFT = 0.1
RATE = 100.0
TOKENS = 60


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One local stack for the whole session; its model answers 60 tokens, 100 a second, the first after 0.1 s."""
    process = StackProcess(
        copy_checkout(tmp_path_factory.mktemp("checkout")),
        *("--ttft", str(TTFT), "--rate", str(RATE), "--tokens", str(TOKENS)),
    )
    try:
        yield process.wait_until_ready()
    finally:
        process.close()
