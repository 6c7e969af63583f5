"""Runs a function's handler: ``python -m tokenstream.runtime [HANDLER]``, the handler being ``_HANDLER`` by default."""

import os
import sys

from awslambdaric import bootstrap
from awslambdaric.lambda_config import LambdaConfigProvider

from tokenstream.runtime.client import StreamingRuntimeClient


def main(arguments: list[str]) -> None:
    """Serve invocations until the process is ended."""
    config = LambdaConfigProvider(arguments if len(arguments) > 1 else [*arguments, os.environ["_HANDLER"]])
    client = StreamingRuntimeClient(config.api_address, config.use_thread_polling)
    if config.is_multi_concurrent:
        # awslambdaric forks its processes with a client of its own there. Running that would post HTTP results
        # without their head, which clients see as a 200 whatever the status: better no start than wrong answers.
        message = (
            "tokenstream.runtime streams one invocation at a time: remove AWS_LAMBDA_MAX_CONCURRENCY or the wrapper"
        )
        client.post_init_error(bootstrap.make_error(message, "Runtime.MultiConcurrencyUnsupported", []))
        sys.exit(message)
    bootstrap.run(config.handler, client)


main(sys.argv)
