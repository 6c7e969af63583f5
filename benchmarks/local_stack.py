"""The local stack's own share of the time: how far its clients are behind the model, one alone and fifty at once.

One clock tells both ends: the model notes when it emits a token and a client when it has it, each in the time of day of
the same machine. A round starts a stack as a user does, and ends it.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import httpx
from msgspec.json import decode, encode

from benchmarks.local_clients import Received
from benchmarks.local_load import Order
from benchmarks.result import Row
from local.model.interface import ModelRequest, Turn
from local.model.marks import parse_marks
from local.model.text import compose
from tests.local.stack_process import RunningStack, StackProcess, copy_checkout
from tokenstream_client.endpoints import PATHS, PathName

_ROOT = Path(__file__).parents[1]
_FIRST = "local stack: time to first token added, warm"
_FIRST_REACH = 10.0
_STREAMS = 50
_RATE = 50
_MANY = f"local stack: {_STREAMS} streams at once, {_RATE} tokens/s each"
_MANY_REACH = 1.1
_WARM_UPS = 4
_WARM_UP_SECONDS = 15.0
"""For so long every stream of a warm-up keeps its worker, so that the next one has another started."""
_SPREAD = 2.0


class WrongText(Exception):
    """A client didn't get what the model said."""


class NeverWarm(Exception):
    """The machine is too slow to have all workers started."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """One answer at both of its ends, in seconds since the epoch; a moment for each token."""

    began: float
    emitted: Sequence[float]
    ended: float
    arrived: Sequence[float]
    complete: float

    @property
    def lags(self) -> list[float]:
        """How far behind the model each token came, in milliseconds."""
        return [1000 * (arrived - emitted) for emitted, arrived in zip(self.emitted, self.arrived, strict=True)]

    @property
    def stretch(self) -> float:
        """How many times as long as the model it took, from the model's start until its client had `complete`."""
        return (self.complete - self.began) / (self.ended - self.began)


def measure(quick: bool, say: Callable[[str], None]) -> Iterator[Row]:
    """Make one round."""
    say("local stack: starting")
    with tempfile.TemporaryDirectory(prefix="tokenstream-benchmark-") as folder:
        process = StackProcess(copy_checkout(Path(folder, "checkout")), "--quiet")
        try:
            stack = process.wait_until_ready()
            for path in PATHS:
                say(f"local stack: first tokens over {path}")
                yield _first_token(stack, path, 4 if quick else 20)
            many: tuple[PathName, ...] = ("url",) if quick else ("url", "websocket", "appsync")
            for path in many:
                say(f"local stack: {_STREAMS} streams over {path}")
                yield from _at_once(stack, path, 200 if quick else 300)
        finally:
            process.close()


def _first_token(stack: RunningStack, path: PathName, streams: int) -> Row:
    """Measure one stream after the other; the first one warms up."""
    rounds = [[_prompt(tokens=2)] for _ in range(1 + streams)]
    added = [stream.lags[0] for [stream] in _streamed(stack, path, rounds)[1:]]
    return Row(_FIRST, path, "ms", (median(added),), _FIRST_REACH)


def _at_once(stack: RunningStack, path: PathName, tokens: int) -> Iterator[Row]:
    _warm_up(stack, path)
    [streams] = _streamed(stack, path, [[_prompt(tokens) for _ in range(_STREAMS)]])
    last = [stream.lags[-1] for stream in streams]
    lags = sorted(lag for stream in streams for lag in stream.lags)
    stretch = max(stream.stretch for stream in streams)
    yield Row(f"{_MANY}: duration against the model's", f"{path}, longest", "times", (stretch,), _MANY_REACH)
    yield Row(f"{_MANY}: lag of the last token", f"{path}, p50", "ms", (median(last),))
    yield Row(f"{_MANY}: lag of the last token", f"{path}, longest", "ms", (max(last),))
    yield Row(f"{_MANY}: lag of a token", f"{path}, p50", "ms", (median(lags),))
    yield Row(f"{_MANY}: lag of a token", f"{path}, p99", "ms", (lags[len(lags) * 99 // 100],))


def _warm_up(stack: RunningStack, path: PathName) -> None:
    """Have a worker started for each stream; raises `NeverWarm`."""
    for _ in range(_WARM_UPS):
        prompts = [_prompt(tokens=1, first_after=_WARM_UP_SECONDS) for _ in range(_STREAMS)]
        [streams] = _streamed(stack, path, [prompts])
        if max(stream.began for stream in streams) < min(stream.ended for stream in streams):
            return
    raise NeverWarm


def _prompt(tokens: int, first_after: float = 0.3) -> str:
    return f"Benchmark {uuid4()} [[ttft={first_after} rate={_RATE} tokens={tokens}]]"


def _streamed(stack: RunningStack, path: PathName, rounds: list[list[str]]) -> list[list[_Stream]]:
    """Have prompts answered, round by round; raises `WrongText` and `CalledProcessError`."""
    endpoints = (stack.checkout / ".local" / "endpoints.json").read_text()
    load = subprocess.run(
        [sys.executable, "-m", "benchmarks.local_load"],
        input=encode(Order(path, endpoints, stack.token, rounds, _SPREAD)),
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    shown = httpx.get(f"{stack.bedrock_url}/_streams", params={"times": "1"}, timeout=60).raise_for_status().json()
    records = {record["promptSha256"]: record for record in shown["streams"]}
    received = decode(load.stdout, type=list[list[Received]])
    return [[_stream(each, records[_digest(each.prompt)]) for each in one] for one in received]


def _digest(prompt: str) -> str:
    """Give what the model's record has of a prompt."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def _stream(received: Received, record: dict[str, Any]) -> _Stream:
    _, marks = parse_marks(received.prompt)
    tokens = compose(ModelRequest((Turn("user", received.prompt),)), marks).text
    if "".join(tokens) != "".join(received.texts):
        raise WrongText(received.prompt)
    return _Stream(
        began=record["startedAt"] / 1000,
        emitted=[moment / 1000 for moment in record["tokenTimes"]],
        ended=record["endedAt"] / 1000,
        arrived=arrivals(tokens, received),
        complete=received.ended_at,
    )


def arrivals(tokens: Sequence[str], received: Received) -> list[float]:
    """Tell when each token was there whole: one frame may bring several."""
    frames = zip(accumulate(map(len, received.texts)), received.moments, strict=True)
    there, moment = next(frames)
    moments = []
    for end in accumulate(map(len, tokens)):
        while there < end:
            there, moment = next(frames)
        moments.append(moment)
    return moments
