"""The queued way from end to end: asked for, and turned to when the direct one breaks while an answer streams."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest

from tests.local.stack_process import RunningStack, eventually
from tests.local.test_http_stream import expected, model_streams
from tests.local.workers import workers_of
from tokenstream_client import Client, Complete, Endpoints, Frame, Start, Token

PATHS = ("websocket", "appsync")
WORKERS = {"websocket": "ws_stream", "appsync": "appsync_process"}
Path = Literal["websocket", "appsync"]

pytestmark = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(autouse=True)
def cold_workers(stack: RunningStack, path: Path) -> Iterator[None]:
    """Have no worker that remembers a failure, and heal everything behind."""
    _kill_idle(stack, path)
    yield
    _order(stack, path, None)
    _kill_idle(stack, path)


def _kill_idle(stack: RunningStack, path: Path) -> None:
    for pid in workers_of(stack, WORKERS[path]):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not list(workers_of(stack, WORKERS[path])))


def _order(stack: RunningStack, path: Path, fault: str | None, **details: Any) -> None:
    order = {"path": path, "fault": fault, **details}
    httpx.post(f"{stack.edge_url}/_control/faults", json=order).raise_for_status()


def _calls(stack: RunningStack, path: Path) -> dict[str, dict[str, int]]:
    calls: dict[str, dict[str, int]] = httpx.get(f"{stack.edge_url}/_control/faults").json()["calls"][path]
    return calls


def _failed(calls: dict[str, dict[str, int]]) -> int:
    return sum(function["failed"] for function in calls.values())


def _failovers(stack: RunningStack, path: Path) -> int:
    log = stack.checkout / ".local" / "logs" / f"{WORKERS[path]}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return sum(json.loads(line)["Failovers"][0] for line in lines if line.startswith("{") and '"Failovers":[' in line)


def _whole(frames: list[Frame], prompt: str) -> None:
    """Check that an answer came in order, whole, and with one end."""
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == expected(prompt)
    assert [isinstance(frame, Complete) for frame in frames].index(True) == len(frames) - 1


async def _answer(stack: RunningStack, path: Path, prompt: str, **request: Any) -> list[Frame]:
    async with Client(Endpoints.from_mapping(stack.endpoints), path=path) as client:
        return [frame async for frame in client.stream(prompt=prompt, **request)]


async def test_an_answer_that_is_to_be_queued_arrives_live_and_exact(stack: RunningStack, path: Path) -> None:
    prompt = "Queued [[tokens=100 rate=25]]"
    before = _calls(stack, path)
    frames: list[Frame] = []
    open_at_first_token: bool | None = None
    async with Client(Endpoints.from_mapping(stack.endpoints), path=path) as client:
        async for frame in client.stream(prompt=prompt, delivery="queued"):
            if isinstance(frame, Token) and open_at_first_token is None:
                open_at_first_token = model_streams(stack)[-1]["endedAt"] is None
            frames.append(frame)
    _whole(frames, prompt)
    assert isinstance(frames[0], Start)
    assert frames[0].delivery == "queued"
    assert open_at_first_token
    after = _calls(stack, path)
    assert after[WORKERS[path]] == before[WORKERS[path]]
    assert after["deliver"]["made"] - before["deliver"]["made"] >= len(frames)


async def test_the_direct_way_breaks_for_the_worker_and_the_rest_comes_queued(stack: RunningStack, path: Path) -> None:
    prompt = "Breaks midway [[tokens=100 rate=50]]"
    before, failovers = _calls(stack, path), _failovers(stack, path)
    _order(stack, path, "error", function=WORKERS[path], after=10)
    frames = await _answer(stack, path, prompt)
    _whole(frames, prompt)
    assert isinstance(frames[0], Start)
    assert frames[0].delivery == "direct"
    after = _calls(stack, path)
    assert after[WORKERS[path]]["failed"] > before[WORKERS[path]]["failed"]
    assert after["deliver"]["made"] > before["deliver"]["made"]
    eventually(lambda: _failovers(stack, path) == failovers + 1)
    # Healed, a function that knows nothing of it sends directly again.
    _order(stack, path, None)
    _kill_idle(stack, path)
    before = after
    _whole(await _answer(stack, path, "Healed"), "Healed")
    after = _calls(stack, path)
    assert after[WORKERS[path]]["made"] > before[WORKERS[path]]["made"]
    assert after["deliver"] == before["deliver"]


async def test_the_way_breaks_for_everybody_and_the_text_comes_late_and_exact(stack: RunningStack, path: Path) -> None:
    prompt = "Breaks for all [[tokens=100 rate=50]]"
    before = _calls(stack, path)
    # More than the worker tries: the last of them are the queue's own tries.
    _order(stack, path, "throttle", after=10, count=25)
    _whole(await _answer(stack, path, prompt), prompt)
    # A client may have asked the table for what was late; the queue has its frames all the same.
    eventually(lambda: _failed(_calls(stack, path)) == _failed(before) + 25)
    assert _calls(stack, path)["deliver"]["failed"] > before["deliver"]["failed"]


async def test_the_way_is_broken_from_the_beginning(stack: RunningStack, path: Path) -> None:
    """Replies of the WebSocket path included: what they can't say directly comes queued, ahead of the frames."""
    prompts = [f"Broken {number}" for number in range(5)]
    _order(stack, path, "error", function=WORKERS[path])
    if path == "websocket":
        _order(stack, path, "error", function="ws_message")
    answers = await asyncio.gather(*(_answer(stack, path, prompt) for prompt in prompts))
    for prompt, frames in zip(prompts, answers, strict=True):
        _whole(frames, prompt)
