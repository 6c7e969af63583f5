"""`python -m local` as a process: what stands in its way, reloading, and that nothing is left of it."""

import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.local.stack_process import (
    RunningStack,
    StackProcess,
    alive,
    copy_checkout,
    descendants,
    eventually,
    listening_addresses,
)
from tokenstream_client.command.arguments import ChatOptions, parse_arguments
from tokenstream_client.endpoints import Endpoints

Start = Callable[..., StackProcess]


@pytest.fixture(scope="module")
def checkout(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of its own, with what the session's stack has built."""
    copy = copy_checkout(tmp_path_factory.mktemp("process"))
    shutil.rmtree(copy / ".local", ignore_errors=True)
    shutil.copytree(stack.checkout / ".local" / "sam", copy / ".local" / "sam")
    return copy


@pytest.fixture
def start(checkout: Path) -> Iterator[Start]:
    started: list[StackProcess] = []

    def start_in(*options: str, where: Path = checkout) -> StackProcess:
        started.append(StackProcess(where, *options))
        return started[-1]

    yield start_in
    for process in started:
        process.close()


def _stream(stack: RunningStack, prompt: str = "Hello [[tokens=2000]]") -> Iterator[bytes]:
    body = {"prompt": prompt}
    with httpx.stream("POST", stack.function_url, headers=stack.headers(), json=body, timeout=30) as response:
        yield from response.iter_raw()


def test_no_other_machine_can_reach_the_stack(stack: RunningStack) -> None:
    pid = stack.process.process.pid
    assert listening_addresses({pid, *descendants(pid)}) == {"0100007F"}, "127.0.0.1 and nothing else"


@pytest.mark.parametrize(
    "server", ["awsEndpointUrl", "bedrockUrl", "functionUrl", "restUrl", "websocketUrl", "graphqlUrl"]
)
def test_a_web_page_cannot_reach_the_stack_by_dns_rebinding(stack: RunningStack, server: str) -> None:
    address = stack.endpoints[server].replace("ws:", "http:")
    assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.get(address, headers={"Host": "localhost"}).status_code != 403


def test_a_web_page_cannot_run_code_through_the_emulator(stack: RunningStack) -> None:
    functions = f"{stack.endpoints['awsEndpointUrl']}/2015-03-31/functions/"
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(functions, headers=preflight).status_code == 403
    assert httpx.post(functions, headers={"Origin": "https://evil.example"}, json={}).status_code == 403
    assert httpx.options(functions, headers={**preflight, "Origin": "http://127.0.0.1:5173"}).status_code < 300


def test_what_a_user_needs_stands_above_the_line_that_says_ready(stack: RunningStack) -> None:
    lines = stack.process.output.splitlines()
    [end] = [number for number, line in enumerate(lines) if line.startswith("ready")]
    assert dict(line.split(maxsplit=1) for line in lines[end - 7 : end]) == {
        "url": stack.function_url,
        "rest": stack.rest_url,
        "websocket": stack.websocket_url,
        "graphql": stack.graphql_url,
        "user": stack.endpoints["username"],
        "password": stack.endpoints["password"],
        "try": '.venv/bin/tokenstream chat "Hello"',
    }


def test_a_bad_mark_is_explained_on_the_terminal_and_the_prompt_is_not_shown(stack: RunningStack) -> None:
    b"".join(_stream(stack, "confidential [[ttft=classified]]"))
    eventually(lambda: "model: rejected a request: mark 'ttft' can't have this value\n" in stack.process.output)
    assert "confidential" not in stack.process.output
    assert "classified" not in stack.process.output


def test_the_client_takes_the_command_that_the_endpoints_of_a_deployed_stack_suggest(
    stack: RunningStack, tmp_path: Path
) -> None:
    file = tmp_path / "deployed endpoints.json"
    result = subprocess.run(  # noqa: S603 this project itself
        [sys.executable, "-m", "local.deployed_endpoints", stack.endpoints["stackName"], file],
        env={
            "AWS_ENDPOINT_URL": stack.endpoints["awsEndpointUrl"],
            "AWS_REGION": stack.endpoints["region"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        },
        cwd=stack.checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    program, *arguments = shlex.split(result.stdout.splitlines()[-1])
    assert program == ".venv/bin/tokenstream"
    options = parse_arguments(arguments)
    assert isinstance(options, ChatOptions)
    assert options.endpoints == file
    assert Endpoints.load(file).user_pool_id == stack.endpoints["userPoolId"]


def test_sigterm_in_mid_stream_leaves_no_process_and_no_endpoints(start: Start) -> None:
    process = start()
    stack = process.wait_until_ready()
    chunks = _stream(stack)
    next(chunks)
    below = descendants(process.process.pid)
    assert len(below) >= 3, "MiniStack, its tether, a worker"
    assert process.end() == 0
    assert not any(map(alive, below))
    assert not (process.checkout / ".local" / "endpoints.json").exists()
    assert not (process.checkout / ".local" / "tmp" / "ministack").exists()
    with pytest.raises(httpx.HTTPError):
        list(chunks)
    assert "Traceback" not in process.output


def test_after_a_kill_nothing_goes_on_and_the_next_start_recovers(start: Start) -> None:
    process = start()
    chunks = _stream(process.wait_until_ready())
    next(chunks)
    below = descendants(process.process.pid)
    process.end(signal.SIGKILL)
    chunks.close()  # type: ignore[attr-defined]  # a generator
    eventually(lambda: not any(map(alive, below)))
    start().wait_until_ready()


def test_ctrl_c_while_it_starts_ends_it(start: Start) -> None:
    process = start()
    eventually(lambda: "deploying" in process.output, 60)
    below = descendants(process.process.pid)
    assert process.end(signal.SIGINT) == 0
    assert not any(map(alive, below))
    assert "Traceback" not in process.output


def test_a_second_start_says_what_is_in_the_way_and_leaves_the_first_alone(stack: RunningStack, start: Start) -> None:
    endpoints = stack.checkout / ".local" / "endpoints.json"
    before = endpoints.read_bytes()
    second = start(where=stack.checkout)
    assert second.process.wait(30) == 1
    assert f"process {stack.process.process.pid}" in second.output
    assert endpoints.read_bytes() == before
    assert httpx.get(f"{stack.edge_url}/_control/health").status_code == 200


@pytest.mark.parametrize("option", ["--port", "--websocket-port", "--bedrock-port", "--ministack-port"])
def test_a_port_in_use_is_named_before_anything_starts(start: Start, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = occupant.getsockname()[1]
        process = start(option, str(port))
        assert process.process.wait(30) == 1
    assert f"{option} {port}" in process.output
    assert "starting" not in process.output


def test_a_template_that_cannot_be_deployed_shows_what_sam_says(
    stack: RunningStack, tmp_path: Path, start: Start
) -> None:
    broken = copy_checkout(tmp_path / "broken")
    template = broken / "template.yaml"
    template.write_text(template.read_text().replace("Type: AWS::DynamoDB::Table", "Type: AWS::DynamoDB::Tabel"))
    shutil.rmtree(broken / ".local", ignore_errors=True)
    shutil.copytree(stack.checkout / ".local" / "sam", broken / ".local" / "sam")
    process = start(where=broken)
    below: set[int] = set()

    def ended() -> bool:
        below.update(descendants(process.process.pid))
        return process.process.poll() is not None

    eventually(ended, 90)
    assert process.process.returncode == 1
    assert "sam deploy failed" in process.output
    assert "AWS::DynamoDB::Tabel" in process.output
    assert "\x1b" not in process.output
    assert not any(map(alive, below))


def test_an_edit_counts_with_the_next_request_and_a_mistake_keeps_what_ran(start: Start) -> None:
    process = start("--ttft", "0.01", "--rate", "1000", "--tokens", "5")
    stack = process.wait_until_ready()
    app = process.checkout / "functions" / "http_stream" / "app.py"
    layer = process.checkout / "layers" / "tokenstream" / "tokenstream" / "errors.py"
    before = app.read_text()

    def version() -> str | None:
        value: str | None = httpx.options(stack.rest_url).headers.get("X-Version")
        return value

    def edited(text: str) -> str:
        return f"{before}\n\n_first = handler\n\n\ndef handler(event, context):\n{text}"

    answer = '    return {"statusCode": 204, "headers": {"X-Version": "%s"}}\n'
    assert version() is None
    app.write_text(edited(answer % "one"))
    eventually(lambda: version() == "one")
    app.write_text(edited("    return {\n"))
    eventually(lambda: "not deployed" in process.output)
    assert version() == "one"
    layer.write_text(layer.read_text() + '\nVERSION = "two"\n')
    app.write_text(edited("    from tokenstream.errors import VERSION\n\n" + answer.replace('"%s"', "VERSION")))
    eventually(lambda: version() == "two")
    template = process.checkout / "template.yaml"
    template.write_text(template.read_text() + "# edited\n")
    eventually(lambda: "template.yaml changed" in process.output)
    app.write_text(before)
    eventually(lambda: version() is None)


def test_an_edit_of_a_websocket_function_counts_with_the_next_message_of_an_open_connection(start: Start) -> None:
    process = start()
    stack = process.wait_until_ready()
    app = process.checkout / "functions" / "ws_message" / "app.py"
    before = app.read_text()

    with connect(f"{stack.websocket_url}?token={stack.token}", proxy=None) as client:

        def answer() -> dict[str, str]:
            client.send('{"action": "ping"}')
            answered: dict[str, str] = json.loads(client.recv(60))
            return answered

        assert answer() == {"type": "pong"}
        app.write_text(f"{before}\n\ndef handler(event, context):\n    raise ValueError('edited')\n")
        # Asked too often, the function refuses for a while: so what is waited for first is the deployment.
        eventually(lambda: "deployed anew: functions/ws_message/app.py changed" in process.output)
        eventually(lambda: answer().get("message") == "Internal server error")
        deployed = process.output.count("deployed anew")
        app.write_text(before)
        eventually(lambda: process.output.count("deployed anew") > deployed)
        eventually(lambda: answer() == {"type": "pong"})
