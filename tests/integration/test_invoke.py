"""`make invoke`: one function with one event, without a container engine."""

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
import yaml

from local.checkout import Checkout, this_checkout
from local.errors import StackError
from local.functions.config import FunctionConfig
from local.invoke import emulator
from local.invoke.event import put_connection, put_session, shortcomings
from local.invoke.function import BuiltFunction
from local.invoke.response import FunctionResponse
from tests.streaming_layer import link_layer

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "events"
EVENTS = SAMPLES / "http_stream"

COMMAND = [sys.executable, "-m", "local.invoke", "--engine", "emulator"]

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"},
    reason="AWS publishes the Runtime Interface Emulator for Linux on x86_64 and arm64 only",
)


Invoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def invoke(built: Path) -> Invoke:
    def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - this interpreter
            [*COMMAND, *arguments],
            cwd=built,
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    return run_command


@pytest.fixture(scope="module")
def bad_token(invoke: Invoke) -> subprocess.CompletedProcess[str]:
    return invoke("http_stream", EVENTS / "bad_token.json")


@pytest.fixture(scope="module")
def bad_body(invoke: Invoke) -> subprocess.CompletedProcess[str]:
    return invoke("http_stream", EVENTS / "bad_body.json")


def commands_with(marker: Path) -> list[str]:
    """The command lines of running programs that name this path."""
    running = []
    for process in (path for path in Path("/proc").iterdir() if path.name.isdecimal()):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(marker) in line:
            running.append(line)
    return running


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@on_linux
def test_a_bad_token_is_turned_down_as_it_would_be_on_aws(bad_token: subprocess.CompletedProcess[str]) -> None:
    assert bad_token.returncode == 0, bad_token.stderr
    head, _, body = bad_token.stdout.partition("\n\n")
    assert head.splitlines()[0] == "HTTP 401 Unauthorized"
    assert json.loads(body)["error"]["code"] == "unauthorized"


@on_linux
def test_a_bad_body_is_turned_down_behind_the_authorizer(bad_body: subprocess.CompletedProcess[str]) -> None:
    assert bad_body.returncode == 0, bad_body.stderr
    assert bad_body.stdout.startswith("HTTP 400 Bad Request\n")
    assert json.loads(bad_body.stdout.partition("\n\n")[2])["error"]["code"] == "invalid_request"


@on_linux
def test_the_functions_log_is_seen_and_keeps_out_of_the_response(bad_body: subprocess.CompletedProcess[str]) -> None:
    assert '"message":"call rejected"' in bad_body.stderr
    assert "call rejected" not in bad_body.stdout


@on_linux
def test_the_emulators_own_log_is_left_out_unless_asked_for(
    invoke: Invoke, bad_token: subprocess.CompletedProcess[str]
) -> None:
    assert "(rapid)" not in bad_token.stderr
    assert "(rapid)" in invoke("http_stream", EVENTS / "bad_token.json", "--verbose").stderr


def run(tmp_path: Path, source: str, timeout: float = 30) -> FunctionResponse:
    """Invoke a function with this source."""
    code = tmp_path / "code"
    code.mkdir(exist_ok=True)
    (code / "app.py").write_text(source)
    config = FunctionConfig(
        name="function",
        handler="app.handler",
        code=code,
        layer=link_layer(tmp_path / "layer"),
        environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/streaming-bootstrap"},
        timeout=timeout,
    )
    return asyncio.run(emulator.invoke(config, b"{}", Checkout(ROOT)))


@on_linux
def test_a_function_that_fails_is_told_from_one_that_answers(tmp_path: Path) -> None:
    response = run(tmp_path, "def handler(event, context):\n    raise LookupError('nothing there')\n")
    assert response.failed
    assert json.loads(response.payload)["errorType"] == "LookupError"


@on_linux
def test_a_function_that_cannot_start_has_failed(tmp_path: Path) -> None:
    response = run(tmp_path, "import no_such_module\n")
    assert response.failed
    assert b"no_such_module" in response.payload


