"""The only loop: moves an answer from its source through the relay to its sink.

Three threads share a relay under one lock: the reader feeds it the model's deltas, the caller's thread sends what has
piled up, the watcher looks at the session and the deadline twice a second. Whoever decides that the stream ends says so
to the relay; its state table lets only the first one through.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic
from typing import Protocol, assert_never

from tokenstream.errors import ErrorCode, Internal, ModelError, TokenstreamError
from tokenstream.frames import Complete, Error, Sealed, StopReason
from tokenstream.lease import Verdict
from tokenstream.relay import Relay, State
from tokenstream.session import Status
from tokenstream.sinks import ClientGone, Sink
from tokenstream.sources import Delta, Finished, ReasoningDelta, Source

LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
DISCONNECT_GRACE_SECONDS = 30.0
DRAIN_SECONDS = 1.0
"""How long the end of the model's stream is waited for behind its last event."""

_logger = logging.getLogger(__name__)


class Ending(Enum):
    """How an attempt ended."""

    TERMINAL = "terminal"
    GIVEN_UP = "given_up"
    """The session is open to the next attempt."""
    LOST = "lost"
    """The session is another worker's, has ended, or is open once the lease has run out: nobody here can tell."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt; `terminal` is its terminal frame where it had one."""

    ending: Ending
    terminal: Complete | Error | None = None


class Keeper(Protocol):
    """The session as the pump needs it; `tokenstream.lease.Lease` is the real one."""

    def keep(self, frames: Iterable[Sealed]) -> None:
        """Remember frames; no I/O."""
        ...

    def look(self) -> Verdict:
        """See whether the work is still wanted."""
        ...

    def settle(self, status: Status, terminal: Sealed) -> bool:
        """End the session; False if it isn't ours any more."""
        ...

    def release(self, failure: ErrorCode | None) -> bool:
        """Leave the session to another attempt; False if that is not known to have worked."""
        ...


class _Bell:
    """Wakes the thread that sends. A queue of the interpreter's own costs half of what a condition does."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the one who waits, or will."""
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, seconds: float) -> None:
        """Wait for a ring; there may have been one without news."""
        with suppress(Empty):
            self._rings.get(timeout=seconds)


