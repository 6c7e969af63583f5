"""A worker's hold on its attempt: renews the lease, hears of a cancel, stores frames. All I/O off the delivery path."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

from tokenstream.frames import Sealed
from tokenstream.sessions import LEASE_SECONDS, Claim, LeaseLost, Sessions, SessionsUnavailable, Status

RENEW_SECONDS = 10
MAX_BATCH_BYTES = 256 * 1024
"""Well under DynamoDB's 400 KB an item."""

_logger = logging.getLogger(__name__)


class Verdict(Enum):
    """What a look at the session says."""

    GO_ON = "go_on"
    CANCEL = "cancel"
    LOST = "lost"


class Lease:
    """Holds one claim. `clock` gives epoch seconds; `keep` may be called from another thread than the rest."""

    def __init__(self, sessions: Sessions, claim: Claim, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._claim = claim
        self._clock = clock
        self._held_until = claim.lease_until
        self._renew_at = clock() + RENEW_SECONDS
        self._kept: deque[Sealed] = deque()
        self._batch: list[Sealed] = []

    def keep(self, frames: Iterable[Sealed]) -> None:
        """Remember frames that are to be stored with the next look."""
        if self._sessions.store_answers:
            self._kept.extend(frames)

    def look(self) -> Verdict:
        """Store what waits, renew the lease when it is due, and see whether the work is still wanted.

        A table that doesn't answer is borne until the lease has run out: then somebody else may have the attempt.
        """
        now = self._clock()
        try:
            self._store(now)
        except SessionsUnavailable:
            _logger.warning("frames not stored yet", exc_info=True, extra={"session_id": self._claim.session_id})
        try:
            cancelled = self._renewed(now)
        except LeaseLost:
            return Verdict.LOST
        except SessionsUnavailable:
            _logger.warning("session not reached", exc_info=True, extra={"session_id": self._claim.session_id})
            return Verdict.GO_ON if now < self._held_until else Verdict.LOST
        return Verdict.CANCEL if cancelled else Verdict.GO_ON

    def settle(self, status: Status, terminal: Sealed) -> bool:
        """Store what waits and end the session; False if it isn't ours to end any more.

        When the table doesn't answer while the lease lasts, the client still gets its ending: that is what True says.
        """
        try:
            self._store(self._clock())
            self._sessions.settle(self._claim, status, terminal)
        except LeaseLost:
            return False
        except SessionsUnavailable:
            _logger.exception("session not settled", extra={"session_id": self._claim.session_id})
            return self._clock() < self._held_until
        return True

    def release(self) -> None:
        """Leave the session to another attempt."""
        try:
            self._sessions.release(self._claim)
        except LeaseLost:
            pass
        except SessionsUnavailable:
            # The lease runs out by itself.
            _logger.exception("session not released", extra={"session_id": self._claim.session_id})

    def _renewed(self, now: float) -> bool:
        if now < self._renew_at:
            return self._sessions.cancel_requested(self._claim)
        cancelled = self._sessions.renew(self._claim, now)
        self._renew_at = now + RENEW_SECONDS
        self._held_until = now + LEASE_SECONDS
        return cancelled

    def _store(self, now: float) -> None:
        while self._batch or self._kept:
            # A batch that could not be stored stays as it is, so that its repetition replaces it.
            self._batch = self._batch or self._next_batch()
            self._sessions.store(self._claim, self._batch, now)
            self._batch = []

    def _next_batch(self) -> list[Sealed]:
        batch = [self._kept.popleft()]
        size = len(batch[0].json)
        while self._kept and size + len(self._kept[0].json) <= MAX_BATCH_BYTES:
            batch.append(self._kept.popleft())
            size += len(batch[-1].json)
        return batch
