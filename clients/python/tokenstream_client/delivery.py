"""Which way the frames of an answer go to the client."""

from typing import Literal, get_args

from tokenstream_client.endpoints import PathName

Delivery = Literal["direct", "queued"]
"""`direct`: from the worker to the client. `queued`: through a topic and a queue, later and possibly twice."""

DELIVERIES: tuple[Delivery, ...] = get_args(Delivery)
QUEUED_PATHS: tuple[PathName, ...] = ("websocket", "appsync")


def require_delivery(path: PathName, delivery: str | None) -> None:
    """Raise `ValueError` for a path that doesn't have the delivery; others are for the server to judge."""
    if delivery == "queued" and path not in QUEUED_PATHS:
        raise ValueError(f"the path {path} has no queued delivery; {' and '.join(QUEUED_PATHS)} have it")
