"""The race, run in this process against a stack that fails as told; `test_command_process` has a real terminal."""

import importlib
import io
import json
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.stack_process import eventually
from tests.unit.client.calls import AppSyncCall, Call, HttpCall
from tests.unit.client.fake_stack import (
    FakeStack,
    JsonFrame,
    answer,
    close,
    cut_after,
    reject,
    running,
    write_endpoints,
)
from tests.unit.client.test_scoreboard import Terminal
from tokenstream_client.command import main

Run = Callable[..., int]
ENTRIES = [
    ("url", "direct"),
    ("rest", "direct"),
    ("websocket", "direct"),
    ("websocket", "queued"),
    ("appsync", "direct"),
    ("appsync", "queued"),
]


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def file(stack: FakeStack, tmp_path: Path) -> Iterator[Path]:
    with running(stack) as endpoints:
        file = tmp_path / "endpoints.json"
        write_endpoints(endpoints, file)
        yield file


@pytest.fixture
def run(file: Path) -> Run:
    return lambda *arguments: main(["race", "--endpoints", str(file), *arguments])


def change(file: Path, **values: str | None) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def contestants(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    out, err = capsys.readouterr()
    assert err == ""
    told: list[Any] = json.loads(out)["contestants"]
    return told


def over_rest(fault: Callable[[Call], Awaitable[None]]) -> Callable[[Call], Awaitable[None]]:
    """Have a fault hit the path `rest` alone."""

    async def hit(call: Call) -> None:
        if isinstance(call, HttpCall) and call.address == "/dev":
            await fault(call)

    return hit


def test_all_paths_are_asked_once_and_compared(run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    def twice(frames: list[JsonFrame]) -> list[JsonFrame]:
        return [frame for frame in frames for _ in range(2)]

    stack.frames, stack.queue = answer("one ", "two ", "three"), twice
    assert run("--json", "Hi") == 0
    told = contestants(capsys)
    assert [(one["path"], one["delivery"]) for one in told] == ENTRIES
    for one in told:
        [only] = one["rounds"]
        assert (only["outcome"], only["error"], only["messages"], only["characters"]) == ("end_turn", None, 5, 13)
        assert only["duplicates"] == (4 if one["delivery"] == "queued" else 0)
        assert 0 <= one["medians"]["firstTokenMs"] <= one["medians"]["totalMs"]
        assert 0 <= one["medians"]["medianGapMs"] <= one["medians"]["p95GapMs"]
    assert stack.asked() == ["start"] * 6
    assert sorted(question.get("delivery", "") for question in stack.questions()) == [
        "",
        "",
        "",
        "",
        "queued",
        "queued",
    ]


def test_the_user_signs_in_once_and_everybody_is_connected_before_the_clock_starts(run: Run, stack: FakeStack) -> None:
    assert run("Hi") == 0
    assert stack.users == ["alice"]
    assert sorted(stack.preflights) == ["/-", "/dev/-", "/graphql", "/graphql"]
    over_http = [call for call in stack.calls if isinstance(call, HttpCall | AppSyncCall)]
    assert [call.exchange.number for call in over_http] == [2, 2, 2, 2]
    assert len(stack.connections) == len(stack.realtime.connections) == 2


def test_the_table_goes_to_stdout_without_a_trace_of_the_way_there(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("Hi") == 0
    out, err = capsys.readouterr()
    head, *lines, last = out.splitlines()
    assert head.startswith("path ")
    assert [tuple(line.split()[:2]) for line in lines] == ENTRIES
    assert all(line.split()[-2:] == ["kept", "end_turn"] for line in lines)
    assert last == "All texts are the same: 11 characters."
    assert "\x1b" not in out
    assert err == ""


def test_one_that_fails_fails_the_command_and_leaves_the_others_alone(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.faults.extend([over_rest(reject(429, "throttled", "Later."))] * 6)
    assert run("--json", "Hi") == 1
    outcomes = {(one["path"], one["delivery"]): one["rounds"][0]["outcome"] for one in contestants(capsys)}
    assert outcomes.pop(("rest", None)) == "throttled"
    assert list(outcomes.values()) == ["end_turn"] * 5


def test_one_that_cannot_connect_is_told_and_does_not_run(
    run: Run, stack: FakeStack, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    change(file, websocketUrl=f"ws://{address}")
    assert run("--json", "--paths", "url,websocket", "Hi") == 1
    url, websocket = contestants(capsys)
    assert url["rounds"][0]["outcome"] == "end_turn"
    error = {"code": "connection_failed", "message": f"{address} can't be reached."}
    assert [round_["error"] for round_ in websocket["rounds"]] == [error]
    assert stack.asked() == ["start"]


@pytest.mark.parametrize("lacking", ["websocketUrl", "graphqlUrl", "graphqlRealtimeUrl"])
def test_a_path_that_the_stack_does_not_have_is_no_failure(
    run: Run, file: Path, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    change(file, **{lacking: None})
    assert run("Hi") == 0
    missing = "websocket" if lacking == "websocketUrl" else "appsync"
    lines = capsys.readouterr().out.splitlines()[1:7]
    assert [line.split()[0] for line in lines if line.endswith("not deployed")] == [missing, missing]


def test_a_broken_connection_and_what_came_late_show_in_the_order(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.frames = answer("a", "b", "c")
    stack.queue = lambda frames: [frames[1], frames[0], *frames[2:]]
    stack.faults.append(cut_after(300))
    assert run("--paths", "url", "Hi") == 0
    assert "resumed 1" in capsys.readouterr().out
    assert run("--paths", "websocket:queued", "Hi") == 0
    assert "repaired 1" in capsys.readouterr().out


def test_rounds_go_over_new_connections_where_the_old_ones_are_gone(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.faults = deque([close])  # the first answer's first try
    assert run("--json", "--rounds", "3", "--paths", "url,websocket", "Hi") == 0
    told = contestants(capsys)
    assert [[round_["outcome"] for round_ in one["rounds"]] for one in told] == [["end_turn"] * 3] * 2
    assert all(one["medians"]["messages"] == 4 for one in told)
    assert len({question["sessionId"] for question in stack.questions()}) == 6


def test_every_option_reaches_the_stack_and_a_dash_reads_the_prompt(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("two\nlines\n"))
    arguments = ["--system", "Be brief.", "--model", "m", "--max-tokens", "5", "--temperature", "0.5"]
    assert run(*arguments, "--paths", "websocket:direct", "-") == 0
    question = stack.questions()[0]
    del question["sessionId"]
    assert question == {
        "prompt": "two\nlines\n",
        "system": "Be brief.",
        "model": "m",
        "options": {"maxTokens": 5, "temperature": 0.5},
        "delivery": "direct",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "required: PROMPT"),
        (["--rounds", "0", "Hi"], "argument --rounds: '0' is no number of rounds"),
        (["--rounds", "many", "Hi"], "argument --rounds: 'many' is no number of rounds"),
        (["--paths", "url:queued", "Hi"], "argument --paths: url:queued: the path url has no queued delivery"),
        (["Why", "is", "it", "blue?"], "unrecognized arguments: is it blue? (quote the prompt)"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        run(*arguments)
    assert raised.value.code == 2
    assert told in capsys.readouterr().err
    assert stack.users == []


def test_a_refused_sign_in_is_told_once(run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.refuse_sign_in = True
    assert run("Hi") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tokenstream: The user name or the password is wrong.")
    assert stack.calls == []


def test_a_terminal_shows_the_race_and_is_left_with_the_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("--rounds", "2", "Hi") == 0
    assert "round 1 of 2" in terminal.getvalue()
    assert terminal.screen[0].startswith("path")
    assert terminal.screen[1].endswith("kept   2x end_turn")


def interrupt_when(condition: Callable[[], bool]) -> threading.Thread:
    """Send this process a SIGINT as soon as something is true."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupt() -> None:
        eventually(condition)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_ctrl_c_while_connecting_asks_nothing_and_says_so(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.ignore_preflights = True
    thread = interrupt_when(lambda: bool(stack.preflights))
    assert run("--paths", "url,websocket", "Hi") == 130
    thread.join()
    assert capsys.readouterr().out.count("not started") == 2
    assert stack.calls == []


def test_answers_that_go_on_after_ctrl_c_are_left_after_a_while(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.import_module("tokenstream_client.command.race"), "GRACE", 0.1)
    stack.hold_at, stack.ignore_cancel = 2, True
    thread = interrupt_when(lambda: stack.held == 6)
    assert run("--json", "--rounds", "2", "Hi") == 130
    thread.join()
    told = contestants(capsys)
    assert [[round_["outcome"] for round_ in one["rounds"]] for one in told] == [["unfinished"]] * 6
    assert all(one["medians"]["firstTokenMs"] is not None for one in told)
    assert stack.asked().count("cancel") == 6