@on_linux
def test_running_leaves_no_bytecode_beside_the_sources(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "imported.py").touch()
    assert not run(tmp_path, "import imported\n\ndef handler(event, context):\n    return 1\n").failed
    assert not list((tmp_path / "code").rglob("__pycache__"))


@on_linux
def test_a_function_that_never_answers_is_ended_by_its_timeout(tmp_path: Path) -> None:
    response = run(tmp_path, "import time\n\ndef handler(event, context):\n    time.sleep(600)\n", timeout=1)
    assert response.failed


@on_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on_when_it_is_ended(built: Path, tmp_path: Path, number: signal.Signals) -> None:
    # The function's processes are started from a folder in here.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(  # noqa: S603 - this interpreter
        [*COMMAND, "http_stream", EVENTS / "bad_token.json"],
        cwd=built,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        wait_until(lambda: bool(commands_with(tmp_path)))
        running.send_signal(number)
    wait_until(lambda: not commands_with(tmp_path))


@pytest.mark.parametrize(
    ("function", "event", "message"),
    [
        ("no_such_function", EVENTS / "bad_token.json", "There is: appsync_process, appsync_start"),
        ("http_stream", EVENTS / "no_such_event.json", "can't be read"),
        ("http_stream", ROOT / "Makefile", "is not JSON"),
    ],
)
def test_what_there_is_not_is_said(invoke: Invoke, function: str, event: Path, message: str) -> None:
    result = invoke(function, event)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stdout == ""


SESSION = UUID("0b8ff1c2-4a51-4d0c-9b8d-6f5a4e3d2c1b")


@pytest.mark.parametrize("name", ["resume", "cancel"])
def test_a_session_of_the_users_takes_the_place_of_the_samples(name: str) -> None:
    event = (EVENTS / f"{name}.json").read_text()
    path = f"/sessions/{SESSION}"
    filled = json.loads(put_session(event, SESSION))
    context = filled["requestContext"]
    if name == "resume":
        assert (filled["rawPath"], context["http"]["path"]) == (path, path)
    else:
        assert (filled["path"], filled["pathParameters"]["id"], context["path"]) == (path, str(SESSION), f"/dev{path}")
    assert filled.get("resource") in {None, "/sessions/{id}"}


def test_a_session_for_an_event_without_one_is_refused(invoke: Invoke) -> None:
    result = invoke("http_stream", EVENTS / "bad_body.json", "--session", str(SESSION))
    assert result.returncode == 1
    assert "names no session" in result.stderr


@pytest.mark.parametrize(
    "name", ["ws_message/cancel", "ws_message/resume", "ws_stream/replay", "recovery_start/timed_out"]
)
def test_a_session_takes_the_place_of_the_one_in_a_message_or_a_payload(name: str) -> None:
    event = (SAMPLES / f"{name}.json").read_text()
    assert str(SESSION) not in event
    filled = json.loads(put_session(event, SESSION))
    message = json.loads(filled["body"]) if "body" in filled else filled.get("requestPayload", filled)
    assert message["sessionId"] == str(SESSION)
    assert json.dumps(filled).count("sessionId") == json.dumps(filled).count(str(SESSION))


@pytest.mark.parametrize("name", ["ws_message/ping", "ws_stream/replay"])
def test_an_open_connection_takes_the_place_of_the_samples(name: str) -> None:
    filled = json.loads(put_connection((SAMPLES / f"{name}.json").read_text(), "open="))
    assert filled.get("requestContext", filled)["connectionId"] == "open="


def test_a_connection_for_an_event_without_one_is_refused() -> None:
    with pytest.raises(StackError, match="names no connection"):
        put_connection((EVENTS / "bad_body.json").read_text(), "open=")


