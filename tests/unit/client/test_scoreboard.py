import asyncio
import io
import re

import pytest

from tests.unit.client.test_websocket_connection import in_virtual_time
from tokenstream_client.command.scoreboard import INTERVAL, Scoreboard, can_redraw


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        """What is to be seen of all that was written."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[\d*[A-Z]|\n|\r|[^\x1b\n\r]+", self.getvalue()):
            if part == "\n":
                row += 1
                column = 0
                lines += [""] * (row == len(lines))
            elif part == "\r":
                column = 0
            elif part.startswith("\x1b"):
                match part[-1]:
                    case "A":
                        row -= int(part[2:-1])
                        assert row >= 0
                    case "K":
                        lines[row] = ""
                    case "J":
                        lines[row:] = [lines[row][:column]]
                    case command:
                        raise AssertionError(f"not known: {command}")
            else:
                line = lines[row].ljust(column)
                lines[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)
        return lines


@pytest.fixture(autouse=True)
def of_forty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")


@in_virtual_time
async def test_each_drawing_replaces_the_one_before_and_the_last_leaves_nothing() -> None:
    terminal = Terminal("$ tokenstream race Hi\n")
    terminal.seek(0, io.SEEK_END)
    lines = ["round 1 of 2", "url    streaming", "rest   connecting"]
    async with Scoreboard(terminal, lambda: lines):
        await asyncio.sleep(INTERVAL / 2)
        assert terminal.screen == ["$ tokenstream race Hi", *lines, ""]
        terminal.write("^C")
        lines = ["url    end_turn", "rest   ready"]
        await asyncio.sleep(INTERVAL)
        assert terminal.screen == ["$ tokenstream race Hi", *lines, ""]
    assert terminal.screen == ["$ tokenstream race Hi", ""]


@in_virtual_time
async def test_a_terminal_that_is_too_small_shows_what_fits_and_scrolls_nothing_away() -> None:
    terminal = Terminal()
    async with Scoreboard(terminal, lambda: ["x" * 41] * 12):
        await asyncio.sleep(INTERVAL * 3.5)
        assert terminal.screen == ["x" * 39] * 9 + [""]


@pytest.mark.parametrize(
    ("output", "term", "expected"),
    [
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
        (Terminal(), None, False),
        (io.StringIO(), "xterm", False),
    ],
)
def test_only_a_terminal_that_can_is_drawn_on(
    monkeypatch: pytest.MonkeyPatch, output: io.StringIO, term: str | None, expected: bool
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert can_redraw(output) is expected
