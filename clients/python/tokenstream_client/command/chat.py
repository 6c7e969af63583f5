"""`tokenstream chat`: one answer, or a conversation."""

import asyncio
import contextlib
import sys

from tokenstream_client.client import Client, RequestFields
from tokenstream_client.command.arguments import ChatOptions
from tokenstream_client.command.exit_codes import COMPLETE, FAILED, INTERRUPTED
from tokenstream_client.command.interrupt import woken_by_signals
from tokenstream_client.command.output import JsonOutput, Output, TextOutput
from tokenstream_client.command.prompt import read_prompt
from tokenstream_client.command.stack import endpoints_of
from tokenstream_client.command.turn import Turn, take_turn


def chat(options: ChatOptions) -> int:
    """Run the command; return its exit code. Raises `ClientError` for what goes wrong before a question is asked."""
    endpoints = endpoints_of(options)
    prompt = None if options.prompt is None else read_prompt(options.prompt)
    with asyncio.Runner() as runner, woken_by_signals(runner.get_loop()):
        client = Client(endpoints, path=options.path)
        conversation = Conversation(runner, client, options)
        try:
            return conversation.hold() if prompt is None else conversation.ask(prompt)
        finally:
            runner.run(client.aclose())


class Conversation:
    """Questions and answers, each with those before it. One event loop, and so its connections, serves all turns."""

    def __init__(self, runner: asyncio.Runner, client: Client, options: ChatOptions) -> None:
        self._runner = runner
        self._client = client
        self._options = options
        self._history: list[dict[str, str]] = []

    def ask(self, prompt: str) -> int:
        """Ask one question; return the exit code."""
        turn = self._take_turn({"prompt": prompt}, end_line=sys.stdout.isatty())
        return INTERRUPTED if turn.interrupted else FAILED if turn.failed else COMPLETE

    def hold(self) -> int:
        """Take a turn for each line of standard input until it ends; return the exit code.

        With a terminal Ctrl-C only stops an answer. Without one it ends the conversation, and a failed turn shows in
        the exit code.
        """
        interactive = sys.stdin.isatty()
        if interactive:
            with contextlib.suppress(ImportError):  # Windows has none; it gives input() its line editing
                import readline  # noqa: F401, PLC0415 - imported for that effect, and only here
        exit_code = COMPLETE
        while (line := _read_line(interactive=interactive)) is not None:
            if not line.strip():
                continue
            turn = self._say(line)
            if turn.interrupted and not interactive:
                return INTERRUPTED
            if turn.failed and not interactive:
                exit_code = FAILED
        return exit_code

    def _say(self, line: str) -> Turn:
        messages = [*self._history, {"role": "user", "content": line}]
        turn = self._take_turn({"messages": messages}, end_line=True)
        # The model takes no message without text, and an answer that failed is no part of the conversation.
        if turn.text and not turn.failed:
            self._history = [*messages, {"role": "assistant", "content": turn.text}]
        return turn

    def _take_turn(self, question: RequestFields, *, end_line: bool) -> Turn:
        options = self._options
        request: RequestFields = {**question, **options.generation, "delivery": options.delivery}
        output: Output = JsonOutput() if options.json else TextOutput(end_line=end_line)
        verbose = options.verbose or sys.stderr.isatty()
        return self._runner.run(take_turn(self._client, request, output, verbose=verbose))


def _read_line(*, interactive: bool) -> str | None:
    """Return the next line, `None` when the user leaves."""
    prompt = "> " if interactive and sys.stdout.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            if prompt:
                print()
            return None
        except KeyboardInterrupt:
            if not interactive:
                raise
            print("\nCtrl-D or /quit leaves.", file=sys.stderr)
            continue
        return None if line.strip() == "/quit" else line
