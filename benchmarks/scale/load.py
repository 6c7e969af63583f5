"""What simultaneous streams need of each quota: from the quantities that the cost model has for one answer."""

from collections.abc import Iterator
from typing import assert_never

from benchmarks.scale.quotas import (
    APP_SYNC_INBOUND,
    APP_SYNC_OUTBOUND,
    APP_SYNC_TOKENS,
    DELIVER_CONCURRENCY,
    GATEWAY_REQUESTS,
    INDEX_WRITES,
    LAMBDA,
    NEW_CONNECTIONS,
    NEW_TABLE_WRITES,
    PROMPT_CONCURRENCY,
    PROMPTS_AT_ONCE,
    REST_RATE,
    SNS_FIFO,
    SQS_FIFO,
    TABLE_READS,
    TABLE_WRITES,
    WEB_SOCKET_RATE,
    Quota,
)
from tokenstream_client.answer import SHORT_RUN_SECONDS, Answer, Way, deliveries
from tokenstream_client.cost import Bill, bill_of
from tokenstream_client.prices import Price

INDEX_WRITES_A_SESSION = 2


class Load:
    """What one stream needs on average, at a way, while others follow those that end: `needs`, by quota."""

    def __init__(self, answer: Answer, way: Way) -> None:
        self.answer = answer
        self.way = way
        self.bill = bill_of(answer, way)
        self.needs = dict(_needs(answer, self.bill))

    @property
    def usd_an_hour(self) -> float:
        """What one stream costs in an hour, answer upon answer."""
        return self.bill.usd * 3600 / self.answer.duration

    def most(self, quota: Quota) -> int:
        """Return how many streams a quota has room for."""
        return int(quota.most / self.needs[quota])

    def first(self, *, ours: bool) -> list[Quota]:
        """Return the quotas, ours or AWS's, those first that break first."""
        return sorted((quota for quota in self.needs if quota.ours is ours), key=self.most)

    def times(self, quota: Quota, streams: int) -> float:
        """Return how many times the quota so many streams need, in two figures."""
        return float(f"{streams * self.needs[quota] / quota.most:.2g}")


def _needs(answer: Answer, bill: Bill) -> Iterator[tuple[Quota, float]]:
    starts = 1 / answer.duration

    def a_second(*prices: Price) -> float:
        return sum(part.quantity for part in bill.parts if part.price in prices) / answer.duration

    delivering = deliveries(answer, bill.way)
    short_runs = a_second(Price.LAMBDA_REQUEST) - (1 + delivering.number) * starts
    yield LAMBDA, 1 + short_runs * SHORT_RUN_SECONDS + delivering.seconds * starts
    yield NEW_TABLE_WRITES, a_second(Price.DYNAMO_WRITE)
    yield TABLE_WRITES, a_second(Price.DYNAMO_WRITE)
    yield TABLE_READS, a_second(Price.DYNAMO_READ)
    yield INDEX_WRITES, INDEX_WRITES_A_SESSION * starts
    match bill.way.path:
        case "url":
            pass
        case "rest":
            yield REST_RATE, starts
            yield GATEWAY_REQUESTS, starts
        case "websocket":
            yield WEB_SOCKET_RATE, starts
            yield NEW_CONNECTIONS, starts
            # The messages both ways, and the connection's beginning and end.
            yield GATEWAY_REQUESTS, a_second(Price.WEB_SOCKET_MESSAGE) + 2 * starts
        case "appsync":
            yield PROMPT_CONCURRENCY, 1
            yield PROMPTS_AT_ONCE, 1
            # A token a request, as long as one takes less than 1,500 KB-seconds.
            yield APP_SYNC_TOKENS, (bill.frames + 1) * starts
            yield APP_SYNC_INBOUND, bill.frames * starts
            yield APP_SYNC_OUTBOUND, bill.frames * starts
        case other:
            assert_never(other)
    if bill.way.delivery == "queued":
        yield DELIVER_CONCURRENCY, delivering.seconds * starts
        yield SNS_FIFO, a_second(Price.SNS_FIFO_PUBLISH)
        yield SQS_FIFO, a_second(Price.SNS_FIFO_PUBLISH)
