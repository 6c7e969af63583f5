"""One attempt at an answer: from the request to the way out."""

from collections.abc import Callable

from tokenstream.delivery import WayOut
from tokenstream.frames import Path
from tokenstream.pump import Keeper, Outcome, Pump
from tokenstream.relay import Relay
from tokenstream.request import StreamRequest
from tokenstream.session import Claim
from tokenstream.sources import Source


def generate(
    claim: Claim,
    path: Path,
    request: StreamRequest,
    *,
    source: Source,
    way_out: WayOut,
    keeper: Keeper,
    clock: Callable[[], float],
    started_at: float,
    deadline: float,
    flush_interval: float = 0.0,
    recoverable: bool = False,
) -> Outcome:
    """Move a claimed session's answer to its end; blocks. Times are seconds of `clock`, the rest is the pump's."""
    relay = Relay(
        session_id=claim.session_id,
        attempt=claim.attempt,
        model=request.model,
        path=path,
        delivery=request.delivery,
        started_at=started_at,
        max_frame_bytes=way_out.sink.max_frame_bytes,
    )
    if claim.instructions.cancel:
        # Stopped before it began: the model is not even called.
        relay.complete("cancelled", source.usage, clock())
        source.abort()
    return Pump(
        source=source,
        relay=relay,
        sink=way_out.sink,
        keeper=keeper,
        clock=clock,
        deadline=deadline,
        flush_interval=flush_interval,
        recoverable=recoverable,
        rejoin=way_out.rejoin,
    ).run()
