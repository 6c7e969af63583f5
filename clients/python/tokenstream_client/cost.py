"""What an answer costs on its way, from AWS's list prices and what the functions do with it: pure.

Counted is everything that grows with answers: the functions' runs and time, messages in and out, queues, and the
sessions table. The model's own price is left out, which is the same on every way, and so is what NOT_COUNTED names.
"""

from collections.abc import Iterable, Iterator
from math import ceil
from typing import NamedTuple, assert_never

from tokenstream_client.answer import (
    LOOK_SECONDS,
    SHORT_RUN_SECONDS,
    START_AND_END,
    TOKEN_BYTES,
    Answer,
    Way,
    deliveries,
)
from tokenstream_client.prices import GB, Price, Unit

NOT_COUNTED = (
    "the model",
    "logs, metrics, alarms and traces",
    "data transfer",
    "sign-in",
    "the pollers of idle queues and the sweep for lost sessions",
    "cold starts",
    "stops, resumes and retries",
    "a response's bytes beyond 6 MB",
    "the free tier",
)

DOOR_MEMORY_MB = 512
"""Of the functions that let a WebSocket connection in and note its end, in template.yaml."""

RENEW_SECONDS = 10
"""How often a worker renews its hold on the session, and on its prompt in the queue: the layer's."""

FRAME_BYTES = 105
"""A token frame's JSON without its text."""

EVENT_BYTES = 31
"""What an event stream has around a frame."""

UPDATE_BYTES = 465
"""A subscriber's message without the text, which is in it twice."""

ENVELOPE_BYTES = 80
"""A queued message without its frames."""

ITEM_BYTES = 100
"""Keys and names of an item in the sessions table."""


class Part(NamedTuple):
    """So much of something that has a price."""

    price: Price
    quantity: float

    @property
    def usd(self) -> float:
        """What it costs."""
        return self.quantity * self.price.usd


class Bill(NamedTuple):
    """What an answer costs on one way; a price stands in it once."""

    way: Way
    frames: int
    parts: tuple[Part, ...]

    @property
    def usd(self) -> float:
        """The whole of it."""
        return sum(part.usd for part in self.parts)

    def service(self, *names: str) -> float:
        """Return what these services take of it."""
        return sum(part.usd for part in self.parts if part.price.service in names)


def bill_of(answer: Answer, way: Way) -> Bill:
    """Return what an answer costs on a way."""
    parts = [*_path(answer, way), *_queued(answer, way), *_sessions(answer, way)]
    return Bill(way, answer.frames(way), tuple(_merged(parts)))


def _path(answer: Answer, way: Way) -> Iterator[Part]:
    yield from _runs(1, answer.duration, answer.memory_mb)
    match way.path:
        case "url":
            pass
        case "rest":
            body = answer.frames(way) * (FRAME_BYTES + EVENT_BYTES + answer.text_bytes(way))
            yield Part(Price.REST_REQUEST, Unit.REST.metered(body))
        case "websocket":
            # A connection for each answer, which is the dearest case: opening it runs two functions, closing it one.
            yield from _runs(3, SHORT_RUN_SECONDS, DOOR_MEMORY_MB)
            yield from _runs(1, SHORT_RUN_SECONDS, answer.memory_mb)
            request_and_reply = Unit.WEB_SOCKET.metered(answer.prompt_bytes) + 1
            frames = Unit.WEB_SOCKET.metered(FRAME_BYTES + answer.text_bytes(way)) * answer.token_frames(way)
            yield Part(Price.WEB_SOCKET_MESSAGE, request_and_reply + frames + START_AND_END)
            yield Part(Price.WEB_SOCKET_MINUTE, answer.duration / 60)
        case "appsync":
            yield from _runs(1, SHORT_RUN_SECONDS, answer.memory_mb)
            # One subscriber. A mutation is taken to be metered by size as updates are: not confirmed.
            units = Unit.APP_SYNC.metered(UPDATE_BYTES + 2 * answer.text_bytes(way))
            published = units * answer.token_frames(way) + START_AND_END
            yield Part(Price.APP_SYNC_OPERATION, published + Unit.APP_SYNC.metered(answer.prompt_bytes))
            yield Part(Price.APP_SYNC_UPDATE, published)
            yield Part(Price.APP_SYNC_MINUTE, answer.duration / 60)
            # The prompt is sent, received and deleted; its visibility is set at once, soon behind, and then renewed.
            hides = 2 + answer.duration // RENEW_SECONDS
            yield Part(Price.SQS_REQUEST, 2 * Unit.QUEUE.metered(answer.prompt_bytes) + 1 + hides)
        case other:
            assert_never(other)


def _queued(answer: Answer, way: Way) -> Iterator[Part]:
    if way.delivery == "direct":
        return
    # Each frame is a message.
    size = ENVELOPE_BYTES + FRAME_BYTES + answer.text_bytes(way)
    frames = answer.frames(way)
    yield Part(Price.SNS_FIFO_PUBLISH, frames)
    yield Part(Price.SNS_FIFO_PUBLISH_GB, frames * size / GB)
    yield Part(Price.SNS_FIFO_DELIVERY, frames)
    yield Part(Price.SNS_FIFO_DELIVERY_GB, frames * size / GB)
    # Put in by the topic, received, deleted.
    yield Part(Price.SQS_FIFO_REQUEST, frames * (2 * Unit.QUEUE.metered(size) + 1))
    runs = deliveries(answer, way)
    yield from _runs(runs.number, runs.seconds / runs.number, answer.memory_mb)
    # Whom a batch is for.
    yield Part(Price.DYNAMO_READ, runs.number)


def _sessions(answer: Answer, way: Way) -> Iterator[Part]:
    """Count what happens to the session in the table: records are under 1 KB, reads consistent."""
    renewals = answer.duration // RENEW_SECONDS
    # Record and request are written in one transaction, which counts twice; the record's place in the index is written
    # at the beginning and at the end.
    created = 2 * (1 + Unit.DYNAMO_WRITE.metered(answer.prompt_bytes + ITEM_BYTES)) + 1
    settled = 2
    # Frames are stored with each look at the session. The terminal one is in the record.
    stored = answer.frames(way) - 1
    batches = min(stored, ceil(answer.generation / LOOK_SECONDS) + 1)
    size = stored * FRAME_BYTES + answer.tokens * TOKEN_BYTES
    batch = Unit.DYNAMO_WRITE.metered(size / batches + ITEM_BYTES)
    yield Part(Price.DYNAMO_WRITE, created + settled + renewals + batches * batch)
    yield Part(Price.DYNAMO_READ, max(0, answer.duration // LOOK_SECONDS - renewals))
    match way.path:
        case "url" | "rest":
            pass
        case "websocket":
            # The connection is noted, and its end, and its message counted; the worker claims the session.
            yield Part(Price.DYNAMO_WRITE, 3 + 1)
        case "appsync":
            # The worker reads the session and claims it.
            yield Part(Price.DYNAMO_READ, 1)
            yield Part(Price.DYNAMO_WRITE, 1)
        case other:
            assert_never(other)


def _runs(runs: float, seconds: float, memory_mb: int) -> Iterator[Part]:
    yield Part(Price.LAMBDA_REQUEST, runs)
    yield Part(Price.LAMBDA_GB_SECOND, runs * seconds * memory_mb / 1024)


def _merged(parts: Iterable[Part]) -> list[Part]:
    quantities: dict[Price, float] = {}
    for price, quantity in parts:
        quantities[price] = quantities.get(price, 0) + quantity
    return [Part(price, quantity) for price, quantity in quantities.items()]
