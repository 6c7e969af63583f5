"""A worker's hold on its attempt: renews the lease, hears of a cancel, stores frames. All I/O off the delivery path."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from threading import Lock

from tokenstream.errors import ErrorCode
from tokenstream.frames import Position, Sealed
from tokenstream.session import LEASE_SECONDS, Claim, Instructions, Recipient, Status
from tokenstream.sessions import LeaseLost, Sessions, SessionsUnavailable

RENEW_SECONDS = 10
SETTLE_TRIES = 3
MAX_BATCH_BYTES = 256 * 1024
"""Well under DynamoDB's 400 KB an item."""

_logger = logging.getLogger(__name__)


class Verdict(Enum):
    """What a look at the session says."""

    GO_ON = "go_on"
    MOVED = "moved"
    """The client waits on another connection: see `Lease.missed`."""
    CANCEL = "cancel"
    LOST = "lost"


class Lease:
    """Holds one claim. `clock` gives epoch seconds.

    One thread may `look` while another one uses `keep` and `missed`; `settle` and `release` end both. Whoever delivers
    queued frames has something to say by the record, as of the last look or the end: `client_gone`, that the client's
    connection was found closed, and `behind`, that frames had to wait.
    """

    def __init__(self, sessions: Sessions, claim: Claim, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._claim = claim
        self._clock = clock
        self._held_until = claim.lease_until
        self._renew_at = clock() + RENEW_SECONDS
        self._served = self._recipient = claim.instructions.recipient
        self.client_gone = claim.instructions.gone
        self.behind = claim.instructions.behind
        self._kept: deque[Sealed] = deque()
        self._batch: list[Sealed] = []
        self._storing = Lock()

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
            instructions = self._renewed(now)
        except LeaseLost:
            return Verdict.LOST
        except SessionsUnavailable:
            _logger.warning("session not reached", exc_info=True, extra={"session_id": self._claim.session_id})
            return Verdict.GO_ON if now < self._held_until else Verdict.LOST
        self._heed(instructions)
        if instructions.cancel:
            return Verdict.CANCEL
        return Verdict.GO_ON if self._recipient == self._served else Verdict.MOVED

    def missed(self) -> tuple[Recipient, list[Sealed]] | None:
        """Where the client waits on another connection, tell which, and what of this attempt it lacks up to now.

        None where nothing has changed, and while the table doesn't answer: the next look says so again.
        """
        recipient = self._recipient
        if recipient is None or recipient == self._served:
            return None
        try:
            self._store(self._clock())
            frames = self._stored_behind(recipient.after)
        except SessionsUnavailable:
            _logger.warning("missed frames not read", exc_info=True, extra={"session_id": self._claim.session_id})
            return None
        self._served = recipient
        return recipient, frames

    def settle(self, status: Status, terminal: Sealed) -> bool:
        """Store what waits and end the session; False if it isn't ours to end any more.

        When the table doesn't answer while the lease lasts, the client still gets its ending: that is what True says.
        The recovery, which can't know of it, then makes another attempt: it is tried hard to avoid that.
        """
        for _ in range(SETTLE_TRIES):
            try:
                self._store(self._clock())
                self._heed(self._sessions.settle(self._claim, status, terminal))
            except LeaseLost:
                return False
            except SessionsUnavailable:
                _logger.exception("session not settled", extra={"session_id": self._claim.session_id})
            else:
                return True
        return self._clock() < self._held_until

    def release(self, failure: ErrorCode | None) -> bool:
        """Leave the session to another attempt; False if it isn't ours any more, or the table doesn't answer."""
        try:
            self._sessions.release(self._claim, failure, self._clock())
        except LeaseLost:
            return False
        except SessionsUnavailable:
            # The lease runs out by itself.
            _logger.exception("session not released", extra={"session_id": self._claim.session_id})
            return False
        return True

    def _heed(self, instructions: Instructions) -> None:
        # In this order: whoever sees the new recipient must not take it for the one that is gone.
        self.client_gone = instructions.gone
        self.behind = instructions.behind
        self._recipient = instructions.recipient

    def _renewed(self, now: float) -> Instructions:
        if now < self._renew_at:
            return self._sessions.instructions(self._claim)
        instructions = self._sessions.renew(self._claim, now)
        self._renew_at = now + RENEW_SECONDS
        self._held_until = now + LEASE_SECONDS
        return instructions

    def _store(self, now: float) -> None:
        with self._storing:
            while self._batch or self._kept:
                # A batch that could not be stored stays as it is, so that its repetition replaces it.
                self._batch = self._batch or self._next_batch()
                self._sessions.store(self._claim, self._batch, now)
                self._batch = []

    def _stored_behind(self, position: Position) -> list[Sealed]:
        # Whoever has an earlier attempt's frames lacks all of this one's.
        position = max(position, Position(self._claim.attempt, 0))
        frames: list[Sealed] = []
        while page := self._sessions.frames_after(self._claim.session_id, *position):
            frames += page
            position = page[-1].frame.position
        return frames

    def _next_batch(self) -> list[Sealed]:
        batch = [self._kept.popleft()]
        size = len(batch[0].json)
        while self._kept and size + len(self._kept[0].json) <= MAX_BATCH_BYTES:
            batch.append(self._kept.popleft())
            size += len(batch[-1].json)
        return batch
