"""Any endpoint with OpenAI's chat completions (Ollama, llama.cpp, vLLM, …) as the local stack's model.

The endpoint's errors become those that Bedrock would give. Source of the format: OpenAI's API reference, "Create chat
completion", streaming; `reasoning_content` and `reasoning` are the names that open-weight servers give to thinking.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp

from local.model.interface import (
    Batch,
    ErrorType,
    MessageStart,
    MessageStop,
    ModelError,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
)

OLLAMA = "http://127.0.0.1:11434"

_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 600
"""A local model may take minutes to load before its first token."""

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "content_filtered",
    "tool_calls": "tool_use",
}
_ERRORS = {
    400: ErrorType.VALIDATION,
    401: ErrorType.ACCESS_DENIED,
    403: ErrorType.ACCESS_DENIED,
    404: ErrorType.RESOURCE_NOT_FOUND,
    408: ErrorType.MODEL_TIMEOUT,
    413: ErrorType.VALIDATION,
    422: ErrorType.VALIDATION,
    429: ErrorType.THROTTLING,
    503: ErrorType.SERVICE_UNAVAILABLE,
    504: ErrorType.MODEL_TIMEOUT,
}


class OpenAiModel:
    """Passes each request on to `POST {base_url}/v1/chat/completions`, always for the one model named here.

    `api_key_variable` names the environment variable that holds the key; without it none is sent. `silence` is how many
    seconds the endpoint may say nothing.
    """

    def __init__(
        self,
        model: str,
        base_url: str = OLLAMA,
        api_key_variable: str | None = None,
        silence: float = _SILENCE_SECONDS,
    ) -> None:
        self._model = model
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
        self._headers = {}
        if api_key_variable:
            if not os.environ.get(api_key_variable):
                raise ValueError(f"the environment variable {api_key_variable} holds no API key")
            self._headers["Authorization"] = f"Bearer {os.environ[api_key_variable]}"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Batch, None]:
        """See `Model.stream`."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=self._timeout)
        started = False
        try:
            async with self._session.post(self._url, json=self._completion(request)) as response:
                if response.status != 200:  # noqa: PLR2004 the one good status
                    raise await _refusal(response)
                answer = _Answer()
                async for payloads in _server_sent(response.content):
                    if batch := [event for payload in payloads for event in answer.read(payload)]:
                        started = True
                        yield batch
                yield answer.end()
        except TimeoutError as error:
            raise ModelError(ErrorType.MODEL_TIMEOUT, f"{self._url} did not answer in time.") from error
        except aiohttp.ClientError as error:
            type_ = ErrorType.MODEL_STREAM_ERROR if started else ErrorType.SERVICE_UNAVAILABLE
            raise ModelError(type_, f"{self._url}: {error}") from error

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        if self._session:
            await self._session.close()

    def _completion(self, request: ModelRequest) -> dict[str, Any]:
        messages = [{"role": turn.role, "content": turn.text} for turn in request.turns]
        if request.system is not None:
            messages.insert(0, {"role": "system", "content": request.system})
        optional = {
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop": list(request.stop_sequences) or None,
        }
        return {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in optional.items() if value is not None},
        }


class _Answer:
    """Reads one stream's `chat.completion.chunk` objects."""

    def __init__(self) -> None:
        self._started = False
        self._deltas = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] = {}

    def read(self, payload: bytes) -> list[ModelEvent]:
        """Translate one payload into events. Raises `ModelError` for the error that it may be instead."""
        if payload == b"[DONE]":
            return []
        try:
            chunk = json.loads(payload)
        except ValueError as error:
            raise _broken("the endpoint sent no JSON") from error
        if "error" in chunk:
            raise _broken(_message(chunk))
        self._usage = chunk.get("usage") or self._usage
        events: list[ModelEvent] = [] if self._started else [MessageStart(None)]
        self._started = True
        for choice in chunk.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            delta = choice.get("delta") or {}
            if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
                events.append(ReasoningDelta(reasoning))
                self._deltas += 1
            if text := delta.get("content"):
                events.append(TextDelta(text))
                self._deltas += 1
        return events

    def end(self) -> Batch:
        """Return the last event. Raises `ModelError` for a stream that ended without a finish reason."""
        if self._finish_reason is None:
            raise _broken("the endpoint's stream ended early")
        stop = MessageStop(
            reason=_STOP_REASONS.get(self._finish_reason, self._finish_reason),
            input_tokens=self._usage.get("prompt_tokens", 0),
            output_tokens=self._usage.get("completion_tokens", self._deltas),
        )
        return (stop,)


async def _server_sent(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """Yield the payloads of the `data:` lines, those together that arrived together."""
    pending = b""
    async for received in content.iter_any():
        *lines, pending = (pending + received).split(b"\n")
        if payloads := [line[5:].strip() for line in lines if line.startswith(b"data:")]:
            yield payloads


async def _refusal(response: aiohttp.ClientResponse) -> ModelError:
    try:
        message = _message(json.loads(await response.read()))
    except ValueError:
        message = response.reason or "no reason given"
    type_ = _ERRORS.get(response.status, ErrorType.MODEL_ERROR)
    return ModelError(type_, f"The model's endpoint answered {response.status}: {message}")


def _message(body: Any) -> str:
    match body:
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
        case _:
            return "no message"


def _broken(message: str) -> ModelError:
    return ModelError(ErrorType.MODEL_STREAM_ERROR, message)
