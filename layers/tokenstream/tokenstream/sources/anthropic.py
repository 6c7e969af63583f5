"""Anthropic's messages, as `InvokeModelWithResponseStream` carries them: the request's body and the stream's events.

Source: Amazon Bedrock user guide, "Anthropic Claude Messages API"; Anthropic API reference, "Streaming messages".
"""

from typing import Any

from msgspec import Struct
from msgspec.json import Decoder, decode, encode
from msgspec.structs import replace

from tokenstream.errors import ModelError, Throttled
from tokenstream.frames import Usage
from tokenstream.request import StreamRequest
from tokenstream.sources import Delta, Finished, ReasoningDelta, SourceEvent
from tokenstream.sources.eventstream import Message

OPERATION = "invoke-with-response-stream"

# Reasons that are no key here are ours already.
_STOP_REASONS = {"content_filter": "content_filtered"}


def request_body(request: StreamRequest) -> bytes:
    """Write the model's request."""
    options = request.options
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": options.max_tokens,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "system": request.system,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop_sequences": options.stop_sequences or None,
    }
    return encode({name: value for name, value in body.items() if value is not None})


class _Chunk(Struct):
    bytes: bytes  # base64 in JSON


_chunk = Decoder(_Chunk)


class EventReader:
    """Reads one answer; `usage` is what the model has counted up to now."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._stop_reason: str | None = None

    def read(self, message: Message) -> SourceEvent | None:
        """Return what an event means for the answer, None where it means nothing for it.

        Raises `ModelError` and `Throttled` where the event tells of a failure, `DecodeError` for what is no event.
        """
        match event := decode(_chunk.decode(message.payload).bytes):
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}}:
                return Delta(text)
            case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": str(text)}}:
                return ReasoningDelta(text)
            case {"type": "message_start", "message": started}:
                self._count(started)
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)}}:
                self._stop_reason = reason
                self._count(event)
            case {"type": "message_stop"}:
                return self._finished(event)
            case {"type": "error", "error": {"type": "overloaded_error" | "rate_limit_error"}}:
                raise Throttled("The model is overloaded.", retryable=True)
            case {"type": "error"}:
                raise ModelError("The model failed in the middle of its answer.", retryable=True)
        return None

    def _count(self, holder: Any) -> None:
        # The start has both counts, the end in general only the output's.
        match holder:
            case {"usage": {"input_tokens": int(given)}}:
                self.usage = replace(self.usage, input_tokens=given)
        match holder:
            case {"usage": {"output_tokens": int(generated)}}:
                self.usage = replace(self.usage, output_tokens=generated)

    def _finished(self, event: dict[str, Any]) -> Finished:
        if event.get("amazon-bedrock-guardrailAction") == "INTERVENED":
            return Finished("guardrail", self.usage)
        if self._stop_reason is None:
            raise ModelError("The model ended its answer without saying why.", retryable=True)
        return Finished(_STOP_REASONS.get(self._stop_reason, self._stop_reason), self.usage)
