"""What answers cost, as one JSON document: pure."""

from dataclasses import replace
from typing import Any

from tokenstream_client.answer import WAYS, Answer
from tokenstream_client.cost import NOT_COUNTED, Bill, bill_of
from tokenstream_client.prices import NOTED, REGION, UNCONFIRMED


def document(answer: Answer, streams: int) -> dict[str, Any]:
    """Return it; names that end in `Usd` are US dollars, `streams` are answers a month."""
    return {
        "prices": {"region": REGION, "noted": NOTED, "architecture": "arm64"},
        "answer": {
            "tokens": answer.tokens,
            "tokensPerSecond": answer.rate,
            "seconds": round(answer.duration, 3),
            "roundTripMs": round(answer.round_trip * 1000, 3),
            "flushIntervalMs": round(answer.flush_interval * 1000, 3),
            "memoryMb": answer.memory_mb,
        },
        "answersPerMonth": streams,
        "notCounted": list(NOT_COUNTED),
        "ways": [_way(bill_of(answer, way), bill_of(replace(answer, joined=False), way), streams) for way in WAYS],
    }


def _way(bill: Bill, naive: Bill, streams: int) -> dict[str, Any]:
    return {
        "path": bill.way.path,
        "delivery": bill.way.delivery,
        "messages": bill.frames,
        "answerUsd": bill.usd,
        "monthUsd": bill.usd * streams,
        "oneMessageATokenUsd": naive.usd,
        "parts": [
            {
                "service": part.price.service,
                "what": part.price.what,
                "quantity": part.quantity,
                "priceUsd": part.price.usd,
                "confirmed": part.price not in UNCONFIRMED,
                "usd": part.usd,
            }
            for part in bill.parts
        ],
    }
