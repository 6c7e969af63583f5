"""What may take part in a race: the paths, each with the deliveries that it has."""

import argparse
from dataclasses import dataclass

from tokenstream_client.delivery import DELIVERIES, Delivery, require_delivery
from tokenstream_client.endpoints import PATHS, PathName


@dataclass(frozen=True, slots=True)
class Entry:
    """A path and the delivery to ask for; `None` leaves it to the stack."""

    path: PathName
    delivery: Delivery | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.delivery}" if self.delivery else self.path


ALL = (
    Entry("url"),
    Entry("rest"),
    Entry("websocket"),
    Entry("websocket", "queued"),
    Entry("appsync"),
    Entry("appsync", "queued"),
)


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Read `url,websocket:queued,…`; raises `ArgumentTypeError`."""
    return tuple(_entry(word.strip()) for word in text.split(","))


def _entry(word: str) -> Entry:
    name, colon, way = word.partition(":")
    path = next((path for path in PATHS if path == name), None)
    if path is None:
        raise argparse.ArgumentTypeError(f"{name!r} is no path; choose from {', '.join(PATHS)}")
    if not colon:
        return Entry(path)
    delivery = next((delivery for delivery in DELIVERIES if delivery == way), None)
    if delivery is None:
        raise argparse.ArgumentTypeError(f"{way!r} is no delivery; choose from {', '.join(DELIVERIES)}")
    try:
        require_delivery(path, delivery)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word}: {error}") from error
    return Entry(path, delivery)
