"""A model that answers at the pace of a real one, reproducibly, and fails on request.

Time is kept against an absolute schedule: token i is due `ttft + i / rate` seconds after the request, whatever the
tokens before it cost, so a slow reader or a busy machine makes it late but never slower. What `local.model.marks` lists
can be set in each prompt.
"""

import asyncio
import hashlib
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from local.model.faults import Fault, FaultSpec, inject
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
from local.model.marks import MarkError, Marks, parse_marks
from local.model.text import DEFAULT_LENGTH, Answer, compose

_MAX_BATCH = 64
_MAX_CONVERSATIONS = 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """When tokens are due: the first after `ttft` seconds, then `rate` a second, each late by up to `jitter` intervals.

    `head`: seconds until the message starts, if that is before the first token.
    """

    ttft: float = 0.4
    rate: float = 50.0
    jitter: float = 0.0
    head: float | None = None

    def marked(self, marks: Marks) -> "Pace":
        """Return the pace with a prompt's own wishes in it."""
        return Pace(
            ttft=self.ttft if marks.ttft is None else marks.ttft,
            rate=self.rate if marks.rate is None else marks.rate,
            jitter=self.jitter if marks.jitter is None else marks.jitter,
            head=self.head if marks.head is None else marks.head,
        )

    def schedule(self, tokens: int) -> list[float]:
        """Seconds from the request to each token; never decreasing."""
        late = random.Random(tokens)  # noqa: S311 a reproducible spread, no secret
        return [self.ttft + (i + self.jitter * late.random() * (i > 0)) / self.rate for i in range(tokens)]


class PacedModel:
    """Says what `local.model.text` composes. A mark that can't be read is a ValidationException.

    `rejected` is told why: what a client shows of such an exception is seldom its message.
    """

    def __init__(
        self, pace: Pace = Pace(), length: int = DEFAULT_LENGTH, rejected: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self._pace = pace
        self._length = length
        self._rejected = rejected
        self._tries: OrderedDict[bytes, int] = OrderedDict()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Batch, None]:
        """See `Model.stream`."""
        try:
            _, marks = parse_marks(request.prompt)
            answer = compose(request, marks, self._length)
        except MarkError as error:
            self._rejected(error.reason)
            raise ModelError(ErrorType.VALIDATION, str(error)) from error
        batches = _paced(answer, self._pace.marked(marks))
        if (spec := marks.fault_of(request.model)) and (fault := self._fault_of_this_try(spec, request)):
            batches = inject(fault, batches)
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    async def close(self) -> None:
        """Nothing to release."""

    def _fault_of_this_try(self, spec: FaultSpec, request: ModelRequest) -> Fault | None:
        if spec.times is None:
            return spec.fault
        conversation = hashlib.sha256(repr((request.model, request.turns)).encode()).digest()
        tries = self._tries.pop(conversation, 0) + 1
        self._tries[conversation] = tries
        if len(self._tries) > _MAX_CONVERSATIONS:
            self._tries.popitem(last=False)
        return spec.fault if tries <= spec.times else None


async def _paced(answer: Answer, pace: Pace) -> AsyncGenerator[Batch, None]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    opening = MessageStart(answer.input_tokens)
    closing = MessageStop(answer.stop_reason, answer.input_tokens, answer.output_tokens, answer.stop_sequence)
    deltas: list[ModelEvent] = [ReasoningDelta(token) for token in answer.reasoning]
    deltas += [TextDelta(token) for token in answer.text]
    due = pace.schedule(len(deltas))

    if pace.head is not None and pace.head < pace.ttft:
        await asyncio.sleep(pace.head)
        yield (opening,)
        lead: tuple[ModelEvent, ...] = ()
    else:
        lead = (opening,)
    if not deltas:
        await asyncio.sleep(start + pace.ttft - loop.time())
        yield (*lead, closing)
        return

    sent = 0
    while sent < len(deltas):
        # Also when late: a sleep of 0 lets other streams have their turn.
        await asyncio.sleep(max(0.0, start + due[sent] - loop.time()))
        elapsed = loop.time() - start
        upto = sent + 1
        while upto < len(deltas) and upto - sent < _MAX_BATCH and due[upto] <= elapsed:
            upto += 1
        tail = (closing,) if upto == len(deltas) else ()
        yield (*lead, *deltas[sent:upto], *tail)
        lead, sent = (), upto
