"""`python -m local`: runs the local stack until Ctrl-C or SIGTERM. Exits with 1 when it can't start or breaks down."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from local.checkout import Checkout, this_checkout
from local.cloud.environment import isolate, require_credentials
from local.endpoints import Endpoints
from local.errors import StackError
from local.loopback import require_free
from local.options import Options, RealBedrock, parse_options
from local.run_lock import run_lock
from local.stack import local_stack
from local.terminal import Terminal

_FORCED = 130


def main() -> int:
    """Run the command; returns its exit status."""
    options = parse_options(sys.argv[1:], os.environ)
    terminal = Terminal(quiet=options.quiet)
    checkout = this_checkout()
    try:
        region = require_credentials() if isinstance(options.model, RealBedrock) else None
        user_aws = isolate(os.environ, region)
        checkout.prepare()
        with run_lock(checkout.lock):
            _require_free_ports(options)
            checkout.clean()
            tempfile.tempdir = str(checkout.temporary)
            asyncio.run(_run(checkout, options, terminal, user_aws))
    except StackError as error:
        if error.details:
            print(error.details, file=sys.stderr)
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _require_free_ports(options: Options) -> None:
    for option, port in (
        ("--port", options.port),
        ("--web-port", options.web_port),
        ("--websocket-port", options.websocket_port),
        ("--bedrock-port", options.bedrock_port),
        ("--ministack-port", options.ministack_port),
    ):
        if port:
            require_free(port, option)


async def _run(checkout: Checkout, options: Options, terminal: Terminal, user_aws: Mapping[str, str]) -> None:
    interruption = _Interruption(terminal)
    started = time.monotonic()
    try:
        async with local_stack(checkout, options, terminal, os.environ["AWS_REGION"], user_aws) as stack:
            for line in _ready(stack.endpoints, time.monotonic() - started):
                terminal.say(line)
            await stack.failure()
    except asyncio.CancelledError:
        if not interruption.requested:
            raise
    terminal.note("ended")


def _ready(endpoints: Endpoints, seconds: float) -> Iterator[str]:
    """Say what a user needs; the last line, for which scripts wait, is the one that begins with `ready`."""
    shown = {
        "web": endpoints.web_url or "not built: that takes Node 20 and `make web`",
        "url": endpoints.function_url,
        "rest": endpoints.rest_url,
        "websocket": endpoints.websocket_url,
        "graphql": endpoints.graphql.url,
        "user": endpoints.user.username,
        "password": endpoints.user.password,
        "try": '.venv/bin/tokenstream chat "Hello"',
    }
    width = max(map(len, shown))
    for name, value in shown.items():
        yield f"{name:{width}}  {value}"
    yield f"ready in {seconds:.1f} s; Ctrl-C ends it"


class _Interruption:
    """Ends the current task on the first signal, the process on the next; its children can't outlive it."""

    def __init__(self, terminal: Terminal) -> None:
        self.requested = False
        self._terminal = terminal
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.requested:
            os._exit(_FORCED)
        self.requested = True
        self._terminal.note("ending; again to force it")
        assert self._task is not None  # noqa: S101 made in a task
        self._task.cancel()


if __name__ == "__main__":
    sys.exit(main())
