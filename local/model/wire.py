"""Model events as the bytes of Bedrock's two event streams.

Both formats carry `p`, padding of varying length that hides a token's length from whoever watches the traffic. Shapes:
`ResponseStream` and `ConverseStreamOutput` in the service model of bedrock-runtime; the events inside `chunk` are those
of the Anthropic Messages API. A token costs one JSON string: all else is made in advance.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, Protocol, assert_never
from uuid import uuid4

from local.model.eventstream import event_encoder, exception_encoder
from local.model.interface import (
    ErrorType,
    MessageStart,
    MessageStop,
    ModelError,
    ModelEvent,
    ReasoningDelta,
    TextDelta,
)

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# A fixed order, so that a stream's bytes can be made again; 37 and the alphabet's length have no common divisor.
_PADDINGS = tuple(_ALPHABET[: 1 + 37 * i % len(_ALPHABET)] for i in range(len(_ALPHABET)))
_SIGNATURE = b64encode(b"signature of the reasoning above").decode()

_Block = Literal["reasoning", "text"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the request's arrival to the stream's first byte and to its end."""

    first_byte: int
    whole: int


class Wire(Protocol):
    """Encodes one stream."""

    def encode(self, event: ModelEvent) -> bytes:
        """Encode the messages that say this event."""
        ...


def encode_exception(error: ModelError) -> bytes:
    """Encode the message that ends a stream with an error, the same in both formats."""
    encoder = exception_encoder(error.type[0].lower() + error.type[1:])
    detail: dict[str, Any] = {"message": error.message}
    if error.type is ErrorType.MODEL_STREAM_ERROR:
        detail |= {"originalStatusCode": 500, "originalMessage": error.message}
    return encoder.encode(_compact(detail).encode())


class _Blocks:
    """The content blocks of a message: which one is open."""

    def __init__(self) -> None:
        self.index = -1
        self.open: _Block | None = None

    def begin(self, block: _Block) -> None:
        self.index += 1
        self.open = block


class InvokeWire:
    """`InvokeModelWithResponseStream`: Anthropic events, base64 in `chunk` events."""

    _chunk = event_encoder("chunk")

    def __init__(self, model: str, latency: Callable[[], Latency], guarded: bool) -> None:
        self._model = model
        self._latency = latency
        self._guarded = guarded
        self._blocks = _Blocks()
        self._padding = cycle(_PADDINGS)

    def encode(self, event: ModelEvent) -> bytes:
        """See `Wire.encode`."""
        match event:
            case TextDelta(text):
                return self._delta("text", f'{{"type":"text_delta","text":{_compact(text)}}}')
            case ReasoningDelta(text):
                return self._delta("reasoning", f'{{"type":"thinking_delta","thinking":{_compact(text)}}}')
            case MessageStart(input_tokens):
                return self._start(input_tokens or 0)
            case MessageStop():
                return self._end_block() + self._stop(event)
            case _:
                assert_never(event)

    def _start(self, input_tokens: int) -> bytes:
        message: dict[str, Any] = {
            "id": f"msg_bdrk_{uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": input_tokens, "output_tokens": 1},
        }
        return self._message(_compact({"type": "message_start", "message": message}))

    def _delta(self, block: _Block, delta: str) -> bytes:
        begun = b"" if self._blocks.open == block else self._end_block() + self._begin_block(block)
        return begun + self._message(
            f'{{"type":"content_block_delta","index":{self._blocks.index},"delta":{delta}}}',
        )

    def _begin_block(self, block: _Block) -> bytes:
        self._blocks.begin(block)
        content = {
            "text": {"type": "text", "text": ""},
            "reasoning": {"type": "thinking", "thinking": "", "signature": ""},
        }[block]
        start = {"type": "content_block_start", "index": self._blocks.index, "content_block": content}
        return self._message(_compact(start))

    def _end_block(self) -> bytes:
        match self._blocks.open:
            case None:
                return b""
            case "text":
                signed = b""
            case "reasoning":
                signed = self._delta("reasoning", f'{{"type":"signature_delta","signature":"{_SIGNATURE}"}}')
        return signed + self._message(_compact({"type": "content_block_stop", "index": self._blocks.index}))

    def _stop(self, stop: MessageStop) -> bytes:
        intervened = stop.reason == "guardrail_intervened"
        delta = {
            "type": "message_delta",
            "delta": {
                "stop_reason": "end_turn" if intervened else stop.reason,
                "stop_sequence": stop.stop_sequence,
            },
            "usage": {"input_tokens": stop.input_tokens, "output_tokens": stop.output_tokens},
        }
        latency = self._latency()
        end: dict[str, Any] = {
            "type": "message_stop",
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": stop.input_tokens,
                "outputTokenCount": stop.output_tokens,
                "invocationLatency": latency.whole,
                "firstByteLatency": latency.first_byte,
            },
        }
        if intervened or self._guarded:
            end["amazon-bedrock-guardrailAction"] = "INTERVENED" if intervened else "NONE"
        return self._message(_compact(delta)) + self._message(_compact(end))

    def _message(self, event: str) -> bytes:
        encoded = b64encode(event.encode()).decode()
        return self._chunk.encode(f'{{"bytes":"{encoded}","p":"{next(self._padding)}"}}'.encode())


