"""How frames look on the terminal: bare text, or JSON lines."""

import json
import sys
from typing import Protocol

from tokenstream_client.frames import Complete, Frame, Start, Token


class Output(Protocol):
    """Shows the frames of one answer on stdout, each at once."""

    def show(self, frame: Frame) -> None:
        """Write what is to be seen of a frame; raises `BrokenPipeError` when nobody reads any more."""

    def interject(self, notice: str) -> None:
        """Say something on stderr in the midst of the answer."""

    def finish(self) -> None:
        """End the answer, also one without a terminal frame."""


class TextOutput:
    """The answer's text alone. With `end_line` the last line is ended if the model didn't end it."""

    def __init__(self, *, end_line: bool) -> None:
        self._end_line = end_line
        self._last = ""

    def show(self, frame: Frame) -> None:
        """Write a token. What an attempt that was given up has left on the screen stays there, and is told."""
        match frame:
            case Token():
                self._write(frame.token)
            case Start() if self._last:
                self._write("\n")
                print("tokenstream: the answer begins anew.", file=sys.stderr)
            case _:
                pass

    def interject(self, notice: str) -> None:
        """Write the notice on a line of its own on the screen, without a trace in the text itself."""
        print("\n" if self._in_line and sys.stdout.isatty() else "", notice, sep="", file=sys.stderr)

    def finish(self) -> None:
        """End the line if need be."""
        if self._end_line and self._in_line:
            self._write("\n")
        self._last = ""

    @property
    def _in_line(self) -> bool:
        return bool(self._last) and not self._last.endswith("\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._last = text or self._last


class JsonOutput:
    """A frame a line, as it arrived, with `receivedAtMs`: milliseconds since the request was sent."""

    def show(self, frame: Frame) -> None:
        """Write a frame."""
        line = {**frame.message, "receivedAtMs": round(frame.received_at_ms, 1)}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def interject(self, notice: str) -> None:
        """Write the notice; every frame has ended its line."""
        print(notice, file=sys.stderr)

    def finish(self) -> None:
        """Nothing is left to write."""


def figures(complete: Complete) -> str:
    """Describe how an answer ended, in one line: `end_turn · 12 tokens in, 340 out · first token 212 ms · 4.1 s`."""
    usage, timings = complete.usage, complete.timings
    parts = [
        complete.model_stop_reason or complete.stop_reason,
        f"{usage.input_tokens} tokens in, {usage.output_tokens} out",
    ]
    if timings.time_to_first_token_ms is not None:
        parts.append(f"first token {timings.time_to_first_token_ms} ms")
    if timings.duration_ms is not None:
        parts.append(f"{timings.duration_ms / 1000:.1f} s")
    return " · ".join(parts)
