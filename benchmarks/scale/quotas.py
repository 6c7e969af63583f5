"""What bounds the number of streams: the template's own parameters, and AWS's default quotas.

AWS's are those of us-east-1 for an account that is not new, as published in November 2026. A quota is asked for by its
name and, where it is known for sure, its code in Service Quotas.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Quota:
    """How much there may be at once or in a second, over all streams of a scope."""

    name: str
    most: float
    per: Literal["at once", "a second"]
    scope: str
    ask: str
    code: str = ""
    ours: bool = False


REST_RATE = Quota(
    "requests to the REST API", 50, "a second", "API", "ThrottlingRateLimit of RestApi, in the template", ours=True
)
WEB_SOCKET_RATE = Quota(
    "messages from WebSocket clients",
    200,
    "a second",
    "API",
    "ThrottlingRateLimit of WebSocketApi, in the template",
    ours=True,
)
PROMPT_CONCURRENCY = Quota("PromptConcurrency", 50, "at once", "stack", "the parameter, up to 1,000", ours=True)
DELIVER_CONCURRENCY = Quota("DeliverConcurrency", 50, "at once", "stack", "the parameter, up to 1,000", ours=True)

LAMBDA = Quota("Lambda concurrency", 1000, "at once", "region", "Concurrent executions", "L-B99A9384")
PROMPTS_AT_ONCE = Quota(
    "invocations of one queue", 1000, "at once", "queue", "another queue: MaximumConcurrency takes no more"
)
GATEWAY_REQUESTS = Quota(
    "API Gateway requests", 10_000, "a second", "region", "Throttle quota per account, per Region", "L-8A5B8E43"
)
NEW_CONNECTIONS = Quota(
    "new WebSocket connections", 500, "a second", "region", "New connections per second per account", "L-9ED1E49A"
)
APP_SYNC_TOKENS = Quota(
    "AppSync request tokens", 2000, "a second", "region", "GraphQL APIs - Rate of request tokens", "L-FC5E46D0"
)
APP_SYNC_INBOUND = Quota(
    "AppSync inbound messages",
    10_000,
    "a second",
    "API",
    "GraphQL APIs - Rate of inbound messages per API",
    "L-A1B022A0",
)
APP_SYNC_OUTBOUND = Quota("AppSync outbound messages", 1_000_000, "a second", "API", "AWS Support")
SNS_FIFO = Quota("SNS FIFO publishes", 30_000, "a second", "region", "AWS Support")
SQS_FIFO = Quota("SQS FIFO calls of one kind", 70_000, "a second", "region", "AWS Support")
NEW_TABLE_WRITES = Quota(
    "write units of a new table", 4000, "a second", "table", "nothing: warm it up (warm throughput), or let it grow"
)
TABLE_WRITES = Quota("write units of a table", 40_000, "a second", "table", "Table-level write throughput limit")
TABLE_READS = Quota("read units of a table", 40_000, "a second", "table", "Table-level read throughput limit")
INDEX_WRITES = Quota(
    "write units of the index `open`", 16_000, "a second", "table", "nothing: 16 partitions, 1,000 each, in the layer"
)

START_RATE = 100
"""Environments a second that Lambda adds to a function: 1,000 every 10 s."""

QUEUE_START_RATE = 5
"""Invocations a second that Lambda adds for a queue: 300 a minute."""