class ConverseWire:
    """`ConverseStream`: Bedrock's own events. A block of text or reasoning has no `contentBlockStart`."""

    _message_start = event_encoder("messageStart")
    _block_delta = event_encoder("contentBlockDelta")
    _block_stop = event_encoder("contentBlockStop")
    _message_stop = event_encoder("messageStop")
    _metadata = event_encoder("metadata")

    def __init__(self, latency: Callable[[], Latency]) -> None:
        self._latency = latency
        self._blocks = _Blocks()
        self._padding = cycle(_PADDINGS)

    def encode(self, event: ModelEvent) -> bytes:
        """See `Wire.encode`."""
        match event:
            case TextDelta(text):
                return self._delta("text", f'{{"text":{_compact(text)}}}')
            case ReasoningDelta(text):
                return self._delta("reasoning", f'{{"reasoningContent":{{"text":{_compact(text)}}}}}')
            case MessageStart():
                return self._message_start.encode(self._padded('"role":"assistant"'))
            case MessageStop():
                return self._end_block() + self._stop(event)
            case _:
                assert_never(event)

    def _delta(self, block: _Block, delta: str) -> bytes:
        ended = b""
        if self._blocks.open != block:
            ended = self._end_block()
            self._blocks.begin(block)
        return ended + self._block_delta.encode(
            self._padded(f'"contentBlockIndex":{self._blocks.index},"delta":{delta}')
        )

    def _end_block(self) -> bytes:
        match self._blocks.open:
            case None:
                return b""
            case "text":
                signed = b""
            case "reasoning":
                signed = self._delta("reasoning", f'{{"reasoningContent":{{"signature":"{_SIGNATURE}"}}}}')
        return signed + self._block_stop.encode(self._padded(f'"contentBlockIndex":{self._blocks.index}'))

    def _stop(self, stop: MessageStop) -> bytes:
        # A refusal has no word of its own among Converse's stop reasons.
        reason = "content_filtered" if stop.reason == "refusal" else stop.reason
        usage = {
            "inputTokens": stop.input_tokens,
            "outputTokens": stop.output_tokens,
            "totalTokens": stop.input_tokens + stop.output_tokens,
        }
        metrics = {"latencyMs": self._latency().whole}
        return self._message_stop.encode(self._padded(f'"stopReason":{_compact(reason)}')) + self._metadata.encode(
            self._padded(f'"metrics":{_compact(metrics)},"usage":{_compact(usage)}')
        )

    def _padded(self, members: str) -> bytes:
        return f'{{{members},"p":"{next(self._padding)}"}}'.encode()
