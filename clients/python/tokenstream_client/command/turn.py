"""One question and its answer."""

import asyncio
import sys
from dataclasses import dataclass, field

from tokenstream_client.client import Client, RequestFields
from tokenstream_client.command.advice import explain
from tokenstream_client.command.interrupt import on_interrupt
from tokenstream_client.command.output import Output, figures
from tokenstream_client.errors import AnswerFailed, ClientError
from tokenstream_client.frames import Complete, ErrorFrame, Frame, Start, Token
from tokenstream_client.stream import Stream

GRACE = 5.0
"""Seconds that the terminal frame is waited for after Ctrl-C."""


@dataclass(slots=True)
class Turn:
    """What came of a question. `failed` and `interrupted` exclude each other."""

    pieces: list[str] = field(default_factory=list)
    interrupted: bool = False
    failed: bool = False

    @property
    def text(self) -> str:
        """The answer's text, as far as it came."""
        return "".join(self.pieces)


async def take_turn(client: Client, request: RequestFields, output: Output, *, verbose: bool) -> Turn:
    """Show an answer as it comes and say on stderr how it ended. Ctrl-C stops the generation, not the reading."""
    turn = Turn()

    def on_resuming() -> None:
        if verbose:
            output.interject("tokenstream: connection lost, resuming …")

    stream = client.stream(on_resuming=on_resuming, **request)
    try:
        async with stream:
            await _follow(stream, turn, output, verbose=verbose)
    except ClientError as error:
        turn.failed = not turn.interrupted
        if turn.failed:
            print(explain(error), file=sys.stderr)
    finally:
        if stream.may_go_on:
            print(
                f"tokenstream: The answer may still be running on the server (session {stream.session_id}): "
                "it couldn't be told to stop.",
                file=sys.stderr,
            )
    return turn


async def _follow(stream: Stream, turn: Turn, output: Output, *, verbose: bool) -> None:
    loop = asyncio.get_running_loop()
    patience = asyncio.timeout(None)
    cancelling: list[asyncio.Task[None]] = []

    def stop() -> None:
        turn.interrupted = True
        patience.reschedule(loop.time() + GRACE)
        cancelling.append(asyncio.create_task(_cancel(stream)))

    try:
        async with patience:
            with on_interrupt(stop):
                async for frame in stream:
                    output.show(frame)
                    _note(frame, turn, output, verbose=verbose)
    except TimeoutError:
        print("tokenstream: the answer didn't end in time; it was left.", file=sys.stderr)
    finally:
        await asyncio.gather(*cancelling)
        output.finish()


def _note(frame: Frame, turn: Turn, output: Output, *, verbose: bool) -> None:
    match frame:
        case Start():
            turn.pieces.clear()
        case Token():
            turn.pieces.append(frame.token)
        case Complete() if verbose:
            output.finish()
            print(figures(frame), file=sys.stderr)
        case ErrorFrame():
            output.finish()
            raise AnswerFailed(frame.error)
        case _:
            pass


async def _cancel(stream: Stream) -> None:
    try:
        await stream.cancel()
    except ClientError as error:
        print(f"tokenstream: the answer couldn't be stopped: {error.message}", file=sys.stderr)
