"""The running local stack towards whoever is at this machine: its user, a web page, a second start."""

import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.local.stack_process import RunningStack, StackProcess, descendants, eventually, listening_addresses
from tokenstream_client.command.arguments import ChatOptions, parse_arguments
from tokenstream_client.endpoints import Endpoints


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
    body = {"prompt": "confidential [[ttft=classified]]"}
    httpx.post(stack.function_url, headers=stack.headers(), json=body, timeout=30)
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


def test_a_second_start_says_what_is_in_the_way_and_leaves_the_first_alone(stack: RunningStack) -> None:
    endpoints = stack.checkout / ".local" / "endpoints.json"
    before = endpoints.read_bytes()
    second = StackProcess(stack.checkout)
    try:
        assert second.process.wait(30) == 1
    finally:
        second.close()
    assert f"process {stack.process.process.pid}" in second.output
    assert endpoints.read_bytes() == before
    assert httpx.get(f"{stack.edge_url}/_control/health").status_code == 200
