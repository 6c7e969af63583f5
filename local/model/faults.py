"""Faults of a model, on request.

A fault is written `name[:argument…]`; with K a number of tokens, N a number of tries (without it: every try):

| Fault | What happens |
|---|---|
| `throttle[:N]` | ThrottlingException before the first token |
| `access` `notfound` `validation` `internal` `unavailable` `timeout` `modelerror` `notready` `quota` | likewise |
| `exception:TYPE:K[:N]` | an exception in the stream after K tokens; TYPE as on the wire: `throttlingException` |
| `break:K[:N]` | the connection closes after K tokens, in the middle of the next event |
| `drop:K[:N]` | the connection closes after K tokens, between two events |
| `truncate:K[:N]` | the HTTP response ends cleanly after K tokens, without the events that end a message |
| `corrupt:K[:N]` | the event after K tokens has a wrong checksum; nothing follows |
| `hang:K[:N]` | silence after K tokens, until the client goes |
| `guardrail` | a guardrail intervenes: its message stands in place of the answer |
| `refusal`, `end:REASON` | the whole answer, with this stop reason |

An answer shorter than K tokens has the fault just before its end.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from local.model.interface import (
    Batch,
    ErrorType,
    MessageStart,
    MessageStop,
    ModelError,
    ModelEvent,
    TextDelta,
    WireFaultError,
    WireFaultKind,
)

BLOCKED_MESSAGE = "Sorry, this was stopped by a guardrail."


@dataclass(frozen=True, slots=True)
class Refuse:
    """An error before the first token."""

    error: ErrorType


@dataclass(frozen=True, slots=True)
class BreakOff:
    """After `after` tokens: an exception in the stream, a broken connection, or (None) silence."""

    how: ErrorType | WireFaultKind | None
    after: int


@dataclass(frozen=True, slots=True)
class Intervene:
    """A guardrail's message in place of the answer."""


@dataclass(frozen=True, slots=True)
class EndWith:
    """The whole answer, with another stop reason."""

    reason: str


Fault: TypeAlias = Refuse | BreakOff | Intervene | EndWith


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault and for how many tries it holds (None: for all)."""

    fault: Fault
    times: int | None = None


class FaultSyntaxError(ValueError):
    """The fault isn't written as this module's table says."""


_REFUSALS = {
    "throttle": ErrorType.THROTTLING,
    "access": ErrorType.ACCESS_DENIED,
    "notfound": ErrorType.RESOURCE_NOT_FOUND,
    "validation": ErrorType.VALIDATION,
    "internal": ErrorType.INTERNAL,
    "unavailable": ErrorType.SERVICE_UNAVAILABLE,
    "timeout": ErrorType.MODEL_TIMEOUT,
    "modelerror": ErrorType.MODEL_ERROR,
    "notready": ErrorType.MODEL_NOT_READY,
    "quota": ErrorType.SERVICE_QUOTA_EXCEEDED,
}
_MESSAGES = {
    ErrorType.THROTTLING: "Too many requests, please wait before trying again.",
    ErrorType.ACCESS_DENIED: "You don't have access to the model with the specified model ID.",
    ErrorType.RESOURCE_NOT_FOUND: "Could not resolve the foundation model from the provided model identifier.",
    ErrorType.VALIDATION: "The provided request is not valid.",
    ErrorType.INTERNAL: "The system encountered an unexpected error during processing. Try your request again.",
    ErrorType.SERVICE_UNAVAILABLE: "Bedrock is unable to process your request.",
    ErrorType.MODEL_TIMEOUT: "Model has timed out in processing the request. Try your request again.",
    ErrorType.MODEL_ERROR: "The model returned an error.",
    ErrorType.MODEL_NOT_READY: "Model is not ready for inference.",
    ErrorType.MODEL_STREAM_ERROR: "The model broke off the stream.",
    ErrorType.SERVICE_QUOTA_EXCEEDED: "Your request exceeds the service quota for your account.",
}
# Members of the response stream in Bedrock's service model; Converse has all of these but modelTimeoutException.
_IN_STREAM = {
    type_[0].lower() + type_[1:]: type_
    for type_ in (
        ErrorType.INTERNAL,
        ErrorType.MODEL_STREAM_ERROR,
        ErrorType.MODEL_TIMEOUT,
        ErrorType.SERVICE_UNAVAILABLE,
        ErrorType.THROTTLING,
        ErrorType.VALIDATION,
    )
}
_BREAKS: dict[str, WireFaultKind | None] = {**{kind.value: kind for kind in WireFaultKind}, "hang": None}


def parse_fault(text: str) -> FaultSpec:
    """Read one fault; `FaultSyntaxError` says what is wrong with it."""
    name, *arguments = text.split(":")
    match name, arguments:
        case _, [*rest] if name in _REFUSALS and len(rest) <= 1:
            return FaultSpec(Refuse(_REFUSALS[name]), _tries(text, rest))
        case "exception", [type_, after, *rest] if type_ in _IN_STREAM and len(rest) <= 1:
            return FaultSpec(BreakOff(_IN_STREAM[type_], _count(text, after)), _tries(text, rest))
        case _, [after, *rest] if name in _BREAKS and len(rest) <= 1:
            return FaultSpec(BreakOff(_BREAKS[name], _count(text, after)), _tries(text, rest))
        case "guardrail", []:
            return FaultSpec(Intervene())
        case "refusal", []:
            return FaultSpec(EndWith("refusal"))
        case "end", [reason] if reason:
            return FaultSpec(EndWith(reason))
        case _:
            raise FaultSyntaxError(f"no such fault: {text!r}")


async def inject(fault: Fault, batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
    """Yield the stream `batches` with the fault in it, and close it in the end."""
    async with aclosing(batches):
        match fault:
            case Refuse(error):
                raise ModelError(error, _MESSAGES[error])
            case BreakOff(how, after):
                async for batch in _head(batches, after):
                    yield batch
                await _break_off(how)
            case Intervene():
                start = (await anext(batches))[0]
                input_tokens = start.input_tokens if isinstance(start, MessageStart) else None
                stop = MessageStop("guardrail_intervened", input_tokens or 0, output_tokens=0)
                yield (start, TextDelta(BLOCKED_MESSAGE), stop)
            case EndWith(reason):
                async for batch in batches:
                    yield [
                        replace(event, reason=reason) if isinstance(event, MessageStop) else event for event in batch
                    ]
            case _:
                assert_never(fault)


async def _head(batches: AsyncGenerator[Batch, None], tokens: int) -> AsyncGenerator[Batch, None]:
    """Yield the stream up to so many tokens, or up to its end without `MessageStop`."""
    left = tokens
    async for batch in batches:
        head: list[ModelEvent] = []
        for event in batch:
            match event:
                case MessageStart():
                    head.append(event)
                case MessageStop():
                    break
                case _ if left:
                    head.append(event)
                    left -= 1
        yield head
        if not left:
            return


async def _break_off(how: ErrorType | WireFaultKind | None) -> None:
    match how:
        case None:
            await asyncio.Event().wait()
        case ErrorType():
            raise ModelError(how, _MESSAGES[how])
        case WireFaultKind():
            raise WireFaultError(how)
        case _:
            assert_never(how)


def _count(text: str, digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()):
        raise FaultSyntaxError(f"{digits!r} is not a number of tokens or tries in {text!r}")
    return int(digits)


def _tries(text: str, rest: list[str]) -> int | None:
    return _count(text, rest[0]) if rest else None
