"""The `tokenstream` command.

Exit codes: 0 the answer is complete, or what was asked for is printed, 1 it failed or was rejected, 2 wrong usage,
130 interrupted, 141 the reader of the output went away (`| head`).
"""

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import assert_never

from tokenstream_client.command.advice import explain
from tokenstream_client.command.arguments import (
    ChatOptions,
    CostOptions,
    Options,
    RaceOptions,
    TokenOptions,
    parse_arguments,
)
from tokenstream_client.command.chat import chat
from tokenstream_client.command.cost import cost
from tokenstream_client.command.exit_codes import BROKEN_PIPE, FAILED, INTERRUPTED
from tokenstream_client.command.race import race
from tokenstream_client.command.token import token
from tokenstream_client.errors import ClientError

# What the library logs, the command tells in its own words.
logging.getLogger("tokenstream_client").addHandler(logging.NullHandler())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; wrong usage raises `SystemExit`, as argparse does."""
    options = parse_arguments(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that can't show a character shows a question mark instead of a traceback.
        sys.stdout.reconfigure(errors="replace")
    try:
        return _run(options)
    except ClientError as error:
        print(explain(error), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(options: Options) -> int:
    match options:
        case ChatOptions():
            return chat(options)
        case RaceOptions():
            return race(options)
        case TokenOptions():
            return token(options)
        case CostOptions():
            return cost(options)
        case _:
            assert_never(options)
