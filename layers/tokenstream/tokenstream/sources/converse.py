"""`ConverseStream`, the API that all of Bedrock's chat models share: the request's body and the stream's events.

Source: Amazon Bedrock API reference, `ConverseStream`; the service model of bedrock-runtime in botocore.
"""

from typing import Any

from msgspec.json import decode, encode

from tokenstream.errors import ModelError
from tokenstream.frames import Usage
from tokenstream.request import StreamRequest
from tokenstream.settings import Guardrail
from tokenstream.sources import Delta, Finished, ReasoningDelta, SourceEvent
from tokenstream.sources.eventstream import Message

OPERATION = "converse-stream"

# Reasons that are no key here are ours already.
_STOP_REASONS = {"guardrail_intervened": "guardrail"}


def request_body(request: StreamRequest, guardrail: Guardrail | None) -> bytes:
    """Write the request."""
    options = request.options
    inference = {
        "maxTokens": options.max_tokens,
        "temperature": options.temperature,
        "topP": options.top_p,
        "stopSequences": options.stop_sequences or None,
    }
    body: dict[str, Any] = {
        "messages": [{"role": turn.role, "content": [{"text": turn.content}]} for turn in request.messages],
        "inferenceConfig": {name: value for name, value in inference.items() if value is not None},
    }
    if request.system is not None:
        body["system"] = [{"text": request.system}]
    if guardrail is not None:
        body["guardrailConfig"] = {
            "guardrailIdentifier": guardrail.id,
            "guardrailVersion": guardrail.version,
            "streamProcessingMode": "sync",
        }
    return encode(body)


class EventReader:
    """Reads one answer; `usage` is what the model has counted up to now."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._stop_reason: str | None = None

    def read(self, message: Message) -> SourceEvent | None:
        """Return what an event means for the answer, None where it means nothing for it.

        Raises `ModelError` where the event tells of a failure, `DecodeError` for what is no event.
        """
        event: dict[str, Any] = decode(message.payload)
        match message.headers.get(":event-type"), event:
            case "contentBlockDelta", {"delta": {"text": str(text)}}:
                return Delta(text)
            case "contentBlockDelta", {"delta": {"reasoningContent": {"text": str(text)}}}:
                return ReasoningDelta(text)
            case "messageStop", {"stopReason": str(reason)}:
                self._stop_reason = _STOP_REASONS.get(reason, reason)
            case "metadata", {"usage": {"inputTokens": int(given), "outputTokens": int(generated)}}:
                self.usage = Usage(given, generated)
                return self._finished()
        return None

    def _finished(self) -> Finished:
        # The counts come after the reason and are the stream's last event.
        if self._stop_reason is None:
            raise ModelError("The model ended its answer without saying why.", retryable=True)
        return Finished(self._stop_reason, self.usage)
