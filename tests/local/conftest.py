import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.stack_process import RunningStack, StackProcess, copy_checkout

TTFT = 0.1
RATE = 100.0
TOKENS = 60
DIRECT_SEND = os.environ.get("DIRECT_SEND", "true")
DELIVERY = "direct" if DIRECT_SEND == "true" else "queued"
FALLBACK_MODEL = "global.amazon.nova-2-lite-v1:0"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Iterator[RunningStack]:
    """One local stack for the whole session; its model answers 60 tokens, 100 a second, the first after 0.1 s.

    With `DIRECT_SEND=false` in the environment it sends everything through SNS and SQS.
    """
    process = StackProcess(
        copy_checkout(tmp_path_factory.mktemp("checkout"), built),
        *("--ttft", str(TTFT), "--rate", str(RATE), "--tokens", str(TOKENS)),
        *("--parameter", f"FallbackModel={FALLBACK_MODEL}"),
        *("--parameter", f"DirectSend={DIRECT_SEND}"),
    )
    try:
        yield process.wait_until_ready()
    finally:
        process.close()
