"""The installed command as a process of its own: signals, pipes, a terminal."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.local.stack_process import eventually
from tests.unit.client.calls import Call
from tests.unit.client.fake_stack import (
    FakeStack,
    answer,
    complete,
    cut_after,
    numbered,
    running,
    start,
    token,
    write_endpoints,
)
from tokenstream_client.endpoints import PathName

COMMAND = Path(sys.executable).with_name("tokenstream")


@contextmanager
def command(
    stack: FakeStack, folder: Path, *arguments: str, name: str = "chat", **pipes: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with running(stack) as endpoints:
        write_endpoints(endpoints, folder / ".local" / "endpoints.json")
        # With it set, output is never buffered, and neither a missing flush nor one that fails would show.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
        process = subprocess.Popen(  # noqa: S603 - our own command
            [COMMAND, name, *arguments], cwd=folder, env={**environment, "TERM": "xterm"}, **streams
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


def read_exactly(stream: IO[bytes] | None, expected: bytes) -> None:
    assert stream is not None
    assert stream.read(len(expected)) == expected


def holding_stack(**options: Any) -> FakeStack:
    return FakeStack(frames=numbered(start(), token("Hello"), complete("cancelled")), hold_at=2, **options)


def test_text_appears_while_the_answer_is_still_going_on_and_ctrl_c_stops_it(path: PathName, tmp_path: Path) -> None:
    stack = holding_stack()
    with command(stack, tmp_path, "--path", path, "--verbose", "Hi") as process:
        read_exactly(process.stdout, b"Hello")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == b""
    assert err.startswith(b"cancelled")
    assert stack.asked() == ["start", "cancel"]


def test_a_second_ctrl_c_ends_the_command_at_once(path: PathName, tmp_path: Path) -> None:
    stack = holding_stack(ignore_cancel=True)
    with command(stack, tmp_path, "--path", path, "Hi") as process:
        read_exactly(process.stdout, b"Hello")
        process.send_signal(signal.SIGINT)
        assert stack.cancelled.wait(10)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == -signal.SIGINT


def test_a_reader_that_goes_away_stops_the_answer_without_a_traceback(path: PathName, tmp_path: Path) -> None:
    stack = FakeStack(frames=answer(*["x" * 10_000] * 100))
    with command(stack, tmp_path, "--path", path, "Hi") as process:
        assert process.stdout is not None
        read_exactly(process.stdout, b"x")
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert stack.cancelled.wait(10)


def test_an_answer_that_could_not_be_stopped_is_told_once_and_after_the_error(tmp_path: Path) -> None:
    stack = FakeStack()

    async def forget(_call: Call) -> None:
        stack.sessions.clear()

    stack.faults.extend([cut_after(300), forget])
    with command(stack, tmp_path, "Hi") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, b"Hello")
    session_id = stack.questions()[0]["sessionId"]
    assert err.decode().splitlines() == [
        "tokenstream: The connection broke, and the rest of the answer can't be fetched: No such session.",
        f"tokenstream: The answer may still be running on the server (session {session_id}): "
        "it couldn't be told to stop.",
    ]


def test_a_conversation_at_a_real_terminal(path: PathName, tmp_path: Path) -> None:
    stack = holding_stack()
    ours, theirs = pty.openpty()
    with command(stack, tmp_path, "--path", path, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        read_until(ours, b"> ")
        interrupt_at_the_prompt(process)
        read_until(ours, b"/quit leaves.")
        read_until(ours, b"> ")
        os.write(ours, b"one\n")
        read_until(ours, b"Hello")
        process.send_signal(signal.SIGINT)
        read_until(ours, b"cancelled")
        read_until(ours, b"> ")
        os.write(ours, b"/quit\n")
        assert process.wait(timeout=20) == 0
    os.close(ours)
    assert stack.asked() == ["start", "cancel"]


def test_a_race_at_a_real_terminal_shows_how_it_goes_and_ctrl_c_stops_every_answer(tmp_path: Path) -> None:
    stack = holding_stack()
    ours, theirs = pty.openpty()
    with command(stack, tmp_path, "Hi", name="race", stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        for entry in (b"url", b"rest", b"websocket", b"websocket:queued", b"appsync", b"appsync:queued"):
            read_until(ours, entry + b" ")
        read_until(ours, b"streaming")
        eventually(lambda: stack.held == 6)
        process.send_signal(signal.SIGINT)
        read_until(ours, b"outcome")
        for _ in range(6):
            read_until(ours, b"cancelled\r\n")
        assert process.wait(timeout=20) == 130
    os.close(ours)
    assert sorted(stack.asked()) == ["cancel"] * 6 + ["start"] * 6


def test_a_race_whose_reader_went_away_ends_without_a_traceback(tmp_path: Path) -> None:
    with command(FakeStack(), tmp_path, "--paths", "url", "Hi", name="race") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


def read_until(terminal: int, expected: bytes) -> None:
    """Read what the terminal shows; the test's own time limit ends a wait in vain."""
    shown = b""
    while expected not in shown:
        shown += os.read(terminal, 1)


def interrupt_at_the_prompt(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C; readline doesn't notice it between writing its prompt and waiting for a key."""
    eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    process.send_signal(signal.SIGINT)


def test_help_waits_for_no_network_library() -> None:
    program = "import sys, tokenstream_client.command; print({'httpx', 'websockets'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)  # noqa: S603 - our own code
    assert result.stdout == b"set()\n"
