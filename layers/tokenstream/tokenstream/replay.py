"""Gives a session's frames to a client that comes back: the stored ones, then the live ones as they are stored."""

from collections.abc import Callable, Iterator

from tokenstream.ending import end
from tokenstream.errors import Internal, NotFound
from tokenstream.frames import Position, Sealed
from tokenstream.session import Session
from tokenstream.sessions import LeaseLost, Sessions

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0

_UNRECOVERED_PATHS = frozenset({"url", "rest"})
"""Where no other attempt follows that of a worker which is gone: whoever comes back is told so at once."""


class TimeUp(Exception):
    """The answer goes on, the one who tells it can't."""


class Replayer:
    """Follows sessions through the table.

    `clock` gives epoch seconds, `wait` lets some of them pass, `worker` names this one where it has to end a session.
    """

    def __init__(
        self, sessions: Sessions, worker: str, *, clock: Callable[[], float], wait: Callable[[float], None]
    ) -> None:
        self._sessions = sessions
        self._worker = worker
        self._clock = clock
        self._wait = wait

    def frames(self, session_id: str, owner: str, after: Position, until: float) -> Iterator[list[Sealed]]:
        """Return what comes after a position, up to the terminal frame or the time `until`.

        An empty list says that nothing came for a while: time for a heartbeat. Of an attempt that was given up nothing
        is repeated. Raises `NotFound` at once, `SessionsUnavailable` at any time and `TimeUp` at that time.
        """
        session = self._sessions.get(session_id, owner)
        if not self._sessions.store_answers:
            raise NotFound("Answers are not stored here, so there is nothing to resume.")
        return self._follow(session, after, until)

    def _follow(self, session: Session, position: Position, until: float) -> Iterator[list[Sealed]]:
        heard_at = self._clock()
        while (now := self._clock()) < until:
            position = max(position, Position(session.attempt, 0))
            # The record was read before the frames: when it has the end, all that comes before is stored.
            frames = self._sessions.frames_after(session.session_id, *position)
            if not frames and session.terminal is not None:
                # Whoever claims to have more than there is gets the end all the same.
                if session.terminal.frame.position != position:
                    yield [session.terminal]
                return
            if frames:
                yield frames
                position = frames[-1].frame.position
                heard_at = now
            elif session.orphaned(now) and session.path in _UNRECOVERED_PATHS:
                self._end(session)
            else:
                if now - heard_at >= HEARTBEAT_SECONDS:
                    yield []
                    heard_at = now
                self._wait(POLL_SECONDS)
            session = self._sessions.get(session.session_id, session.owner)
        raise TimeUp

    def _end(self, session: Session) -> None:
        now = self._clock()
        try:
            claim = self._sessions.claim(session.session_id, self._worker, now)
            end(self._sessions, claim, session, Internal("The answer was interrupted."), now)
        except LeaseLost:
            return  # another one that came back was quicker
