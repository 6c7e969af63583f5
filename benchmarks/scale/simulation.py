"""Many streams that share a quota, event by event: pure, and the same for the same seed.

A stream does what the pump and the direct sinks do: one request at a time, what piles up meanwhile joined into the next
one, a refused one tried again after a pause that grows, for two seconds at most. Whoever has an answer whole begins the
next one, so that there are always as many streams. A token arrives when its request is taken; the reply comes a round
trip behind the request's beginning.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from heapq import heappop, heappush
from itertools import count
from random import Random

from tokenstream_client.answer import Answer, Way

# What tokenstream.retries does.
BUDGET_SECONDS = 2.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0

WARM_UP_SECONDS = 10.0
"""So long nothing is noted: a bucket begins full."""


class Bucket:
    """A quota of requests a second, as API Gateway has it: a bucket that fills at the rate up to a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._held = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Take a request; False where it is refused."""
        self._held = min(self._burst, self._held + (now - self._at) * self._rate)
        self._at = now
        if self._held < 1:
            return False
        self._held -= 1
        return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has happened behind the warm-up: lags in seconds, sorted, requests a second, and what went wrong."""

    lags: list[float]
    requests: float
    requests_an_answer: float
    """In the time that an answer takes."""
    refused: float
    """The part of all requests."""
    failed_over: float
    """The part of all answers."""

    def lag(self, percent: float) -> float:
        """Return a percentile, by nearest rank."""
        return self.lags[max(0, -int(-percent * len(self.lags) // 100) - 1)]


class _Stream:
    """One answer. `taken` tokens have left or are about to, `told` says that its end is."""

    def __init__(self, answer: Answer, begins: float, random: Random) -> None:
        first = begins + answer.first_token
        # A model is no metronome.
        self.emitted = [first + (index + random.random()) / answer.rate for index in range(answer.tokens)]
        self.arrived = 0
        self.taken = 0
        self.started = False
        self.told = False
        self.tried_since = begins
        self.pause = FIRST_PAUSE
        self.sent_at = float("-inf")

    def next_send(self, ready: float, flush_interval: float) -> float:
        """Return when there is something to send, with the sink ready at that moment. The first token isn't held."""
        earliest = max(ready, self.sent_at + flush_interval) if self.taken else ready
        if self.taken == len(self.emitted):
            return ready  # nor is the end
        return max(earliest, self.emitted[self.taken])

    def take(self, now: float) -> None:
        """Join what has piled up."""
        if self.taken == len(self.emitted):
            self.told = True
        elif self.started:
            self.taken = bisect_right(self.emitted, now)
        self.started = True
        self.tried_since = now
        self.sent_at = now
        self.pause = FIRST_PAUSE


def simulate(answer: Answer, way: Way, *, streams: int, bucket: Bucket, seconds: float, seed: int) -> Outcome:
    """Let so many streams run for so long."""
    return _Simulation(answer, way, bucket, Random(seed)).run(streams, WARM_UP_SECONDS + seconds)  # noqa: S311


@cache
def alone(answer: Answer) -> Outcome:
    """Simulate a few streams that no quota bounds."""
    return simulate(answer, Way("websocket"), streams=20, bucket=Bucket(1e9, 1e9), seconds=30, seed=1)


class _Simulation:
    def __init__(self, answer: Answer, way: Way, bucket: Bucket, random: Random) -> None:
        self._answer = answer
        # What the way itself puts between two requests.
        self._busy = Answer(tokens=1, rate=1, round_trip=answer.round_trip).interval(way)
        self._bucket = bucket
        self._random = random
        self._events: list[tuple[float, int, _Stream, bool]] = []
        self._numbers: Iterator[int] = count()
        self._lags: list[float] = []
        self._requests = self._refused = self._answers = self._failed_over = 0

    def run(self, streams: int, seconds: float) -> Outcome:
        for _ in range(streams):
            self._begin(self._random.random() * self._answer.duration)
        while self._events[0][0] < seconds:
            now, _, stream, again = heappop(self._events)
            if not again:
                stream.take(now)
            self._attempt(stream, now)
        measured = seconds - WARM_UP_SECONDS
        return Outcome(
            sorted(self._lags),
            self._requests / measured,
            self._requests / measured / streams * self._answer.duration,
            self._refused / max(1, self._requests),
            self._failed_over / max(1, self._answers),
        )

    def _begin(self, now: float) -> None:
        self._at(now, _Stream(self._answer, now, self._random))

    def _at(self, moment: float, stream: _Stream, *, again: bool = False) -> None:
        heappush(self._events, (moment, next(self._numbers), stream, again))

    def _attempt(self, stream: _Stream, now: float) -> None:
        noted = now >= WARM_UP_SECONDS
        replied = now + self._busy
        self._requests += noted
        if not self._bucket.take(now):
            self._refused += noted
            self._try_again(stream, replied, noted=noted)
            return
        if noted:
            self._lags += [now - at for at in stream.emitted[stream.arrived : stream.taken]]
        stream.arrived = stream.taken
        if stream.told:
            self._answers += noted
            self._begin(replied)
        else:
            self._at(stream.next_send(replied, self._answer.flush_interval), stream)

    def _try_again(self, stream: _Stream, replied: float, *, noted: bool) -> None:
        pause = stream.pause * (0.5 + self._random.random() / 2)
        if replied + pause >= stream.tried_since + BUDGET_SECONDS:
            # The rest goes the queued way; here somebody else comes.
            self._answers += noted
            self._failed_over += noted
            self._begin(replied)
            return
        stream.pause = min(2 * stream.pause, LONGEST_PAUSE)
        self._at(replied + pause, stream, again=True)
