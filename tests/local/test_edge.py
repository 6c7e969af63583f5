"""The edge of a running stack: the deployed template's own routes, authorizer and gateway responses."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.local.stack_process import RunningStack, collect, eventually

PATHS = ("url", "rest")
EVENTS = Path(__file__).parents[2] / "events" / "ws_message"


@pytest.mark.parametrize("path", PATHS)
async def test_frames_arrive_while_the_model_is_still_generating(stack: RunningStack, path: str) -> None:
    arrivals: list[float] = []
    frames: list[dict[str, object]] = []
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("POST", stack.url(path), headers=stack.headers(), json={"prompt": "Hello [[rate=30]]"}) as response,
    ):
        assert response.status_code == 200
        async for line in response.aiter_lines():
            arrivals.append(time.monotonic())
            frames.append(json.loads(line))
    assert frames[-1]["type"] == "complete"
    # 60 tokens at 30 a second: in one lump they would arrive at once.
    assert arrivals[-1] - arrivals[0] > 0.3
    assert len({round(arrival, 2) for arrival in arrivals}) > 5


@pytest.mark.parametrize("path", PATHS)
async def test_twenty_streams_at_once_are_each_exact(stack: RunningStack, path: str) -> None:
    prompts = [f"stream number {number}" for number in range(20)]
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http:

        async def answer(prompt: str) -> str:
            body = {"prompt": prompt}
            response = await http.post(stack.url(path), headers=stack.headers("text/plain"), json=body)
            assert response.status_code == 200
            return response.text

        together = await asyncio.gather(*map(answer, prompts))
        assert [await answer(prompt) for prompt in prompts[:3]] == together[:3]
    assert len(set(together)) == len(prompts)
    assert all(len(text) > 100 for text in together)


@pytest.mark.parametrize("token", ["", "x.y.z"])
def test_rest_refuses_an_unverified_token_in_the_templates_words(stack: RunningStack, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = httpx.post(stack.rest_url, headers=headers, json={"prompt": "Hello"})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthorized"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_rest_answers_an_unknown_path_without_running_the_function(stack: RunningStack) -> None:
    response = httpx.get(f"{stack.rest_url}/no/such/path", headers=stack.headers())
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert httpx.get(f"{stack.edge_url}/rest/nostage/").status_code == 403


def test_the_functions_own_errors_reach_the_client_with_their_status(stack: RunningStack) -> None:
    for path in PATHS:
        response = httpx.post(stack.url(path), headers=stack.headers(), json={"prompt": ""})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_request"


def test_a_body_over_the_fronts_limit_is_refused(stack: RunningStack) -> None:
    too_large = b" " * (10 * 1024 * 1024 + 1)
    rest = httpx.post(stack.rest_url, headers=stack.headers(), content=too_large)
    assert (rest.status_code, rest.json()["error"]["code"]) == (413, "too_large")
    assert httpx.post(stack.function_url, headers=stack.headers(), content=too_large).status_code == 413


@pytest.mark.parametrize("path", PATHS)
def test_a_browsers_preflight_is_answered(stack: RunningStack, path: str) -> None:
    preflight = {"Origin": "https://chat.example.com", "Access-Control-Request-Method": "POST"}
    response = httpx.request("OPTIONS", stack.url(path), headers=preflight)
    assert response.is_success
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("path", PATHS)
def test_a_response_names_its_cors_headers_once(stack: RunningStack, path: str) -> None:
    headers = {**stack.headers(), "Origin": "https://chat.example.com"}
    response = httpx.post(stack.url(path), headers=headers, json={"prompt": "Hello"}, timeout=30)
    assert response.headers.get_list("Access-Control-Allow-Origin") == ["*"]
    assert "x-session-id" in response.headers["Access-Control-Expose-Headers"].lower()


def _chunks(stack: RunningStack, path: str) -> Iterator[bytes]:
    body = {"prompt": "Hello"}
    with httpx.stream("POST", stack.url(path), headers=stack.headers(), json=body, timeout=30) as response:
        yield from response.iter_raw()


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_cut_after_some_bytes_ends_incomplete_and_the_function_goes_on(
    stack: RunningStack, path: str
) -> None:
    httpx.delete(f"{stack.bedrock_url}/_streams").raise_for_status()
    assert stack.cut(path, after_bytes=150) == 0
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        collect(_chunks(stack, path), received)
    assert len(received) == 150

    def ended() -> bool:
        streams = httpx.get(f"{stack.bedrock_url}/_streams").raise_for_status().json()["streams"]
        return bool(streams) and all(stream["ended"] for stream in streams)

    eventually(ended)


@pytest.mark.parametrize("path", PATHS)
def test_current_connections_can_be_cut_at_once(stack: RunningStack, path: str) -> None:
    chunks = _chunks(stack, path)
    next(chunks)
    assert stack.cut(path) == 1
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        list(chunks)
    eventually(lambda: stack.streaming(path) == 0)


def test_neither_tokens_nor_prompts_are_shown_or_logged(stack: RunningStack) -> None:
    prompt = "a prompt that nobody may read"
    httpx.post(stack.function_url, headers=stack.headers(), json={"prompt": prompt}, timeout=30)
    eventually(lambda: "POST /url 200" in stack.process.output)
    seen = stack.process.output + "".join(
        path.read_text() for path in (stack.checkout / ".local" / "logs").glob("http_stream.log")
    )
    assert "stream ended" in seen
    assert prompt not in seen
    assert stack.token not in seen


def test_no_log_has_what_is_said_over_a_websocket_or_the_token_that_opened_it(stack: RunningStack) -> None:
    prompt = "a prompt that nobody may read over a socket"
    address = f"{stack.websocket_url}?token={stack.token}"
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{address}x", proxy=None)
    with connect(address, subprotocols=[Subprotocol("tokenstream"), Subprotocol(stack.token)], proxy=None) as client:
        client.send(json.dumps({"action": "stream", "prompt": prompt}))
        while json.loads(client.recv(60))["type"] != "complete":
            pass
    eventually(lambda: "WEBSOCKET /dev 1000 1 in " in stack.process.output)
    logs = {path.name: path.read_text() for path in (stack.checkout / ".local" / "logs").glob("*.log")}
    assert {"ministack.log", "ws_authorize.log", "ws_connection.log", "ws_stream.log"} <= logs.keys()
    for seen in (stack.process.output, *logs.values()):
        assert prompt not in seen
        assert stack.token not in seen


def test_open_websockets_are_counted_and_a_cut_one_is_told_to_its_function(stack: RunningStack) -> None:
    eventually(lambda: stack.streaming("websocket") == 0)
    with connect(f"{stack.websocket_url}?token={stack.token}", proxy=None) as client:
        assert stack.streaming("websocket") == 1
        assert stack.cut("websocket", after_messages=1) == 0
        client.send('{"action": "ping"}')
        assert json.loads(client.recv(60)) == {"type": "pong"}
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(60)
    assert closed.value.rcvd is None
    eventually(lambda: stack.streaming("websocket") == 0)
    eventually(lambda: "connection closed" in stack.process.output and "close_code=1006" in stack.process.output)


def test_the_endpoints_file_is_for_its_owner_only(stack: RunningStack) -> None:
    assert (stack.checkout / ".local" / "endpoints.json").stat().st_mode & 0o777 == 0o600


def test_a_sample_event_reaches_an_open_connection_of_the_running_stack(stack: RunningStack) -> None:
    def invoke(event: str, *options: str) -> None:
        result = subprocess.run(  # noqa: S603 this project itself
            [sys.executable, "-m", "local.invoke", "--engine", "emulator", "ws_message", EVENTS / event, *options],
            cwd=stack.checkout,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(result.stdout) == {"statusCode": 200}

    log = stack.checkout / ".local" / "logs" / "ws_connection.log"
    before = set(log.read_text().splitlines()) if log.exists() else set()
    with connect(f"{stack.websocket_url}?token={stack.token}", proxy=None) as client:
        [line] = [line for line in log.read_text().splitlines() if line not in before and "connection opened" in line]
        connection = ("--connection", json.loads(line)["connection_id"])
        invoke("ping.json", *connection)
        assert json.loads(client.recv(60)) == {"type": "pong", "requestId": "4"}
        client.send(json.dumps({"action": "stream", "prompt": "Hello [[tokens=1]]"}))
        while (frame := json.loads(client.recv(60)))["type"] != "complete":
            pass
        # The sample's user is the stack's own here, and so the session's owner.
        invoke("cancel.json", *connection, "--session", frame["sessionId"])
        assert json.loads(client.recv(60))["type"] == "accepted"
