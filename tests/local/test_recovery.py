"""The recovery from end to end: workers that die, models that fail, sessions that everybody has forgotten."""

import asyncio
import json
import os
import signal
import time
from base64 import urlsafe_b64decode
from typing import Any, Literal
from uuid import uuid4

import botocore.session
import pytest

from local.cloud.environment import DUMMY_CREDENTIALS
from tests.local.stack_options import FALLBACK_MODEL
from tests.local.stack_process import RunningStack, eventually
from tests.local.test_appsync import GET_STREAM, ask
from tests.local.test_http_stream import expected
from tests.local.workers import workers_of
from tokenstream.session import NewSession
from tokenstream.sessions import Sessions
from tokenstream_client import Client, Complete, Endpoints, ErrorFrame, Frame, Start, Token

RECOVERY_SECONDS = 60.0
Path = Literal["websocket", "appsync"]


def aws(stack: RunningStack, service: str) -> Any:
    """Make a client of the emulator."""
    session = botocore.session.Session()
    session.set_credentials(*DUMMY_CREDENTIALS.values())
    return session.create_client(
        service, region_name=stack.endpoints["region"], endpoint_url=stack.endpoints["awsEndpointUrl"]
    )


def physical_id(stack: RunningStack, logical_id: str) -> str:
    """Give a resource's name in the deployed stack."""
    resource = aws(stack, "cloudformation").describe_stack_resource(
        StackName=stack.endpoints["stackName"], LogicalResourceId=logical_id
    )
    name: str = resource["StackResourceDetail"]["PhysicalResourceId"]
    return name


def steps(stack: RunningStack, session: str) -> list[str]:
    """Give the states that the session's ended recovery went through; its history holds nothing but ids."""
    machine = physical_id(stack, "RecoveryStateMachine")
    client = aws(stack, "stepfunctions")

    def ended() -> dict[str, Any] | None:
        executions = client.list_executions(stateMachineArn=machine)["executions"]
        [execution] = [execution for execution in executions if session in execution["name"]]
        return execution if execution["status"] != "RUNNING" else None

    execution = eventually(ended)
    assert execution["status"] == "SUCCEEDED"
    events = client.get_execution_history(executionArn=execution["executionArn"], maxResults=1000)["events"]
    assert "prompt" not in json.dumps(events, default=str)
    return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]


def state(stack: RunningStack, session: str) -> dict[str, Any]:
    """Give a session's status and what is stored of its latest attempt, as its user sees it."""
    found = (ask(stack, GET_STREAM, id=session)["data"] or {}).get("getStream")
    return found or {"status": "unknown", "frames": []}


def text(frames: list[Frame], attempt: int) -> str:
    """Give the text of one attempt."""
    return "".join(frame.token for frame in frames if isinstance(frame, Token) and frame.attempt == attempt)


def ends(frames: list[Frame]) -> list[Frame]:
    """Give the terminal frames."""
    return [frame for frame in frames if isinstance(frame, Complete | ErrorFrame)]


async def answer(stack: RunningStack, path: Path, prompt: str, session: str) -> list[Frame]:
    """Follow an answer to its end."""
    async with Client(Endpoints.from_mapping(stack.endpoints), path=path) as client:
        return [frame async for frame in client.stream(prompt=prompt, session_id=session)]


async def test_a_worker_that_is_killed_is_followed_by_a_whole_answer(stack: RunningStack) -> None:
    prompt, session = "Killed [[tokens=100 rate=50]]", str(uuid4())
    following = asyncio.create_task(answer(stack, "websocket", prompt, session))

    def begun() -> bool:
        return len(state(stack, session)["frames"]) > 1

    await asyncio.to_thread(eventually, begun)
    for pid in workers_of(stack, "ws_stream"):
        os.kill(pid, signal.SIGKILL)
    frames = await following
    [end] = ends(frames)
    assert isinstance(end, Complete)
    assert end.attempt == 2
    assert text(frames, 2) == expected(prompt)
    assert await asyncio.to_thread(steps, stack, session) == [
        "Begin",
        "Look",
        "Decide",
        "BackOff",
        "Generate",
        "Generated",
        "Over",
    ]


@pytest.mark.parametrize("path", ["websocket", "appsync"])
async def test_a_model_that_fails_each_time_ends_in_one_error_or_is_replaced(stack: RunningStack, path: Path) -> None:
    hopeless, replaced = str(uuid4()), str(uuid4())
    # The fallback model fails with the first prompt, and works with the second.
    prompt = "Replaced [[tokens=50 fault=break:10 model=haiku]]"
    failed, recovered = await asyncio.gather(
        answer(stack, path, "[[tokens=50 fault=break:10]]", hopeless), answer(stack, path, prompt, replaced)
    )
    [error] = ends(failed)
    assert isinstance(error, ErrorFrame)
    assert (error.error.code, error.error.retryable) == ("model_error", True)
    assert failed[-1] is error
    assert state(stack, hopeless)["status"] == "failed"
    visited = await asyncio.to_thread(steps, stack, hopeless)
    assert visited.count("Generate") == 2  # RecoveryAttempts
    assert visited[-3:] == ["GiveUp", "GivenUp", "Over"]

    [end] = ends(recovered)
    assert isinstance(end, Complete)
    assert text(recovered, end.attempt) == expected(prompt)
    starts = {frame.attempt: frame.model for frame in recovered if isinstance(frame, Start)}
    assert starts[end.attempt] == FALLBACK_MODEL != starts[1]
    assert state(stack, replaced)["status"] == "complete"


@pytest.mark.parametrize(("path", "ended"), [("appsync", "complete"), ("url", "failed")])
def test_a_session_that_everybody_has_forgotten_is_found_by_the_sweep(
    stack: RunningStack, path: Literal["appsync", "url"], ended: str
) -> None:
    session = str(uuid4())
    table = Sessions(aws(stack, "dynamodb"), physical_id(stack, "SessionsTable"), ttl=3600, store_answers=True)
    request = json.dumps({"prompt": "Forgotten"}).encode()
    owner = json.loads(_decoded(stack.token.split(".")[1]))["sub"]
    long_ago = time.time() - 600
    table.accept(NewSession(session, owner, path, "direct", FALLBACK_MODEL, request), None, long_ago, begin_within=10)
    sweep = physical_id(stack, "RecoverySweepFunction")
    swept = json.loads(aws(stack, "lambda").invoke(FunctionName=sweep)["Payload"].read())
    assert swept["orphaned"] >= 1
    eventually(lambda: state(stack, session)["status"] == ended, RECOVERY_SECONDS)
    frames = [json.loads(frame) for frame in state(stack, session)["frames"]]
    assert frames[-1]["type"] == ("complete" if ended == "complete" else "error")
    if ended == "complete":
        assert "".join(frame["token"] for frame in frames if frame["type"] == "token") == expected("Forgotten")


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
