"""Whole answers as Bedrock streams them, event by event, in the shapes of both APIs."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from json import dumps
from typing import Any

from local.model.eventstream import event_encoder, exception_encoder

TEXTS = ("Hel", "lo, ", "wörld", " 👩‍👩‍👧\n", '"\\')


def chunk(event: Any) -> bytes:
    """Encode an event of `InvokeModelWithResponseStream`."""
    return event_encoder("chunk").encode(
        dumps({"bytes": b64encode(dumps(event).encode()).decode(), "p": "abc"}).encode()
    )


def converse_event(event_type: str, event: Any) -> bytes:
    """Encode an event of `ConverseStream`."""
    return event_encoder(event_type).encode(dumps(event).encode())


def exception(name: str) -> bytes:
    """Encode an exception in mid-stream, of either API."""
    return exception_encoder(name).encode(b'{"message": "details of theirs"}')


def anthropic_events(texts: Iterable[str] = TEXTS, stop_reason: str = "end_turn") -> list[dict[str, Any]]:
    """Return the events of an answer as Anthropic's models give them on Bedrock."""
    return [
        {
            "type": "message_start",
            "message": {
                "id": "msg_bdrk_1",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 11, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": {"output_tokens": 22},
        },
        {
            "type": "message_stop",
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 11,
                "outputTokenCount": 22,
                "invocationLatency": 900,
                "firstByteLatency": 300,
            },
        },
    ]


def anthropic_answer(texts: Iterable[str] = TEXTS, stop_reason: str = "end_turn") -> list[bytes]:
    """Return the messages of an answer over `InvokeModelWithResponseStream`."""
    return [chunk(event) for event in anthropic_events(texts, stop_reason)]


def converse_events(texts: Iterable[str] = TEXTS, stop_reason: str = "end_turn") -> list[tuple[str, Mapping[str, Any]]]:
    """Return the events of an answer over `ConverseStream`, each with its type."""
    return [
        ("messageStart", {"p": "abcd", "role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}, "p": "ab"}) for text in texts),
        ("contentBlockStop", {"contentBlockIndex": 0, "p": "abc"}),
        ("messageStop", {"p": "a", "stopReason": stop_reason}),
        (
            "metadata",
            {
                "metrics": {"latencyMs": 900},
                "p": "abcdef",
                "usage": {"inputTokens": 11, "outputTokens": 22, "totalTokens": 33},
            },
        ),
    ]


def converse_answer(texts: Iterable[str] = TEXTS, stop_reason: str = "end_turn") -> list[bytes]:
    """Return the messages of an answer over `ConverseStream`."""
    return [converse_event(*event) for event in converse_events(texts, stop_reason)]
