"""A lease on a session together with the queue's message that asked for it."""

import logging
from collections.abc import Callable, Iterable

from tokenstream.errors import ErrorCode
from tokenstream.frames import Sealed
from tokenstream.lease import RENEW_SECONDS, Lease, Verdict
from tokenstream.message_queue import QueueUnavailable
from tokenstream.prompt_queue import HOLD_SECONDS, Prompt, PromptQueue
from tokenstream.session import Status

_logger = logging.getLogger(__name__)


class HeldMessage:
    """Keeps the message invisible for as long as the lease is renewed: it is back soon after a worker that died.

    It is the pump's keeper; `clock` gives seconds.
    """

    def __init__(self, lease: Lease, queue: PromptQueue, prompt: Prompt, clock: Callable[[], float]) -> None:
        self._lease = lease
        self._queue = queue
        self._prompt = prompt
        self._clock = clock
        self._hide_at = clock()

    def keep(self, frames: Iterable[Sealed]) -> None:
        """Remember frames; no I/O."""
        self._lease.keep(frames)

    def look(self) -> Verdict:
        """Hide the message again when that is due, and see whether the work is still wanted."""
        now = self._clock()
        if now >= self._hide_at:
            # The next try has time as well, and a queue that doesn't answer must not hold up each look.
            self._hide_at = now + RENEW_SECONDS
            try:
                self._queue.hide(self._prompt, HOLD_SECONDS)
            except QueueUnavailable:
                # If it comes back while we work, whoever gets it finds the session claimed.
                _logger.warning("message not hidden", exc_info=True, extra={"session_id": self._prompt.session_id})
        return self._lease.look()

    def settle(self, status: Status, terminal: Sealed) -> bool:
        """End the session; False if it isn't ours any more."""
        return self._lease.settle(status, terminal)

    def release(self, failure: ErrorCode | None) -> bool:
        """Leave the session to another attempt; False if that is not known to have worked."""
        return self._lease.release(failure)
