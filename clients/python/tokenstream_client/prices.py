"""What AWS charges for the services that an answer uses: list prices of one region, on demand, without the free tier.

The region is us-east-1, the processor arm64, noted in November 2026 from AWS's pricing pages; the web client has the
same (clients/web/src/cost.ts). Not confirmed, and so not here: what Lambda takes for a response beyond its first 6 MB.
"""

from enum import Enum

REGION = "us-east-1"
NOTED = "November 2026"

MILLION = 1_000_000
KB = 1024
GB = KB**3


class Price(Enum):
    """US dollars for one of something: the service, what is counted, how much it is."""

    LAMBDA_REQUEST = ("Lambda", "requests", 0.2 / MILLION)
    LAMBDA_GB_SECOND = ("Lambda", "GB-seconds", 0.000_013_333_4)
    REST_REQUEST = ("API Gateway", "requests", 3.5 / MILLION)
    WEB_SOCKET_MESSAGE = ("API Gateway", "messages", 1.0 / MILLION)
    WEB_SOCKET_MINUTE = ("API Gateway", "connection minutes", 0.25 / MILLION)
    APP_SYNC_OPERATION = ("AppSync", "operations", 4.0 / MILLION)
    APP_SYNC_UPDATE = ("AppSync", "real-time updates", 2.0 / MILLION)
    APP_SYNC_MINUTE = ("AppSync", "connection minutes", 0.08 / MILLION)
    SQS_REQUEST = ("SQS", "requests", 0.4 / MILLION)
    SQS_FIFO_REQUEST = ("SQS", "FIFO requests", 0.5 / MILLION)
    SNS_FIFO_PUBLISH = ("SNS", "FIFO publishes", 0.3 / MILLION)
    SNS_FIFO_PUBLISH_GB = ("SNS", "FIFO GB published", 0.017)
    SNS_FIFO_DELIVERY = ("SNS", "FIFO deliveries", 0.01 / MILLION)
    SNS_FIFO_DELIVERY_GB = ("SNS", "FIFO GB delivered", 0.001)
    DYNAMO_WRITE = ("DynamoDB", "write units", 0.625 / MILLION)
    DYNAMO_READ = ("DynamoDB", "read units", 0.125 / MILLION)

    def __init__(self, service: str, what: str, usd: float) -> None:
        self.service = service
        self.what = what
        self.usd = usd


UNCONFIRMED = frozenset(
    {Price.SNS_FIFO_PUBLISH, Price.SNS_FIFO_PUBLISH_GB, Price.SNS_FIFO_DELIVERY, Price.SNS_FIFO_DELIVERY_GB}
)
"""Prices that were found in other places than AWS's own page."""


class Unit(Enum):
    """Bytes that are metered as one of something: bigger ones count several times."""

    REST = 10 * KB * KB
    WEB_SOCKET = 32 * KB
    APP_SYNC = 5 * KB
    QUEUE = 64 * KB
    DYNAMO_WRITE = KB

    def metered(self, size: float) -> int:
        """Count a message of so many bytes."""
        return max(1, -int(-size // self.value))