@pytest.mark.parametrize(
    ("name", "connection", "said"),
    [
        ("ws_message/ping", None, True),
        ("ws_stream/replay", None, True),
        ("ws_message/ping", "open=", False),
        ("ws_connection/connect", None, False),
        ("ws_authorize/no_token", None, False),
        ("ws_stream/stream", None, False),
    ],
)
def test_that_an_answer_goes_to_a_connection_which_is_not_there_is_said(
    name: str, connection: str | None, *, said: bool
) -> None:
    event = (SAMPLES / f"{name}.json").read_text()
    notes = list(shortcomings(event, {"username": "demo@example.com"}, SESSION, connection))
    assert any("--connection ID" in note for note in notes) == said


@on_linux
def test_a_function_that_streams_no_response_shows_what_it_returns(invoke: Invoke) -> None:
    result = invoke("ws_authorize", SAMPLES / "ws_authorize" / "bad_token.json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["policyDocument"]["Statement"][0]["Effect"] == "Deny"


def test_why_a_sample_is_turned_down_is_said_beforehand() -> None:
    new_prompt, resume = ((EVENTS / f"{name}.json").read_text() for name in ("new_prompt_url", "resume"))
    stack = {"username": "demo@example.com"}
    [without_stack] = shortcomings(new_prompt, None, None)
    assert "the sample's token can't be valid; start `make run`" in without_stack
    [without_session] = shortcomings(resume, stack, None)
    assert "one of demo@example.com's; --session ID" in without_session
    assert not list(shortcomings(new_prompt, stack, None))
    assert not list(shortcomings(resume, stack, SESSION))


def test_a_streamed_response_shows_status_headers_cookies_and_body() -> None:
    prelude = {"statusCode": 201, "headers": {"content-type": "text/plain"}, "cookies": ["a=1"]}
    response = FunctionResponse(json.dumps(prelude).encode() + bytes(8) + b"body\n")
    assert response.render() == b"HTTP 201 Created\ncontent-type: text/plain\nset-cookie: a=1\n\nbody\n"
    assert not response.failed


def test_a_response_that_is_no_http_is_shown_as_it_is() -> None:
    assert FunctionResponse(b'{"a": 1}').render() == b'{"a": 1}\n'


def test_an_http_response_that_speaks_of_an_error_type_is_no_function_error() -> None:
    body = json.dumps({"errorType": "x"}).encode()
    assert not FunctionResponse(b'{"statusCode": 200, "headers": {}}' + bytes(8) + body).failed
    assert FunctionResponse(body).failed


@pytest.mark.parametrize("event", sorted(SAMPLES.glob("*/*.json")), ids=lambda path: path.stem)
def test_no_sample_event_holds_a_real_token(event: Path) -> None:
    assert "eyJ" not in event.read_text()


def template_with_a_function(tmp_path: Path) -> BuiltFunction:
    template = tmp_path / "template.yaml"
    function = {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "hello", "Handler": "app.handler"}}
    layer = {"Type": "AWS::Serverless::LayerVersion", "Properties": {"ContentUri": "layer"}}
    document = {
        "Parameters": {},
        "Globals": {"Function": {"Environment": {"Variables": {"SHARED": "1"}}}},
        "Resources": {"HelloFunction": function, "TokenstreamLayer": layer},
    }
    template.write_text(yaml.safe_dump(document))
    return BuiltFunction(template, "HelloFunction")


def test_a_function_that_names_only_its_code_gets_sams_defaults(tmp_path: Path) -> None:
    hello = template_with_a_function(tmp_path)
    assert hello.default_environment()["SHARED"] == "1"
    config = hello.configuration(this_checkout(), {})
    assert (config.code, config.timeout, config.memory) == (tmp_path / "hello", 3, 128)


def test_without_a_stack_no_call_leaves_this_machine(tmp_path: Path) -> None:
    environment = template_with_a_function(tmp_path).default_environment()
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"):
        assert environment[name] == "http://127.0.0.1:9"
