"""What answers cost, in lines: pure."""

from collections.abc import Sequence
from dataclasses import replace

from tokenstream_client.answer import WAYS, Answer
from tokenstream_client.cost import NOT_COUNTED, Bill, bill_of
from tokenstream_client.prices import NOTED, REGION, UNCONFIRMED

_NONE = "–"  # noqa: RUF001 - where a figure would stand, a dash isn't a minus
_HEAD = (
    "path",
    "delivery",
    "messages",
    "Lambda",
    "front door",
    "queues",
    "DynamoDB",
    "an answer",
    "a month",
    "one a token",
)
_WORDS = 2


def table(answer: Answer, streams: int) -> list[str]:
    """Give a head, a line a way, and what the figures hold and what not; `streams` are answers a month."""
    bills = [(bill_of(answer, way), bill_of(replace(answer, joined=False), way)) for way in WAYS]
    rows = [_HEAD, *(_row(bill, naive, streams) for bill, naive in bills)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_cell(row, index, width) for index, width in enumerate(widths)).rstrip() for row in rows]
    return [*lines, *_notes(answer, streams)]


def _row(bill: Bill, naive: Bill, streams: int) -> tuple[str, ...]:
    return (
        bill.way.path,
        bill.way.delivery,
        f"{bill.frames:,}",
        _usd(bill.service("Lambda")),
        _usd(bill.service("API Gateway", "AppSync")),
        _usd(bill.service("SNS", "SQS")),
        _usd(bill.service("DynamoDB")),
        _usd(bill.usd),
        f"${bill.usd * streams:,.2f}",
        f"{naive.usd / bill.usd:.1f}x" if naive.frames > bill.frames else _NONE,
    )


def _notes(answer: Answer, streams: int) -> list[str]:
    services = sorted({price.service for price in UNCONFIRMED})
    return [
        f"{streams:,} answers a month of {answer.tokens:,} tokens at {answer.rate:g} tokens/s: "
        f"each runs for {answer.duration:.1f} s. US dollars, list prices of {REGION}, {NOTED}, arm64.",
        "messages: start, text and end; text that comes while one is under way leaves with the next.",
        "one a token: what an answer costs with a message for each token, against that.",
        f"Not confirmed: the prices of {', '.join(services)} FIFO.",
        f"Not counted: {', '.join(NOT_COUNTED)}.",
    ]


def _cell(row: Sequence[str], index: int, width: int) -> str:
    return row[index].ljust(width) if index < _WORDS else row[index].rjust(width)


def _usd(amount: float) -> str:
    return f"${amount:.6f}" if amount else _NONE
