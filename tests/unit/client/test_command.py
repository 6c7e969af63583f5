"""The command, run in this process against a stack that fails as told."""

import io
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.client.fake_stack import (
    TOKEN,
    FakeStack,
    answer,
    close,
    cut_after,
    error,
    numbered,
    reject,
    running,
    start,
    token,
    write_endpoints,
)
from tokenstream_client.command import main, turn
from tokenstream_client.endpoints import PATHS, Endpoints, PathName

Run = Callable[..., int]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stack() -> FakeStack:
    return FakeStack()


@pytest.fixture
def endpoints(stack: FakeStack) -> Iterator[Endpoints]:
    with running(stack) as endpoints:
        yield endpoints


@pytest.fixture
def file(endpoints: Endpoints, tmp_path: Path) -> Path:
    file = tmp_path / "endpoints.json"
    write_endpoints(endpoints, file)
    return file


@pytest.fixture
def run(file: Path, path: PathName) -> Run:
    return lambda *arguments: main(["chat", "--endpoints", str(file), "--path", path, *arguments])


def lines(monkeypatch: pytest.MonkeyPatch, text: str, *, terminal: bool = False) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(text) if terminal else io.StringIO(text))


def test_the_answers_text_and_nothing_else_goes_to_stdout(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("Hi") == 0
    assert capsys.readouterr() == ("Hello world", "")


def test_verbose_tells_on_stderr_how_the_answer_ended(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--verbose", "Hi") == 0
    assert capsys.readouterr() == ("Hello world", "end_turn · 3 tokens in, 5 out · first token 210 ms · 1.9 s\n")


def test_json_prints_every_frame_as_it_arrived_with_its_time(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.frames[1]["weight"] = 0.5
    assert run("--json", "Hi") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    times = [frame.pop("receivedAtMs") for frame in printed]
    assert printed == [{**frame, "sessionId": printed[0]["sessionId"]} for frame in stack.frames]
    assert times == sorted(times)


@pytest.mark.parametrize("name", PATHS)
def test_every_path_is_taken_at_its_own_address(file: Path, stack: FakeStack, name: PathName) -> None:
    assert main(["chat", "--endpoints", str(file), "--path", name, "Hi"]) == 0
    assert stack.calls[0].address == {"url": "/", "rest": "/dev", "websocket": "/dev", "appsync": "/graphql"}[name]


@pytest.mark.parametrize(
    ("name", "key"),
    [("websocket", "websocketUrl"), ("appsync", "graphqlUrl"), ("appsync", "graphqlRealtimeUrl")],
)
def test_a_path_that_the_stack_does_not_have_is_told_by_the_key_that_its_file_lacks(
    file: Path, capsys: pytest.CaptureFixture[str], name: str, key: str
) -> None:
    values = json.loads(file.read_text())
    del values[key]
    file.write_text(json.dumps(values))
    assert main(["chat", "--endpoints", str(file), "--path", name, "Hi"]) == 1
    assert f"`{key}` is missing" in capsys.readouterr().err


def test_every_option_reaches_the_stack(run: Run, stack: FakeStack) -> None:
    arguments = ["--system", "Be brief.", "--model", "m", "--max-tokens", "5", "--temperature", "0.5"]
    assert run(*arguments, "Hi") == 0
    question = stack.questions()[0]
    del question["sessionId"]
    assert question == {
        "prompt": "Hi",
        "system": "Be brief.",
        "model": "m",
        "options": {"maxTokens": 5, "temperature": 0.5},
    }


def test_the_delivery_is_asked_for_only_if_it_is_given(
    file: Path, stack: FakeStack, capsys: pytest.CaptureFixture[str], queued_path: PathName
) -> None:
    chat = ["chat", "--endpoints", str(file), "--path", queued_path, "--json"]
    assert main([*chat, "--delivery", "queued", "Hi"]) == 0
    assert '"delivery": "queued"' in capsys.readouterr().out
    assert main([*chat, "Hi"]) == 0
    assert [question.get("delivery") for question in stack.questions()] == ["queued", None]


@pytest.mark.parametrize("name", ["url", "rest"])
def test_a_path_without_the_queued_way_is_wrong_usage_that_names_those_with_it(
    file: Path, stack: FakeStack, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["chat", "--endpoints", str(file), "--path", name, "--delivery", "queued", "Hi"])
    assert raised.value.code == 2
    told = f"argument --delivery: the path {name} has no queued delivery; websocket and appsync have it\n"
    assert capsys.readouterr().err.endswith(told)
    assert stack.users == []


def test_a_dash_reads_the_prompt_from_stdin(run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(monkeypatch, "two\nlines\n")
    assert run("-") == 0
    assert stack.questions()[0]["prompt"] == "two\nlines\n"


def test_a_broken_connection_does_not_show(run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.faults.extend([close, cut_after(250)])
    assert run("Hi") == 0
    assert capsys.readouterr() == ("Hello world", "")


def test_an_answer_that_begins_anew_says_so(run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    again = answer("anew")
    stack.frames = [*numbered(start(), token("given up")), *({**frame, "attempt": 2} for frame in again)]
    assert run("Hi") == 0
    assert capsys.readouterr() == ("given up\nanew", "tokenstream: the answer begins anew.\n")


def test_an_error_frame_fails_the_command_and_says_what_to_do(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.frames = numbered(start(), token("so far"), error("model_error", "The model broke off."))
    assert run("Hi") == 1
    assert capsys.readouterr() == ("so far", "tokenstream: The model broke off. Try again.\n")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (reject(429, "throttled", "The model is busy."), "The model is busy. Try again."),
        (
            reject(400, "invalid_request", "It is over the cap.", field="options.maxTokens"),
            ": --max-tokens: It is over the cap.\n",
        ),
        (reject(400, "invalid_request", "One of: a, b.", field="model"), "tokenstream: --model: One of: a, b.\n"),
        (reject(400, "invalid_request", "One of: direct.", field="delivery"), ": --delivery: One of: direct.\n"),
        (reject(413, "too_large", "The request is too large."), "large. Shorten the prompt"),
        (reject(403, "forbidden", "Not yours."), "tokenstream: Not yours.\n"),
    ],
)
def test_a_rejection_fails_the_command_and_says_what_to_do(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str], fault: object, told: str
) -> None:
    stack.faults.append(fault)  # type: ignore[arg-type]  # parametrize knows no types
    assert run("Hi") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


def test_a_rejection_that_names_a_time_says_when_to_come_back(
    file: Path, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.faults.append(reject(429, "throttled", "The model is busy.", Retry_After="3"))
    assert main(["chat", "--endpoints", str(file), "Hi"]) == 1
    assert "The model is busy. Try again in 3 s." in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["", " \n", "-"])
def test_an_empty_prompt_is_told_and_not_sent(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prompt: str
) -> None:
    lines(monkeypatch, "")
    assert run(prompt) == 1
    assert capsys.readouterr() == ("", "tokenstream: PROMPT is empty.\n")
    assert stack.calls == []


def test_verbose_tells_once_that_a_lost_connection_is_resumed(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.faults.extend([cut_after(300), close, close])
    assert run("--verbose", "Hi") == 0
    out, err = capsys.readouterr()
    assert out == "Hello world"
    assert err.startswith("tokenstream: connection lost, resuming …\nend_turn · ")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_notice_on_the_terminal_stands_on_a_line_of_its_own(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    stack.faults.append(cut_after(300))
    assert run(*options, "Hi") == 0
    assert "tokenstream: connection lost, resuming …" in terminal.getvalue().splitlines()


def test_without_a_stack_the_user_is_told_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["chat", "Hi"]) == 1
    assert "make run" in capsys.readouterr().err


def test_a_refused_sign_in_is_told(run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.refuse_sign_in = True
    assert run("Hi") == 1
    assert "password is wrong. Check --username and TOKENSTREAM_PASSWORD" in capsys.readouterr().err
    assert stack.calls == []


def test_a_temporary_password_is_told_with_the_command_that_replaces_it(
    run: Run, stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.challenge = "NEW_PASSWORD_REQUIRED"
    assert run("Hi") == 1
    err = capsys.readouterr().err
    assert err.endswith(
        "aws cognito-idp admin-set-user-password --user-pool-id us-east-1_Pool --username alice "
        "--password … --permanent\n"
    )
    assert "TOKENSTREAM_PASSWORD" not in err


def test_another_users_password_comes_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(monkeypatch, "")
    monkeypatch.delenv("TOKENSTREAM_PASSWORD", raising=False)
    assert run("--username", "bob", "Hi") == 1
    assert capsys.readouterr().err == "tokenstream: There is no password for bob. Set TOKENSTREAM_PASSWORD.\n"
    monkeypatch.setenv("TOKENSTREAM_PASSWORD", "b")
    assert run("--username", "bob", "Hi") == 0


def test_a_password_is_asked_for_at_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    lines(monkeypatch, "", terminal=True)
    monkeypatch.delenv("TOKENSTREAM_PASSWORD", raising=False)

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return "secret"

    monkeypatch.setattr("getpass.getpass", getpass)
    assert run("--username", "bob", "Hi") == 0
    assert asked == ["Password of bob: "]


@pytest.mark.parametrize(
    "arguments",
    [[], ["chat", "--path", "pigeon", "Hi"], ["chat", "--max-tokens", "many", "Hi"], ["chat", "Hi", "--loud"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "quote the prompt" not in capsys.readouterr().err


def test_a_prompt_without_quotes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["chat", "--json", "Why", "is", "it", "blue?"])
    assert raised.value.code == 2
    assert capsys.readouterr().err.endswith("unrecognized arguments: is it blue? (quote the prompt)\n")


@pytest.mark.parametrize("command", [["chat", "Hi"], ["token"]])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_stack_and_user_may_be_named_before_the_command_or_after_it(
    stack: FakeStack, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], before: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENSTREAM_PASSWORD", "b")
    options = ["--endpoints", str(file), "--username", "bob"]
    assert main([*options, *command] if before else [*command, *options]) == 0
    assert stack.users == ["bob"]


def test_the_token_and_nothing_else_goes_to_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--endpoints", str(file)]) == 0
    assert capsys.readouterr() == (f"{TOKEN}\n", "")


def test_without_a_token_nothing_goes_to_stdout(
    stack: FakeStack, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.refuse_sign_in = True
    assert main(["token", "--endpoints", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "password is wrong" in err


def test_piped_lines_are_a_conversation(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(monkeypatch, "one\n\ntwo\n/quit\nthree\n")
    assert run() == 0
    assert capsys.readouterr().out == "Hello world\nHello world\n"
    assert [question["messages"] for question in stack.questions()] == [
        [{"role": "user", "content": "one"}],
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "Hello world"},
            {"role": "user", "content": "two"},
        ],
    ]


def test_a_failed_turn_is_no_part_of_the_conversation_but_shows_in_the_exit_code(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.frames = numbered(start(), token("so far"), error())
    lines(monkeypatch, "one\ntwo\n")
    assert run() == 1
    assert stack.questions()[1]["messages"] == [{"role": "user", "content": "two"}]


def test_a_conversation_at_a_terminal_survives_a_failed_turn(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.faults.append(reject(429, "throttled"))
    lines(monkeypatch, "one\ntwo\n", terminal=True)
    assert run() == 0
    assert len(stack.questions()) == 2


def test_only_the_last_attempt_of_an_answer_is_part_of_the_conversation(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.frames = [*numbered(start(), token("given up")), *({**frame, "attempt": 2} for frame in answer("anew"))]
    lines(monkeypatch, "one\ntwo\n")
    assert run() == 0
    assert stack.questions()[1]["messages"][1] == {"role": "assistant", "content": "anew"}


def interrupt_when(stack: FakeStack) -> threading.Thread:
    """Send this process a SIGINT as soon as the stack holds an answer back."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupt() -> None:
        assert stack.holding.wait(10)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_an_answer_that_goes_on_after_ctrl_c_is_left_after_a_while(
    run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(turn, "GRACE", 0.1)
    stack.hold_at, stack.ignore_cancel = 2, True
    thread = interrupt_when(stack)
    assert run("Hi") == 130
    thread.join()
    assert stack.asked().count("cancel") == 1
    out, err = capsys.readouterr()
    assert out == "Hello"
    assert "didn't end in time" in err


def test_a_stopped_turn_keeps_what_was_said_so_far(run: Run, stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.frames = numbered(start(), token("Hel"), {"type": "complete", "stopReason": "cancelled"})
    stack.hold_at = 2
    lines(monkeypatch, "one\ntwo\n", terminal=True)
    thread = interrupt_when(stack)
    stop_holding = stack.cancelled

    def second_turn_runs_through() -> None:
        assert stop_holding.wait(10)
        stack.hold_at = None

    watcher = threading.Thread(target=second_turn_runs_through)
    watcher.start()
    assert run() == 0
    thread.join()
    watcher.join()
    assert stack.questions()[1]["messages"][1] == {"role": "assistant", "content": "Hel"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
