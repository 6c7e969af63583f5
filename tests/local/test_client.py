"""The Python client and the command against the running local stack: the deployed template, the real function."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.stack_options import DELIVERY
from tests.local.stack_process import RunningStack, eventually
from tokenstream_client import (
    AnswerFailed,
    Client,
    Complete,
    Endpoints,
    ErrorFrame,
    Frame,
    RequestRejected,
    Start,
    SyncClient,
    Token,
)
from tokenstream_client.assembler import Assembler
from tokenstream_client.endpoints import PATHS, PathName
from tokenstream_client.frames import BEGINNING, Heartbeat, parse

COMMAND = Path(sys.executable).with_name("tokenstream")
HTTP_PATHS: tuple[PathName, ...] = ("url", "rest")
SLOW = "[[ttft=0.2 rate=20 tokens=400]] Tell me a story."


@pytest.fixture
def endpoints(stack: RunningStack) -> Endpoints:
    return Endpoints.load(stack.checkout / ".local" / "endpoints.json")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Undo what a shell does to the jobs that it starts in the background: they ignore SIGINT, children included."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def saying(text: str, *, rate: float = 200) -> str:
    return f"[[rate={rate} say={json.dumps(text)}]] Say it."


def text_of(frames: list[Frame]) -> str:
    return "".join(frame.token for frame in frames if isinstance(frame, Token))


def only_stream(stack: RunningStack) -> Any:
    (stream,) = httpx.get(f"{stack.bedrock_url}/_streams").raise_for_status().json()["streams"]
    return stream


@pytest.fixture
def nothing_streamed(stack: RunningStack) -> None:
    """The model's record is empty but for what the test asks of it."""
    httpx.delete(f"{stack.bedrock_url}/_streams").raise_for_status()


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_comes_spread_over_the_models_time_and_exact(endpoints: Endpoints, path: PathName) -> None:
    text = 'A "quoted" line\nand 🜁 é — ' * 10
    async with Client(endpoints, path=path) as client:
        frames = [frame async for frame in client.stream(prompt=saying(text, rate=50))]
    assert text_of(frames) == text
    first, last = frames[0], frames[-1]
    assert isinstance(first, Start)
    assert first.path == path
    assert isinstance(last, Complete)
    assert last.stop_reason == "end_turn"
    assert last.usage.output_tokens > 0
    tokens = [frame.received_at_ms for frame in frames if isinstance(frame, Token)]
    assert len(tokens) > 10
    # All at once they would have come within a few milliseconds.
    assert tokens[-1] - tokens[0] > 300


# On the paths that push, each stream at once is a process of its own on this machine.
@pytest.mark.parametrize(("path", "count"), [("url", 20), ("rest", 20), ("websocket", 10), ("appsync", 6)])
async def test_many_streams_at_once_are_each_exact_to_the_character(
    endpoints: Endpoints, path: PathName, count: int
) -> None:
    texts = [f"Stream {number}: " + "🜁 é\n" * number for number in range(count)]
    async with Client(endpoints, path=path) as client:
        answers = await asyncio.gather(*(client.text(prompt=saying(text)) for text in texts))
    assert answers == texts


