"""Runs the JavaScript of subscription resolvers, which the emulator doesn't, in a Node process of the edge's own."""

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.edge.appsync_errors import FieldErrors
from local.edge.appsync_filter import MalformedFilterError, SubscriptionFilter

_RUNNER = Path(__file__).with_suffix(".mjs")
_COMMAND = ("node", "--no-warnings", "--experimental-vm-modules", "--max-old-space-size=128", str(_RUNNER))
_STEP_SECONDS = 5.0
# AppSync ends a request after as many.
_ANSWER_SECONDS = 30.0
_ANSWER_BYTES = 1024 * 1024


class ResolverFailedError(Exception):
    """The resolver can't be run, or does what a resolver can't; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a subscription's resolver came to: the filter that it set, None for none."""

    value: Any
    filter: SubscriptionFilter | None


class ResolverRunner:
    """One process, started when it is first needed, that runs one resolver at a time. Times are seconds."""

    def __init__(self, *, step: float = _STEP_SECONDS, answer: float = _ANSWER_SECONDS) -> None:
        self._step = step
        self._answer = answer
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def run(self, code: str, context: Mapping[str, Any]) -> Resolved:
        """Run a resolver whose data source is of type NONE.

        Raises `FieldErrors` for what the resolver raises itself, and `ResolverFailedError`.
        """
        async with self._lock:
            answer = await self._ask({"code": code, "context": context, "timeout": round(self._step * 1000)})
        match answer:
            case {"error": error}:
                raise FieldErrors(
                    [
                        {
                            "errorType": error["type"],
                            "message": error["message"],
                            "data": error["data"],
                            "errorInfo": error["info"],
                        }
                    ]
                )
            case {"failure": failure}:
                raise ResolverFailedError(failure)
        wanted = answer.get("filter")
        try:
            return Resolved(answer["value"], None if wanted is None else SubscriptionFilter.parse(wanted))
        except MalformedFilterError as error:
            raise ResolverFailedError(str(error)) from error

    async def close(self) -> None:
        """End the process."""
        async with self._lock:
            await self._end()

    async def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        process = await self._running()
        assert process.stdin is not None  # noqa: S101 started with pipes
        assert process.stdout is not None  # noqa: S101
        answered = False
        try:
            async with asyncio.timeout(self._answer):
                process.stdin.write(json.dumps(question).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
            answer: dict[str, Any] = json.loads(line)
            answered = True
        except (TimeoutError, OSError, ValueError) as error:
            raise ResolverFailedError("no answer from Node") from error
        else:
            return answer
        finally:
            # Without its answer read, the next question would get it.
            if not answered:
                await self._end()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process and self._process.returncode is None:
            return self._process
        try:
            self._process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # Its own session: a Ctrl-C in the terminal is the stack's. It ends with its standard input.
                start_new_session=True,
                env={"PATH": os.environ["PATH"]},
                limit=_ANSWER_BYTES,
            )
        except OSError as error:
            raise ResolverFailedError(f"Node does not start: {error.strerror}") from error
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if not process:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
