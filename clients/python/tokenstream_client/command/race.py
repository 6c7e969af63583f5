"""`tokenstream race`: one question over all paths at the same time."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tokenstream_client.client import IDLE_TIMEOUT, Client, RequestFields
from tokenstream_client.command.arguments import RaceOptions
from tokenstream_client.command.contestant import Contestant
from tokenstream_client.command.entries import Entry
from tokenstream_client.command.exit_codes import COMPLETE, FAILED, INTERRUPTED
from tokenstream_client.command.interrupt import on_interrupt, woken_by_signals
from tokenstream_client.command.prompt import read_prompt
from tokenstream_client.command.race_document import document
from tokenstream_client.command.race_table import progress_lines, table
from tokenstream_client.command.scoreboard import Scoreboard, can_redraw
from tokenstream_client.command.stack import endpoints_of
from tokenstream_client.command.turn import GRACE
from tokenstream_client.endpoints import Endpoints


def race(options: RaceOptions) -> int:
    """Run the command; return its exit code. Raises `ClientError` when the user can't sign in."""
    endpoints = endpoints_of(options)
    question: RequestFields = {"prompt": read_prompt(options.prompt), **options.generation}
    with asyncio.Runner() as runner, woken_by_signals(runner.get_loop()):
        return runner.run(_race(options, endpoints, question))


async def _race(options: RaceOptions, endpoints: Endpoints, question: RequestFields) -> int:
    async with _entered(options.paths, endpoints) as contestants:
        held = Race(contestants, question, options.rounds)
        with on_interrupt(held.interrupted.set):
            if not options.json and can_redraw(sys.stdout):
                async with Scoreboard(sys.stdout, held.lines):
                    await held.hold()
            else:
                await held.hold()
    interrupted = held.interrupted.is_set()
    if options.json:
        print(json.dumps(document(contestants, interrupted=interrupted), ensure_ascii=False, indent=2), flush=True)
    else:
        print(*table(contestants), sep="\n", flush=True)
    for notice in (notice for contestant in contestants for notice in contestant.notices):
        print(f"tokenstream: {notice}", file=sys.stderr)
    if interrupted:
        return INTERRUPTED
    return FAILED if any(run.failed for contestant in contestants for run in contestant.runs) else COMPLETE


class Race:
    """Rounds, in each of which everybody asks the same at the same time. `interrupted`, once set, ends it."""

    def __init__(self, contestants: Sequence[Contestant], question: RequestFields, rounds: int) -> None:
        self.interrupted = asyncio.Event()
        self._contestants = contestants
        self._question = question
        self._rounds = rounds
        self._round = 0

    def lines(self) -> list[str]:
        """Describe how it stands."""
        heading = [f"round {self._round} of {self._rounds}"] if self._rounds > 1 else []
        return [*heading, *progress_lines(self._contestants)]

    async def hold(self) -> None:
        """Hold it to its end. Everybody is connected before a round's questions are sent."""
        while self._round < self._rounds and not self.interrupted.is_set():
            start = self._round % len(self._contestants)  # nobody is always the first to send
            order = [*self._contestants[start:], *self._contestants[:start]]
            self._round += 1
            if await self._connect(order):
                await self._run(order)

    async def _connect(self, contestants: Sequence[Contestant]) -> bool:
        connecting = asyncio.create_task(_all(contestant.connect() for contestant in contestants))
        if not await self._done(connecting):
            connecting.cancel()
        await _settled(connecting)
        return not self.interrupted.is_set()

    async def _run(self, contestants: Sequence[Contestant]) -> None:
        running = asyncio.create_task(_all(contestant.run(self._question) for contestant in contestants))
        if not await self._done(running):
            await _all(contestant.stop() for contestant in contestants)
            if (await asyncio.wait({running}, timeout=GRACE))[1]:
                running.cancel()
        await _settled(running)

    async def _done(self, work: asyncio.Task[None]) -> bool:
        """Wait for the work; return whether it was done before an interrupt came."""
        interruption = asyncio.create_task(self.interrupted.wait())
        either: set[asyncio.Future[Any]] = {work, interruption}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        interruption.cancel()
        return work.done()


async def _all(works: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*works)


async def _settled(work: asyncio.Task[None]) -> None:
    await asyncio.wait({work})
    if not work.cancelled():
        work.result()


@asynccontextmanager
async def _entered(entries: Sequence[Entry], endpoints: Endpoints) -> AsyncIterator[list[Contestant]]:
    """Give the contestants, each with a client of its own; the user signs in once for all."""
    # httpx takes 0.1 s to import: the command's --help and usage errors don't wait for it.
    from tokenstream_client.cognito import CognitoTokens  # noqa: PLC0415
    from tokenstream_client.transports.http import http_client  # noqa: PLC0415

    async with AsyncExitStack() as opened:
        tokens = CognitoTokens(endpoints, await opened.enter_async_context(http_client(IDLE_TIMEOUT)))
        await tokens.token()
        contestants = []
        for entry in entries:
            client = Client(endpoints, path=entry.path, token=tokens) if endpoints.has(entry.path) else None
            if client is not None:
                await opened.enter_async_context(client)
            contestants.append(Contestant(entry, client))
        yield contestants
