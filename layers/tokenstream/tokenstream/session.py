"""A session as its functions know it: plain values. Times are epoch seconds."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tokenstream.errors import ErrorCode
from tokenstream.frames import Delivery, Path, Position, Sealed

LEASE_SECONDS = 30

NEXT_ATTEMPT_SECONDS = 120
"""How long an attempt that was given up may wait for the next one, before the session counts as forgotten."""

Status = Literal["accepted", "running", "recovering", "complete", "failed", "cancelled"]
ENDED: frozenset[Status] = frozenset({"complete", "failed", "cancelled"})


class Recipient(NamedTuple):
    """The WebSocket connection that a session's frames go to, and what its client has already.

    `ticket` tells one request for it from the next: a client may ask again on the same connection.
    """

    connection_id: str
    after: Position
    ticket: str


class Instructions(NamedTuple):
    """What the client wants by now of the worker that runs its session.

    Whoever delivers in the worker's place says two things: `gone`, that the recipient's connection was found closed,
    and `behind`, that queued frames had to wait.
    """

    cancel: bool
    recipient: Recipient | None
    gone: bool = False
    behind: bool = False


NOTHING_WANTED = Instructions(cancel=False, recipient=None)


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session is created with; `request` is the client's JSON."""

    session_id: str
    owner: str
    path: Path
    delivery: Delivery
    model: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """The record of a session.

    Until `lease_until` whoever is in charge has time: the worker of a running session to renew its lease, the one to
    come to begin. `failure` is why the last attempt was given up.
    """

    session_id: str
    owner: str
    status: Status
    attempt: int
    path: Path
    delivery: Delivery
    model: str
    lease_until: float
    cancel_requested: bool
    recipient: Recipient | None
    behind: bool
    failure: ErrorCode | None
    terminal: Sealed | None

    @property
    def ended(self) -> bool:
        """Whether nothing will be added."""
        return self.status in ENDED

    def orphaned(self, now: float) -> bool:
        """Whether nobody looks after it any more, and it hasn't ended."""
        return not self.ended and self.lease_until < now


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to one attempt at a session, and what the client wanted when it was given."""

    session_id: str
    attempt: int
    worker: str
    lease_until: float
    instructions: Instructions = NOTHING_WANTED
