"""A FIFO topic in memory, as a sink publishes to it."""

from collections.abc import Callable

from tests.fakes.topics_api import Published
from tokenstream.sinks import DeliveryFailed


class FakeTopic:
    """Takes messages unless told otherwise; `tries` has each one, with the patience it was sent with.

    `outcome` gives what a try meets, `lost` says of one that fails whether the topic has taken it all the same.
    `queued` is what the queue gets: of messages with one de-duplication id the first.
    """

    def __init__(self) -> None:
        self.tries: list[tuple[Published, bool]] = []
        self.queued: list[Published] = []
        self.outcome: Callable[[Published], Exception | None] = lambda message: None
        self.lost: Callable[[], bool] = lambda: False
        self._ids: set[str] = set()

    def __call__(self, group: str, deduplication_id: str, message: str, *, patient: bool = True) -> None:
        published = Published(group, deduplication_id, message)
        self.tries.append((published, patient))
        failure = self.outcome(published)
        if (failure is None or self.lost()) and deduplication_id not in self._ids:
            self._ids.add(deduplication_id)
            self.queued.append(published)
        if failure is not None:
            raise failure

    def fails(self) -> None:
        self.outcome = lambda message: DeliveryFailed("throttled")

    def works(self) -> None:
        self.outcome = lambda message: None
