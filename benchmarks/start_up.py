"""What a cold start costs: the import of each handler with all that it makes, against boto3 with one client.

Both from bytecode, as on Lambda: the layer brings its own, the SDK's lies beside it. A function's folder, which is read
only, has none.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.process import Used, run
from benchmarks.result import Row

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "layers" / "tokenstream"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
REACH = 1.0

BASELINE = "import boto3; boto3.client('bedrock-runtime', region_name='us-east-1')"
_HANDLER = "import app"

# Imports what has bytecode on Lambda: every module but the one that would run when it is imported.
_COMPILE = f"""
import importlib, pkgutil, jwt, tokenstream
for module in pkgutil.walk_packages(tokenstream.__path__, "tokenstream."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
{BASELINE}
"""

_ENVIRONMENT = {
    "PATH": os.defpath,
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_SESSION_TOKEN": "example",
    "ALLOWED_MODELS": "anthropic.model",
    "ALLOWED_ORIGINS": "*",
    "BEDROCK_API": "auto",
    "FLUSH_INTERVAL_MS": "0",
    "CONNECTIONS_TABLE": "connections",
    "DIRECT_SEND": "true",
    "FRAMES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/frames.fifo",
    "FRAMES_TOPIC": "arn:aws:sns:us-east-1:123456789012:frames.fifo",
    "GRAPHQL_ENDPOINT": "https://example.appsync-api.us-east-1.amazonaws.com/graphql",
    "MAX_TOKENS_CAP": "4096",
    "POWERTOOLS_METRICS_NAMESPACE": "tokenstream",
    "PROMPT_MAX_RECEIVES": "3",
    "PROMPT_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/prompts",
    "RECOVERY_ATTEMPTS": "2",
    "RECOVERY_STATE_MACHINE": "arn:aws:states:us-east-1:123456789012:stateMachine:recovery",
    "SESSIONS_TABLE": "sessions",
    "SESSION_TTL_SECONDS": "3600",
    "STORE_ANSWERS": "true",
    "STREAM_FUNCTION": "ws-stream",
    "USER_POOL_CLIENT_ID": "client",
    "USER_POOL_ID": "us-east-1_pool",
    "WEBSOCKET_ENDPOINT": "https://example.execute-api.us-east-1.amazonaws.com/prod",
}


def environment(function: str) -> dict[str, str]:
    """Return what a function starts with, as far as it is the same for all of them."""
    return _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(LAYER), str(ROOT / "functions" / function)])}


def measure(quick: bool, say: Callable[[str], None]) -> Iterator[Row]:
    """Make one round: the medians of several starts of each, one after the other in turn."""
    starts = 3 if quick else 7
    say(f"start-up: {len(FUNCTIONS)} functions, {starts} times each")
    with TemporaryDirectory() as folder:
        bytecode = {"PYTHONPYCACHEPREFIX": folder}
        run(_COMPILE, environment(FUNCTIONS[0]) | bytecode)
        cases = {None: (BASELINE, _ENVIRONMENT)} | {name: (_HANDLER, environment(name)) for name in FUNCTIONS}
        used: dict[str | None, list[Used]] = {name: [] for name in cases}
        for _ in range(starts):
            for name, (program, variables) in cases.items():
                used[name].append(run(program, variables | bytecode | {"PYTHONDONTWRITEBYTECODE": "1"}))
    yield from _rows(used[None], {name: used[name] for name in FUNCTIONS})


def _rows(baseline: list[Used], functions: Mapping[str, list[Used]]) -> Iterator[Row]:
    named = {"boto3 with a client": baseline, **functions}
    for what, reach, of in (
        ("start-up, CPU, against boto3 with a client", REACH, _cpu),
        ("start-up, time, against boto3 with a client", REACH, _time),
    ):
        for name, starts in functions.items():
            yield Row(what, name, "x", (round(of(starts) / of(baseline), 3),), reach)
    for name, starts in named.items():
        yield Row("start-up, CPU", name, "ms", (round(_cpu(starts) * 1000, 1),))


def _cpu(starts: list[Used]) -> float:
    return median(used.cpu_seconds for used in starts)


def _time(starts: list[Used]) -> float:
    return median(used.seconds for used in starts)