async def test_ten_connections_of_three_streams_each_are_exact_to_the_character(
    stack: RunningStack, endpoints: Endpoints
) -> None:
    texts = [f"Stream {number}: " + "🜁 é\n" * number for number in range(30)]
    async with AsyncExitStack() as clients:
        ten = [await clients.enter_async_context(Client(endpoints, path="websocket")) for _ in range(10)]
        answers = await asyncio.gather(
            *(ten[number // 3].text(prompt=saying(text)) for number, text in enumerate(texts))
        )
        await asyncio.to_thread(eventually, lambda: stack.streaming("websocket") == 10)
    assert answers == texts
    await asyncio.to_thread(eventually, lambda: stack.streaming("websocket") == 0)


@pytest.mark.parametrize("path", HTTP_PATHS)
@pytest.mark.parametrize("after_bytes", [1, 200, 900])
async def test_a_connection_cut_midway_is_resumed_without_a_gap_or_a_repeat(
    stack: RunningStack, endpoints: Endpoints, path: PathName, after_bytes: int
) -> None:
    text = "".join(f"{number} é, " for number in range(60))
    async with Client(endpoints, path=path) as client:
        stack.cut(path, after_bytes=after_bytes)
        frames = [frame async for frame in client.stream(prompt=saying(text, rate=100))]
    assert text_of(frames) == text
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    assert {frame.attempt for frame in frames} == {1}


@pytest.mark.parametrize("path", ["websocket", "appsync"])
@pytest.mark.parametrize("after_messages", [1, 2, 3, 8])
async def test_a_connection_cut_behind_any_message_is_resumed_without_a_gap_or_a_repeat(
    stack: RunningStack, endpoints: Endpoints, path: PathName, after_messages: int
) -> None:
    texts = ["".join(f"{number} é, " for number in range(start, start + 60)) for start in (0, 100, 200)]
    async with Client(endpoints, path=path) as client:
        stack.cut(path, after_messages=after_messages)
        answers = await asyncio.gather(*(client.text(prompt=saying(text, rate=100)) for text in texts))
    assert answers == texts


@pytest.mark.parametrize("path", ["url", "websocket", "appsync"])
@pytest.mark.usefixtures("nothing_streamed")
async def test_a_connection_cut_in_the_midst_is_resumed_with_the_live_frames(
    stack: RunningStack, endpoints: Endpoints, path: PathName
) -> None:
    text = "".join(f"{number} " for number in range(100))
    frames: list[Frame] = []
    async with Client(endpoints, path=path) as client, client.stream(prompt=saying(text, rate=50)) as stream:
        async for frame in stream:
            frames.append(frame)
            if len(frames) in {3, 6}:
                await asyncio.to_thread(stack.cut, path)
    assert text_of(frames) == text
    assert only_stream(stack)["ended"] == "complete"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("nothing_streamed")
async def test_leaving_the_loop_closes_the_models_stream(
    stack: RunningStack, endpoints: Endpoints, path: PathName
) -> None:
    async with Client(endpoints, path=path) as client:
        async with client.stream(prompt=SLOW) as stream:
            async for frame in stream:
                if isinstance(frame, Token):
                    break
        left_at = time.time()
        await asyncio.to_thread(eventually, lambda: only_stream(stack)["ended"])
    record = only_stream(stack)
    assert record["ended"] == "client"
    # Without a cancel it would go on for 20 s.
    assert record["endedAt"] / 1000 - left_at < 5


@pytest.mark.parametrize("path", PATHS)
async def test_a_cancelled_answer_ends_with_a_frame_that_says_so(endpoints: Endpoints, path: PathName) -> None:
    frames: list[Frame] = []
    async with Client(endpoints, path=path) as client, client.stream(prompt=SLOW) as stream:
        async for frame in stream:
            frames.append(frame)
            if isinstance(frame, Token) and frame.sequence == 2:
                await stream.cancel()
    assert isinstance(frames[-1], Complete)
    assert frames[-1].stop_reason == "cancelled"


@pytest.mark.parametrize("path", PATHS)
async def test_bad_requests_name_code_and_field(endpoints: Endpoints, path: PathName) -> None:
    async with Client(endpoints, path=path) as client:
        with pytest.raises(RequestRejected) as raised:
            await client.text(prompt="Hi", max_tokens=-1)
        assert (raised.value.status, raised.value.code, raised.value.field) == (
            400,
            "invalid_request",
            "options.maxTokens",
        )
        with pytest.raises(RequestRejected) as raised:
            await client.text(prompt="x" * 100_001)
        assert (raised.value.status, raised.value.code) == (413, "too_large")


async def test_a_busy_model_is_a_rejection_that_says_when_to_come_back(endpoints: Endpoints) -> None:
    async with Client(endpoints) as client:
        with pytest.raises(RequestRejected) as raised:
            await client.text(prompt="[[fault=throttle]] Hi")
    assert (raised.value.status, raised.value.code, raised.value.retryable) == (429, "throttled", True)
    assert raised.value.retry_after is not None


async def test_a_model_that_breaks_off_is_a_failed_answer_and_never_a_complete_one(endpoints: Endpoints) -> None:
    async with Client(endpoints) as client:
        frames = [frame async for frame in client.stream(prompt="[[tokens=40 fault=break:20]] Hi")]
        assert isinstance(frames[-1], ErrorFrame)
        assert frames[-1].error.code == "model_error"
        with pytest.raises(AnswerFailed):
            await client.text(prompt="[[tokens=40 fault=break:20]] Hi")


@pytest.mark.parametrize("path", PATHS)
async def test_a_session_id_used_before_is_a_conflict_and_another_users_is_not_found(
    stack: RunningStack, endpoints: Endpoints, path: PathName
) -> None:
    async with Client(endpoints, path=path) as client, Client(endpoints, path=path, token=stack.other_token) as other:
        frames = [frame async for frame in client.stream(prompt=saying("once"))]
        session_id = frames[0].session_id
        with pytest.raises(RequestRejected) as raised:
            await client.text(prompt="again", session_id=session_id)
        assert raised.value.code == "conflict"
        with pytest.raises(RequestRejected) as raised:
            await other.cancel(session_id)
        assert raised.value.code == "not_found"


async def test_who_subscribes_to_a_session_reads_it_whole_if_it_is_his_own_and_nothing_otherwise(
    stack: RunningStack, endpoints: Endpoints
) -> None:
    text = 'A "quoted" line\nand \\ 🜁 é \u202eright to left\u202c — ' * 5
    async with (
        Client(endpoints, path="appsync") as client,
        Client(endpoints, path="appsync") as again,
        Client(endpoints, path="appsync", token=stack.other_token) as other,
        client.stream(prompt=saying(text, rate=100)) as stream,
    ):
        frames = aiter(stream)
        first = [await anext(frames)]
        with pytest.raises(RequestRejected) as raised:
            async with other._transport.resume(stream.session_id, BEGINNING):
                pass
        assert raised.value.code == "not_found"
        second: list[Frame] = []
        assembler = Assembler()
        async with again._transport.resume(stream.session_id, BEGINNING) as messages:
            while not assembler.ended:
                received = parse(await anext(messages))
                assert not isinstance(received, Heartbeat)
                second += assembler.add(received)
        first += [frame async for frame in frames]
    assert text_of(first) == text
    assert [frame.message for frame in second] == [frame.message for frame in first]


@pytest.mark.parametrize("path", PATHS)
async def test_a_forged_token_is_unauthorized(endpoints: Endpoints, path: PathName) -> None:
    async with Client(endpoints, path=path, token="x.y.z") as client:
        with pytest.raises(RequestRejected) as raised:
            await client.text(prompt="Hi")
    assert (raised.value.status, raised.value.code) == (401, "unauthorized")


def test_the_synchronous_client_reads_the_same_answer(endpoints: Endpoints) -> None:
    with SyncClient(endpoints) as client:
        assert text_of(list(client.stream(prompt=saying("one two three")))) == "one two three"


def command(stack: RunningStack, *arguments: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(  # noqa: S603 - our own command
        [COMMAND, "chat", *arguments],
        cwd=stack.checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("path", HTTP_PATHS)
def test_the_printed_token_serves_any_http_client(stack: RunningStack, endpoints: Endpoints, path: PathName) -> None:
    result = subprocess.run([COMMAND, "token"], cwd=stack.checkout, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    headers = {"Authorization": f"Bearer {result.stdout.strip()}"}
    body = {"prompt": saying("one two")}
    assert httpx.post(endpoints.url(path), headers=headers, json=body, timeout=60).text == "one two"


@pytest.mark.parametrize("path", PATHS)
def test_the_command_prints_the_frames_as_they_come(stack: RunningStack, path: PathName) -> None:
    with command(stack, "--path", path, "--json", saying("one two three four", rate=20)) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    frames = [json.loads(line) for line in out.splitlines()]
    assert "".join(frame.get("token", "") for frame in frames) == "one two three four"
    assert frames[-1]["stopReason"] == "end_turn"
    assert frames[-1]["receivedAtMs"] >= frames[0]["receivedAtMs"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("nothing_streamed")
def test_ctrl_c_closes_the_models_stream_and_ends_with_130(stack: RunningStack, path: PathName) -> None:
    with command(stack, "--path", path, "--verbose", SLOW) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("cancelled")
    eventually(lambda: only_stream(stack)["ended"])
    assert only_stream(stack)["ended"] == "client"


def test_a_race_runs_every_path_and_their_texts_are_the_same(stack: RunningStack) -> None:
    arguments = [str(COMMAND), "race", "--json", saying("one two three four five", rate=50)]
    result = subprocess.run(arguments, cwd=stack.checkout, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    race = json.loads(result.stdout)
    assert race["sameText"]
    contestants = race["contestants"]
    assert [(contestant["path"], contestant["delivery"]) for contestant in contestants] == [
        ("url", "direct"),
        ("rest", "direct"),
        ("websocket", DELIVERY),
        ("websocket", "queued"),
        ("appsync", DELIVERY),
        ("appsync", "queued"),
    ]
    for contestant in contestants:
        [run] = contestant["rounds"]
        assert (run["outcome"], run["attempt"], run["characters"]) == ("end_turn", 1, len("one two three four five"))
        assert 0 <= run["firstTokenMs"] <= run["totalMs"]
        assert run["messages"] >= 3
