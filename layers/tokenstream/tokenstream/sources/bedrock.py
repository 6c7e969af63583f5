"""Amazon Bedrock as a source: opens a model's stream, tries again before the first delta, closes it on demand."""

import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from random import random
from threading import Event
from time import monotonic
from typing import Protocol
from urllib.parse import quote

from msgspec import DecodeError

from tokenstream.errors import ModelError, ModelTimeout, TokenstreamError
from tokenstream.frames import Usage
from tokenstream.request import StreamRequest
from tokenstream.settings import BedrockApi, Guardrail
from tokenstream.signing import Aborted, ConnectionFailed, ReadTimedOut, SignedConnection
from tokenstream.sources import Finished, SourceEvent, anthropic, converse
from tokenstream.sources.eventstream import EventStreamDecoder, EventStreamError, Message
from tokenstream.sources.failures import failure

TRIES = 3
TRY_WITHIN_SECONDS = 10.0
_ACCEPT = "application/vnd.amazon.eventstream"
# An event that is not what it says fails as ValueError (bad base64, bad UTF-8) or, nested too deep, as RecursionError.
_FAULTS = (ConnectionFailed, ReadTimedOut, EventStreamError, DecodeError, ValueError, RecursionError)
_logger = logging.getLogger(__name__)


class EventReader(Protocol):
    """What the two APIs' readers have in common."""

    usage: Usage

    def read(self, message: Message) -> SourceEvent | None:
        """Return what an event means for the answer, None where it means nothing for it."""
        ...


class Bedrock:
    """The models of one region, over a connection that is kept between a worker's streams."""

    def __init__(
        self, connect: Callable[[], SignedConnection], *, api: BedrockApi, guardrail: Guardrail | None
    ) -> None:
        self._connect = connect
        # Nothing is opened yet, but a wrong endpoint fails here and the certificates are read: at the cold start.
        self._connection = connect()
        self._api = api
        self._guardrail = guardrail

    def source(self, request: StreamRequest) -> "BedrockSource":
        """Return the source of an answer; nothing is sent until its events are read. One at a time."""
        if self._connection.aborted:
            self._connection = self._connect()
        model = quote(request.model, safe="")
        if self._uses_invoke(request.model):
            headers = {"Content-Type": "application/json", "X-Amzn-Bedrock-Accept": "application/json"}
            if self._guardrail is not None:
                headers["X-Amzn-Bedrock-GuardrailIdentifier"] = self._guardrail.id
                headers["X-Amzn-Bedrock-GuardrailVersion"] = self._guardrail.version
            return BedrockSource(
                self._connection,
                f"/model/{model}/{anthropic.OPERATION}",
                anthropic.request_body(request),
                headers | {"Accept": _ACCEPT},
                anthropic.EventReader,
            )
        return BedrockSource(
            self._connection,
            f"/model/{model}/{converse.OPERATION}",
            converse.request_body(request, self._guardrail),
            {"Content-Type": "application/json", "Accept": _ACCEPT},
            converse.EventReader,
        )

    def _uses_invoke(self, model: str) -> bool:
        # An application inference profile hides its model behind an opaque id: Converse serves any.
        return self._api == "invoke" or (self._api == "auto" and "anthropic." in model)


class BedrockSource:
    """One answer. Until the first delta a failure that may pass is tried again, up to `TRIES` times in all."""

    def __init__(
        self,
        connection: SignedConnection,
        path: str,
        body: bytes,
        headers: dict[str, str],
        reader: Callable[[], EventReader],
    ) -> None:
        self._connection = connection
        self._path = path
        self._body = body
        self._headers = headers
        self._new_reader = reader
        self._reader = reader()
        self._aborted = Event()
        self._over = False
        self._finished = False
        self._deltas = 0

    @property
    def usage(self) -> Usage:
        """What the model has counted so far; its output it counts at the end: till then a delta is a token at least."""
        counted = self._reader.usage
        return Usage(counted.input_tokens, max(counted.output_tokens, self._deltas))

    def events(self) -> Iterator[SourceEvent]:
        """Yield the answer. Raises `ModelError`, `ModelTimeout`, `ModelAccess`, `Throttled` or `Internal`."""
        give_up_at = monotonic() + TRY_WITHIN_SECONDS
        try:
            for attempt in range(1, TRIES + 1):
                try:
                    yield from self._try()
                except TokenstreamError as error:
                    wait = 2 ** (attempt - 1) * (0.25 + 0.25 * random())  # noqa: S311 - jitter
                    last = attempt == TRIES or monotonic() + wait > give_up_at
                    if self._deltas or self._finished or last or not error.retryable or self._aborted.is_set():
                        raise
                    _logger.info("model call failed, trying again", extra={"error_code": error.code, "try": attempt})
                    self._aborted.wait(wait)
                else:
                    return
        finally:
            self._over = True

    def abort(self) -> None:
        """Close the model's stream now, from any thread; once it is over the connection is the next stream's."""
        self._aborted.set()
        if not self._over:
            self._connection.abort()

    def _try(self) -> Iterator[SourceEvent]:
        self._reader = self._new_reader()
        drained = False
        try:
            response = self._connection.request("POST", self._path, self._body, self._headers)
            if response.status != HTTPStatus.OK:
                raise failure(response.getheader("x-amzn-ErrorType"), response.status)
            yield from self._answer()
            drained = True
            if not self._finished:
                raise ModelError("The model's stream broke off.", retryable=True)
        except Aborted:
            return
        except _FAULTS as error:
            # What goes wrong behind the last event costs the kept connection, not the answer.
            if not self._finished:
                raise _translated(error) from error
        finally:
            if not drained:
                self._connection.close()

    def _answer(self) -> Iterator[SourceEvent]:
        decoder = EventStreamDecoder()
        while data := self._connection.read():
            for message in decoder.feed(data):
                event = self._read(message)
                if event is None:
                    continue
                if isinstance(event, Finished):
                    self._finished = True
                else:
                    self._deltas += 1
                yield event

    def _read(self, message: Message) -> SourceEvent | None:
        match message.headers.get(":message-type"):
            case "event":
                return self._reader.read(message)
            case "exception":
                raise failure(message.headers.get(":exception-type", ""))
            case _:
                raise failure(message.headers.get(":error-code", ""))


def _translated(error: Exception) -> TokenstreamError:
    match error:
        case ConnectionFailed():
            return ModelError("The connection to the model broke off.", retryable=True)
        case ReadTimedOut():
            return ModelTimeout("The model was silent for too long.", retryable=True)
        case _:
            return ModelError("The model's stream was damaged.", retryable=True)
