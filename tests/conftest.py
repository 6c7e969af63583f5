import asyncio
import fcntl
import gc
import os
import signal
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from local.checkout import Checkout
from local.cloud.environment import isolate
from local.cloud.sam import Sam
from tests.browser.figures import figures_in
from tests.local.stack_options import DIRECT_SEND, FALLBACK_MODEL, MAX_TOKENS_CAP, RATE, TOKENS, TTFT
from tests.local.stack_process import RunningStack, StackProcess, copy_checkout
from tests.roomy_stack import in_roomy_stack
from tests.scheduling import FromBothEnds, stack_first

# Powertools reads it where its metrics are made, at import; on Lambda the template sets it.
os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "tokenstream"

# A shell ignores SIGINT for its background jobs, and whatever they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = stack_first(items)
    for item in items:
        item.runtest = in_roomy_stack(item.runtest)  # type: ignore[method-assign]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FromBothEnds | None:
    return FromBothEnds(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = figures_in(chain.from_iterable(terminalreporter.stats.values()))
    if figures:
        terminalreporter.section("web client, figures")
        for figure in figures:
            terminalreporter.line(figure)


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_looked_for_among_what_is_new() -> None:
    """Take what the files before have loaded (moto, botocore's models) out of every collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with what `sam build` makes for this machine; nothing else runs or changes in it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder in there
        shared = shared.parent
    copy = Checkout(shared / "built")
    with (shared / "built.lock").open("w") as lock, patch.dict(os.environ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.root.exists():
            copy_checkout(copy.root)
        isolate(os.environ)
        copy.prepare()
        copy.clean()
        asyncio.run(Sam(copy).build())
    return copy.root


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
        *("--parameter", f"MaxTokensCap={MAX_TOKENS_CAP}"),
    )
    try:
        yield process.wait_until_ready()
    finally:
        process.close()
