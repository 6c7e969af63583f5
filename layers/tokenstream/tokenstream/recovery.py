"""What is to become of a session whose attempt has failed. Pure. Times are epoch seconds."""

from enum import StrEnum
from math import ceil
from typing import NamedTuple

from tokenstream.errors import ErrorCode, Internal, ModelError, ModelTimeout, Throttled, TokenstreamError
from tokenstream.pump import DISCONNECT_GRACE_SECONDS
from tokenstream.session import Session

_FIRST_PAUSE = 2.0
_BACKOFF = 4
_LONGEST_PAUSE = 40.0
"""Below the time that a session may wait for its next attempt, the attempt's own start included."""


class Step(StrEnum):
    """What the state machine does next."""

    END = "end"
    """Nothing: the session has ended or expired."""
    WAIT = "wait"
    """A worker has it: look again when that one's lease must have run out."""
    LINGER = "linger"
    """Give a client that is gone the time to come back."""
    GENERATE = "generate"
    """Wait, and generate the answer anew."""
    GIVE_UP = "give_up"
    """End the session: with an error, or as cancelled where nobody wants the answer."""


class Decision(NamedTuple):
    """The next step, and the whole seconds to wait before it."""

    step: Step
    seconds: int = 0


def decide(
    session: Session | None,
    now: float,
    *,
    tries_left: bool,
    tries: int,
    client_gone: bool,
    lingered: bool,
    jitter: float,
) -> Decision:
    """Decide on the next step; None is a session that has expired.

    `tries` counts the attempts of this recovery, `tries_left` says whether another one may follow; `client_gone` that
    the client's connection is closed, `lingered` that it was given its time; `jitter` is a number from 0 to 1.
    """
    if session is None or session.ended:
        return Decision(Step.END)
    if session.status == "running" and not session.orphaned(now):
        return Decision(Step.WAIT, ceil(session.lease_until - now) + 1)
    # Over HTTP the client has seen its response break off: what it asks for is the end of that one.
    if session.cancel_requested or session.path in {"url", "rest"} or not tries_left:
        return Decision(Step.GIVE_UP)
    if client_gone:
        return Decision(Step.GIVE_UP) if lingered else Decision(Step.LINGER, round(DISCONNECT_GRACE_SECONDS))
    # Many sessions fail at once when a model does: they don't come back at once.
    pause = min(_FIRST_PAUSE * _BACKOFF**tries, _LONGEST_PAUSE)
    return Decision(Step.GENERATE, round(pause * (0.5 + jitter)))


def final_error(failure: ErrorCode | None) -> TokenstreamError:
    """Say why a session ends, by what its last attempt was given up for; None is an attempt that broke off."""
    match failure:
        case ErrorCode.THROTTLED:
            return Throttled("The model was too busy each time it was asked.", retryable=True)
        case ErrorCode.MODEL_TIMEOUT:
            return ModelTimeout("The model was silent for too long each time it was asked.", retryable=True)
        case ErrorCode.MODEL_ERROR:
            return ModelError("The model failed each time it was asked.", retryable=True)
        case _:
            return Internal("The answer was interrupted.")
