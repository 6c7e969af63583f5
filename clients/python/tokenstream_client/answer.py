"""One answer as it is streamed: how long it takes, and in how many messages: pure.

Messages are counted as the stack joins them. While one request to a sink is under way the deltas that arrive pile up
and leave together in the next one, so that their number is bounded by the model's time and not by its tokens.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from tokenstream_client.delivery import Delivery
from tokenstream_client.endpoints import PathName

MEMORY_MB = 1024
"""Of the functions that stream, and of those that a first token waits for, in template.yaml."""

LONGEST_RUN_SECONDS = 900
"""No function runs longer on Lambda."""

# What the layer and the functions do, each by the name that it has there.
LOOK_SECONDS = 0.5
INTERVAL_SECONDS = 0.1
BEHIND_SECONDS = 0.5

BATCH_SIZE = 10
"""Queued messages that one invocation delivers at most."""

TOKEN_BYTES = 4
"""Of an English text, about."""

START_AND_END = 2

SHORT_RUN_SECONDS = 0.05
"""A function that makes a few calls of milliseconds; what a stream takes beside its model, too."""


class Way(NamedTuple):
    """A path, and how frames come on it."""

    path: PathName
    delivery: Delivery = "direct"


WAYS = (
    Way("url"),
    Way("rest"),
    Way("websocket"),
    Way("websocket", "queued"),
    Way("appsync"),
    Way("appsync", "queued"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, in seconds and tokens a second.

    `flush_interval` is the functions' FLUSH_INTERVAL_MS: the least time between two sends of a stream. `memory_mb` is
    that of the functions that stream. Not `joined`, each token has a request of its own.
    """

    tokens: int
    rate: float
    first_token: float = 0.6
    round_trip: float = 0.02
    flush_interval: float = 0.0
    prompt_bytes: int = 1024
    memory_mb: int = MEMORY_MB
    joined: bool = True

    @property
    def generation(self) -> float:
        """How long the model generates, from its first token on."""
        return self.tokens / self.rate

    @property
    def duration(self) -> float:
        """How long the function runs that streams it."""
        return self.first_token + self.generation + SHORT_RUN_SECONDS

    def interval(self, way: Way) -> float:
        """How far apart requests to the sink are at least, as long as nothing has to wait behind it."""
        # A chunk of a response isn't answered: there is no round trip to wait for.
        busy = 0.0 if way.path in {"url", "rest"} else self.round_trip
        return max(busy, self.flush_interval)

    def token_frames(self, way: Way) -> int:
        """Count the frames with text: one a request to the sink."""
        if not self.joined:
            return self.tokens
        interval = self.interval(way)
        early = self._before_it_is_behind(way)
        late = max(0.0, self.generation - early)
        frames = early * self._a_second(interval) + late * self._a_second(max(interval, INTERVAL_SECONDS))
        # Rounding must not make one more of what is as good as whole.
        return max(1, min(self.tokens, ceil(round(frames, 6))))

    def _a_second(self, interval: float) -> float:
        return min(self.rate, 1 / interval) if interval else self.rate

    def _before_it_is_behind(self, way: Way) -> float:
        """How long queued frames may come faster than they are delivered, one by one, until the worker is told."""
        if way.delivery == "direct":
            return self.generation
        delivery = self.round_trip + SHORT_RUN_SECONDS / BATCH_SIZE
        growing = delivery * self._a_second(self.interval(way)) - 1
        return min(self.generation, BEHIND_SECONDS / growing + LOOK_SECONDS) if growing > 0 else self.generation

    def frames(self, way: Way) -> int:
        """Count all frames."""
        return self.token_frames(way) + START_AND_END

    def text_bytes(self, way: Way) -> float:
        """Return how much text a frame has on average."""
        return self.tokens * TOKEN_BYTES / self.token_frames(way)


class Runs(NamedTuple):
    """How often a function runs for an answer, and how long in all."""

    number: float
    seconds: float


def deliveries(answer: Answer, way: Way) -> Runs:
    """Return the runs that take an answer's queued frames to its client, with nobody else's in the same batch."""
    if way.delivery == "direct":
        return Runs(0, 0)
    frames = answer.frames(way)
    posting = frames * answer.round_trip
    # A session's batches come one after the other: those that come too fast for a run each share one.
    number = min(frames, max(frames / BATCH_SIZE, (answer.generation - posting) / SHORT_RUN_SECONDS))
    return Runs(number, number * SHORT_RUN_SECONDS + posting)
