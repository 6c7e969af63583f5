"""The record of what the model was asked and how each stream ended: the proof that a cancel reached the model."""

import hashlib
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from local.model.interface import ModelRequest

Api: TypeAlias = Literal["invoke", "converse"]
End: TypeAlias = Literal["complete", "client", "fault"]

_KEPT = 1000


def epoch_ms() -> float:
    """Milliseconds since the epoch."""
    return time.time() * 1000


@dataclass(slots=True)
class StreamRecord:
    """One stream; moments are milliseconds since the epoch.

    `ended`: `complete` with its last event, `client` when the client closed it first, `fault` when the model refused it
    or broke it off, None while it runs. `writes` is smaller than `tokens_sent` when several tokens were due at once.
    """

    model: str
    api: Api
    prompt_sha256: str
    max_tokens: int | None
    guardrail: str | None
    id: str = field(default_factory=lambda: uuid4().hex)
    started_at: float = field(default_factory=epoch_ms)
    ended_at: float | None = None
    ended: End | None = None
    writes: int = 0
    # Quoted: before Python 3.12 array takes no parameter at run time.
    token_times: "array[float]" = field(default_factory=lambda: array("d"))

    def sent(self, tokens: int) -> None:
        """Note that so many tokens leave in one write."""
        self.writes += 1
        now = epoch_ms()
        for _ in range(tokens):
            self.token_times.append(now)

    def end(self, how: End) -> None:
        """Note the end of the stream; the first one counts."""
        if self.ended is None:
            self.ended, self.ended_at = how, epoch_ms()

    def to_json(self, times: bool) -> dict[str, Any]:
        """Show the stream as `GET /_streams` does, each token's time included or not."""
        shown = {
            "id": self.id,
            "model": self.model,
            "api": self.api,
            "startedAt": self.started_at,
            "firstTokenAt": self.token_times[0] if self.token_times else None,
            "endedAt": self.ended_at,
            "tokensSent": len(self.token_times),
            "writes": self.writes,
            "ended": self.ended,
            "promptSha256": self.prompt_sha256,
            "maxTokens": self.max_tokens,
            "guardrail": self.guardrail,
        }
        return {**shown, "tokenTimes": list(self.token_times)} if times else shown


class StreamLog:
    """The last 1,000 streams, newest last."""

    def __init__(self) -> None:
        self._streams: deque[StreamRecord] = deque(maxlen=_KEPT)

    def begin(self, request: ModelRequest, api: Api) -> StreamRecord:
        """Start a record. Of the prompt (the last user message) it keeps 16 hex digits of its SHA-256."""
        digest = hashlib.sha256(request.prompt.encode()).hexdigest()[:16]
        record = StreamRecord(request.model, api, digest, request.max_tokens, request.guardrail)
        self._streams.append(record)
        return record

    def clear(self) -> None:
        """Forget all streams; those that run go on unseen."""
        self._streams.clear()

    def to_json(self, times: bool = False) -> dict[str, Any]:
        """Compose the answer to `GET /_streams`."""
        return {"streams": [record.to_json(times) for record in self._streams]}
