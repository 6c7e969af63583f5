"""What is asked of the model, as the JSON that every path takes. The server validates it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenstream_client.delivery import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt, or the messages of a conversation (`{"role": "user" | "assistant", "content": …}`, oldest first).

    `session_id`, a UUID, is made here and not by the server: a request whose response was lost can then be sent
    again without a second generation. What is `None` is left to the server's defaults.
    """

    prompt: str | None = None
    messages: Sequence[Mapping[str, str]] | None = None
    system: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: Sequence[str] | None = None
    delivery: Delivery | None = None
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise TypeError("give either prompt or messages")

    def body(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        options = _without_none(
            maxTokens=self.max_tokens,
            temperature=self.temperature,
            topP=self.top_p,
            stopSequences=None if self.stop_sequences is None else list(self.stop_sequences),
        )
        return _without_none(
            prompt=self.prompt,
            messages=None if self.messages is None else [dict(message) for message in self.messages],
            system=self.system,
            model=self.model,
            options=options or None,
            sessionId=self.session_id,
            delivery=self.delivery,
        )


def _without_none(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
