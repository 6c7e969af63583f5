"""Ends a session that no worker will: as an attempt of its own, for nobody can tell what a lost one has sent."""

from tokenstream.errors import TokenstreamError
from tokenstream.frames import Sealed, Usage
from tokenstream.relay import Relay
from tokenstream.session import Claim, NewSession, Session
from tokenstream.sessions import Sessions

_MAX_FRAME_BYTES = 4096


def end(
    sessions: Sessions,
    claim: Claim,
    session: Session | NewSession,
    error: TokenstreamError,
    now: float,
    *,
    unwanted: bool = False,
) -> list[Sealed]:
    """End a claimed session with an error, or as cancelled where the client wanted that; returns the frames.

    `unwanted` is for an answer that the client has left without a word. `session` says what the claim was made for.
    Raises `LeaseLost` and `SessionsUnavailable`.
    """
    relay = Relay(
        session_id=claim.session_id,
        attempt=claim.attempt,
        model=session.model,
        path=session.path,
        delivery=session.delivery,
        started_at=now,
        max_frame_bytes=_MAX_FRAME_BYTES,
    )
    cancelled = unwanted or claim.instructions.cancel
    if cancelled:
        relay.complete("cancelled", Usage(), now)
    else:
        relay.fail(error)
    frames = relay.take()
    if sessions.store_answers:
        sessions.store(claim, frames, now)
    frames.append(relay.take_terminal())
    sessions.settle(claim, "cancelled" if cancelled else "failed", frames[-1])
    return frames