class Pump:
    """Moves one attempt. Times are seconds of `clock`, `deadline` is the moment at which the stream has to end.

    From one send to the next it lets `flush_interval` pass at least, or what the sink asks for if that is longer: what
    arrives meanwhile leaves joined. The first token and the end wait for nothing.

    A `recoverable` attempt that a passing fault of the model's has hit is given up without a terminal frame: another
    one follows. `rejoin` is called, by the thread that sends, when the client waits on another connection, and may be
    when nothing has changed: it sends there what was missed, and raises `ClientGone` while the client is gone.
    """

    def __init__(
        self,
        *,
        source: Source,
        relay: Relay,
        sink: Sink,
        keeper: Keeper,
        clock: Callable[[], float],
        deadline: float,
        recoverable: bool = False,
        rejoin: Callable[[], None] = lambda: None,
        look_every: float = LOOK_SECONDS,
        flush_interval: float = 0.0,
        heartbeat_after: float = HEARTBEAT_SECONDS,
        disconnect_grace: float = DISCONNECT_GRACE_SECONDS,
    ) -> None:
        self._source = source
        self._relay = relay
        self._sink = sink
        self._keeper = keeper
        self._clock = clock
        self._deadline = deadline
        self._recoverable = recoverable
        self._rejoin = rejoin
        self._look_every = look_every
        self._flush_interval = flush_interval
        self._heartbeat_after = heartbeat_after
        self._disconnect_grace = disconnect_grace
        self._lock = Lock()
        self._bell = _Bell()
        self._watching_over = Event()
        self._gone_since: float | None = None
        self._moved = False
        self._resting = False
        self._lost = False
        self._failure: ErrorCode | None = None

    def run(self) -> Outcome:
        """Move the answer to its end; when it returns, nothing of it runs any more. Raises what the sink raises."""
        reader = Thread(target=self._read, name="reader", daemon=True)
        watcher = Thread(target=self._watch, name="watcher", daemon=True)
        reader.start()
        watcher.start()
        try:
            try:
                self._send()
            finally:
                self._watching_over.set()
                watcher.join()
            outcome = self._settle()
            reader.join(DRAIN_SECONDS)
        finally:
            # Read to its end, the model's connection serves the next stream; aborted, it serves none.
            if reader.is_alive():
                self._source.abort()
                reader.join()
        return outcome

    def _read(self) -> None:
        try:
            for event in self._source.events():
                with self._lock:
                    if self._relay.state is not State.OPEN:
                        return
                    now = self._clock()
                    match event:
                        case Delta() | ReasoningDelta():
                            self._relay.add(event, now)
                        case Finished():
                            self._relay.complete(event.stop_reason, event.usage, now)
                        case _:
                            assert_never(event)
                    # Deltas don't wake a sender that lets them pile up.
                    if not self._resting or self._relay.state is not State.OPEN:
                        self._bell.ring()
        except TokenstreamError as error:
            self._fail(error)
        except Exception:
            # A fault in reading must not leave the sender waiting for ever.
            _logger.exception("reading the model failed")
            self._fail(Internal())
        else:
            self._fail(ModelError("The model's stream broke off.", retryable=True))

    def _watch(self) -> None:
        while not self._watching_over.wait(self._look_every):
            now = self._clock()
            gone_since = self._gone_since  # the sender may forget it at any time
            if now >= self._deadline:
                self._stop("deadline")
            elif gone_since is not None and now >= gone_since + self._disconnect_grace:
                self._stop("cancelled")
            try:
                verdict = self._keeper.look()
            except Exception:
                # The stream must not lose its deadline to a fault in here.
                _logger.exception("looking after the session failed")
                continue
            match verdict:
                case Verdict.GO_ON:
                    pass
                case Verdict.MOVED:
                    with self._lock:
                        self._moved = True
                        self._bell.ring()
                case Verdict.CANCEL:
                    self._stop("cancelled")
                case Verdict.LOST:
                    self._abandon()
                case _:
                    assert_never(verdict)

    def _send(self) -> None:
        if self._sink.starts_early:
            # It opens the way while the model thinks: the first token finds a connection.
            with self._lock:
                start = self._relay.take()
            self._deliver(start)
        while True:
            # The watcher sees the deadline too, but may be held up by a table that doesn't answer.
            left = self._deadline - self._clock()
            if left <= 0:
                self._stop("deadline")
            changed = self._wait(self._has_news, min(self._heartbeat_after, left))
            with self._lock:
                moved, self._moved = self._moved, False
                if not moved:
                    if changed and not self._relay.pending:
                        return
                    frames = self._relay.take()
            if moved:
                self._reach(self._rejoin)
                continue
            began = monotonic()
            self._deliver(frames)
            if not changed:
                self._beat()
            elif interval := max(self._flush_interval, self._sink.interval):
                self._resting = True
                left = self._deadline - self._clock()
                self._wait(self._is_urgent, min(interval - (monotonic() - began), left))
                self._resting = False

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds that the other threads bring about; False if it doesn't in time."""
        until = monotonic() + seconds
        while not condition():
            left = until - monotonic()
            if left <= 0:
                return False
            self._bell.wait(left)
        return True

    def _is_urgent(self) -> bool:
        return self._moved or self._relay.state is not State.OPEN

    def _has_news(self) -> bool:
        return self._relay.pending or self._is_urgent()

    def _deliver(self, frames: Sequence[Sealed]) -> None:
        if not frames:
            return
        self._keeper.keep(frames)
        self._reach(lambda: self._sink.send(frames))

    def _beat(self) -> None:
        self._reach(lambda: self._sink.heartbeat(self._relay.session_id))

    def _reach(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ClientGone:
            if self._gone_since is None:
                self._gone_since = self._clock()
        else:
            self._gone_since = None

    def _settle(self) -> Outcome:
        if self._relay.state is State.ABANDONED:
            released = not self._lost and self._keeper.release(self._failure)
            return Outcome(Ending.GIVEN_UP if released else Ending.LOST)
        # Where no token came, `start` leaves together with the end: a sink may still turn the two into a rejection.
        unsent = self._relay.take()
        sealed = self._relay.take_terminal()
        terminal = sealed.frame
        assert isinstance(terminal, Complete | Error)  # noqa: S101 - what take_terminal gives
        self._keeper.keep(unsent)
        if not self._keeper.settle(_status(terminal), sealed):
            return Outcome(Ending.LOST)
        # The last moment at which the client may have moved: from here on it finds the session ended.
        self._reach(self._rejoin)
        self._reach(lambda: self._sink.send([*unsent, sealed]))
        return Outcome(Ending.TERMINAL, terminal)

    def _stop(self, reason: StopReason) -> None:
        with self._lock:
            if self._relay.state is not State.OPEN:
                return
            self._relay.complete(reason, self._source.usage, self._clock())
            self._bell.ring()
        self._source.abort()

    def _fail(self, error: TokenstreamError) -> None:
        with self._lock:
            if self._relay.state is not State.OPEN:
                return
            if self._recoverable and error.retryable:
                self._failure = error.code
                self._relay.abandon()
            else:
                self._relay.fail(error)
            self._bell.ring()

    def _abandon(self) -> None:
        with self._lock:
            if self._relay.state in {State.OPEN, State.ENDING}:
                self._lost = True
                self._relay.abandon()
                self._bell.ring()
        self._source.abort()


def _status(terminal: Complete | Error) -> Status:
    match terminal:
        case Complete(stop_reason="cancelled"):
            return "cancelled"
        case Complete():
            return "complete"
        case Error():
            return "failed"
        case _:
            assert_never(terminal)
