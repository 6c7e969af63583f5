"""One that takes part in a race: a way to the stack, over a client of its own."""

import time
from dataclasses import dataclass, field

from tokenstream_client.assembler import Arrivals
from tokenstream_client.client import Client, RequestFields
from tokenstream_client.command.entries import Entry
from tokenstream_client.errors import ClientError
from tokenstream_client.figures import Figures, figures_of
from tokenstream_client.frames import Complete, ErrorFrame, Frame, Start, Token
from tokenstream_client.stream import Stream

NOT_DEPLOYED = "not deployed"
UNFINISHED = "unfinished"
"""The outcome of an answer that was left before its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of one answer.

    `outcome` is its stop reason, `UNFINISHED`, or the code of an error, whose `message` is then there. `delivery` is
    the stack's word for it, `attempt` the last one that was seen, `connect_ms` the time that went by before the
    request was sent.
    """

    outcome: str
    message: str | None = None
    connect_ms: float | None = None
    delivery: str | None = None
    attempt: int = 0
    figures: Figures = field(default_factory=Figures)
    arrivals: Arrivals = field(default_factory=Arrivals)
    resumes: int = 0
    text: str = field(default="", repr=False)

    @property
    def failed(self) -> bool:
        """Whether an error ended it."""
        return self.message is not None

    @property
    def whole(self) -> bool:
        """Whether the answer came to its own end."""
        return not self.failed and self.outcome not in {UNFINISHED, "cancelled"}


@dataclass(slots=True)
class Progress:
    """How far an answer is."""

    state: str
    first_token_ms: float | None = None
    characters: int = 0
    messages: int = 0


class Contestant:
    """Connects and runs once a round. `client` is `None` where the stack doesn't have the entry's path."""

    def __init__(self, entry: Entry, client: Client | None) -> None:
        self.entry = entry
        self.progress = Progress(NOT_DEPLOYED if client is None else "")
        self.runs: list[Run] = []
        self.notices: list[str] = []
        self._client = client
        self._connect_ms: float | None = None
        self._stream: Stream | None = None

    @property
    def deployed(self) -> bool:
        """Whether it can take part."""
        return self._client is not None

    async def connect(self) -> None:
        """Get ready for a round; what goes wrong is the outcome of the round."""
        if self._client is None:
            return
        self.progress = Progress("connecting")
        self._connect_ms = None
        since = time.monotonic()
        try:
            await self._client.connect()
        except ClientError as error:
            self._finish(Run(outcome=error.code, message=error.message))
        else:
            self._connect_ms = (time.monotonic() - since) * 1000
            self.progress.state = "ready"

    async def run(self, question: RequestFields) -> None:
        """Ask, if connected, and follow the answer to its end; what goes wrong is the outcome."""
        if self._client is None or self._connect_ms is None:
            return
        self.progress.state = "asked"
        own: RequestFields = {**question, "delivery": self.entry.delivery}
        stream = self._client.stream(on_resuming=self._note_loss, **own)
        self._stream = stream
        frames: list[Frame] = []
        outcome, message = UNFINISHED, None
        try:
            async with stream:
                async for frame in stream:
                    frames.append(frame)
                    self._note(frame, stream.arrivals)
            outcome, message = _ending(frames)
        except ClientError as error:
            outcome, message = error.code, error.message
        finally:
            self._stream = None
            self._finish(
                Run(
                    outcome=outcome,
                    message=message,
                    connect_ms=self._connect_ms,
                    delivery=_delivery(frames),
                    attempt=stream.position.attempt,
                    figures=figures_of(frames),
                    arrivals=stream.arrivals,
                    resumes=stream.resumes,
                    text=_text(frames),
                )
            )
            if stream.may_go_on:
                self.notices.append(
                    f"{self.entry}: the answer may still be running on the server (session {stream.session_id}): "
                    "it couldn't be told to stop."
                )

    async def stop(self) -> None:
        """Have the generation stopped; the terminal frame still comes."""
        if self._stream is None:
            return
        try:
            await self._stream.cancel()
        except ClientError as error:
            self.notices.append(f"{self.entry}: the answer couldn't be stopped: {error.message}")

    def _finish(self, run: Run) -> None:
        self.runs.append(run)
        self.progress.state = run.outcome

    def _note(self, frame: Frame, arrivals: Arrivals) -> None:
        progress = self.progress
        progress.messages = arrivals.received - arrivals.duplicates
        match frame:
            case Start():
                progress.state = "started"
                progress.characters = 0
            case Token():
                progress.state = "streaming"
                progress.characters += len(frame.token)
                if progress.first_token_ms is None and frame.token:
                    progress.first_token_ms = frame.received_at_ms
            case _:
                pass

    def _note_loss(self) -> None:
        self.progress.state = "resuming"


def _ending(frames: list[Frame]) -> tuple[str, str | None]:
    match frames[-1:]:
        case [Complete() as complete]:
            return complete.model_stop_reason or complete.stop_reason, None
        case [ErrorFrame() as failed]:
            return failed.error.code, failed.error.message
    return UNFINISHED, None  # stopped before it was asked


def _delivery(frames: list[Frame]) -> str | None:
    starts = [frame for frame in frames if isinstance(frame, Start)]
    return starts[-1].delivery if starts else None


def _text(frames: list[Frame]) -> str:
    pieces: list[str] = []
    for frame in frames:
        match frame:
            case Start():
                pieces.clear()
            case Token():
                pieces.append(frame.token)
            case _:
                pass
    return "".join(pieces)
