"""Prints the response to stdout and the logs to stderr. Exits with 1 for a function error or when it can't be run."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from local.checkout import Checkout, this_checkout
from local.cloud.environment import isolate
from local.cloud.sam import Sam
from local.errors import StackError
from local.invoke import container, emulator
from local.invoke.event import fill_in, put_connection, put_session, read_event, shortcomings
from local.invoke.function import BuiltFunction, running_stack
from local.invoke.response import FunctionResponse

_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.invoke", description="Invoke one function with one event.")
    parser.add_argument("function", help="the function's folder in functions/, as in http_stream")
    parser.add_argument("event", type=Path, help="a JSON file, as in events/http_stream/bad_token.json")
    parser.add_argument("--session", type=UUID, metavar="ID", help="instead of the one that the event names")
    parser.add_argument("--connection", metavar="ID", help="instead of the WebSocket connection that the event names")
    parser.add_argument("--engine", choices=["auto", "container", "emulator"], default="auto")
    parser.add_argument("--sam-option", action="append", default=[], help="passed on to sam local invoke")
    parser.add_argument("--verbose", action="store_true", help="with the emulator's own log")
    options = parser.parse_args(arguments)
    isolate(os.environ)
    checkout = this_checkout()
    try:
        event = read_event(options.event)
        if options.session is not None:
            event = put_session(event, options.session)
        if options.connection is not None:
            event = put_connection(event, options.connection)
        checkout.prepare()
        for folder in (checkout.logs, checkout.sam):
            folder.mkdir(parents=True, exist_ok=True)
        response = asyncio.run(_invoke(checkout, options, event))
    except StackError as error:
        if error.details:
            print(error.details, file=sys.stderr)
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    sys.stdout.buffer.write(response.render())
    return 1 if response.failed else 0


async def _invoke(checkout: Checkout, options: argparse.Namespace, event: str) -> FunctionResponse:
    uses_container = options.engine == "container" or (options.engine == "auto" and await container.engine_answers())
    stack = running_stack(checkout)
    if uses_container:
        built = await container.build(checkout)
    else:
        built = checkout.built_template
        # A running stack uses what is built; sources count without a build.
        if stack is None or not built.exists():
            await Sam(checkout).build()
    function = BuiltFunction.named(options.function, checkout, built)
    for shortcoming in shortcomings(event, stack, options.session, options.connection):
        print(f"note: {shortcoming}", file=sys.stderr)
    if stack is None:
        environment = function.default_environment()
    else:
        environment = await asyncio.to_thread(function.deployed_environment, stack)
    event = await asyncio.to_thread(fill_in, event, environment, stack)
    if uses_container:
        resolved = function.with_environment(environment, container.machine_architecture())
        return await container.invoke(resolved, event, checkout, options.sam_option)
    config = function.configuration(checkout, environment)
    return await emulator.invoke(config, event.encode(), checkout, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
