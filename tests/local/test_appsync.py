"""The AppSync path from end to end, through the client, the queue, the worker and the resolvers as deployed."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from threading import Event
from typing import Any
from uuid import uuid4

import botocore.session
import httpx
import pytest

from local.cloud.environment import DUMMY_CREDENTIALS
from tests.local.stack_options import DELIVERY, TOKENS
from tests.local.stack_process import RunningStack, eventually
from tests.local.test_http_stream import expected, model_streams, text_of
from tests.local.workers import workers_of
from tokenstream_client import Client, Complete, Endpoints, Frame, Start, Token

SILENCE_SECONDS = 150
AWKWARD = 'Grüße, 👩‍🚀\u2028 "quoted" \\ \u202eשל\u0000 \r\n\n$input.path {{a}} ${b}'

GET_STREAM = """query Get($id: ID!, $attempt: Int, $sequence: Int) {
  getStream(sessionId: $id, afterAttempt: $attempt, afterSequence: $sequence) { sessionId status frames more }
}"""
CANCEL = "mutation Cancel($id: ID!) { cancelStream(sessionId: $id) { sessionId status } }"
START = """mutation Start($prompt: String, $sessionId: ID, $model: String, $options: StreamOptions) {
  startStream(prompt: $prompt, sessionId: $sessionId, model: $model, options: $options) { sessionId status }
}"""
PUBLISH = """mutation Publish($id: ID!, $frame: AWSJSON!) {
  publishToken(sessionId: $id, owner: "me", attempt: 1, sequence: 1, type: "token", frame: $frame) { sessionId }
}"""


def ask(stack: RunningStack, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
    """Send a GraphQL request as a user."""
    answer: dict[str, Any] = httpx.post(
        stack.graphql_url,
        headers={"Authorization": token or stack.token},
        json={"query": query, "variables": variables},
        timeout=30,
    ).json()
    return answer


def generations(stack: RunningStack, prompt: str) -> list[dict[str, Any]]:
    """Give the model's streams for a prompt."""
    digest = sha256(prompt.encode()).hexdigest()
    return [stream for stream in model_streams(stack) if digest.startswith(stream["promptSha256"])]


def error_of(answer: dict[str, Any]) -> tuple[str, str | None]:
    [error] = answer["errors"]
    return error["errorType"], (error.get("errorInfo") or {}).get("field")


@asynccontextmanager
async def client(stack: RunningStack) -> AsyncIterator[Client]:
    async with Client(Endpoints.from_mapping(stack.endpoints), path="appsync") as opened:
        yield opened


async def text(stack: RunningStack, prompt: str) -> str:
    async with client(stack) as opened:
        return await opened.text(prompt=prompt)


KILLED = "Killed [[tokens=100 rate=50]]"


@pytest.fixture(scope="module", autouse=True)
def killed(stack: RunningStack) -> Iterator[Future[list[Frame]]]:
    """An answer whose worker is killed. The next one comes a minute later: the other tests don't wait for it."""
    begun = Event()

    async def follow() -> list[Frame]:
        frames: list[Frame] = []
        async with client(stack) as opened, asyncio.timeout(SILENCE_SECONDS):
            async for frame in opened.stream(prompt=KILLED):
                frames.append(frame)
                if isinstance(frame, Token) and not begun.is_set():
                    for pid in workers_of(stack, "appsync_process"):
                        os.kill(pid, signal.SIGKILL)
                    begun.set()
        return frames

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(asyncio.run, follow())
        assert begun.wait(SILENCE_SECONDS)
        yield following


async def test_the_answer_arrives_exactly_and_in_order(stack: RunningStack) -> None:
    prompt = "Over AppSync"
    async with client(stack) as opened:
        frames = [frame async for frame in opened.stream(prompt=prompt)]
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    assert isinstance(frames[0], Start)
    assert (frames[0].path, frames[0].delivery) == ("appsync", DELIVERY)
    assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == expected(prompt)


async def test_text_of_every_kind_arrives_as_it_is(stack: RunningStack) -> None:
    assert await text(stack, f"[[say={json.dumps(AWKWARD)}]]") == AWKWARD


async def test_many_answers_at_once_are_all_exact(stack: RunningStack) -> None:
    prompts = [f"AppSync {number}" for number in range(6)]
    async with client(stack) as opened:
        answers = await asyncio.gather(*(opened.text(prompt=prompt) for prompt in prompts))
    assert answers == [expected(prompt) for prompt in prompts]


async def test_a_stop_closes_the_models_stream(stack: RunningStack) -> None:
    last: Frame | None = None
    prompt = f"{uuid4()} [[tokens=4000 rate=20]]"
    async with client(stack) as opened:
        stream = opened.stream(prompt=prompt)
        async for frame in stream:
            if isinstance(frame, Token):
                await stream.cancel()
            last = frame
    assert getattr(last, "stop_reason", None) == "cancelled"
    assert await asyncio.to_thread(eventually, lambda: generations(stack, prompt)[-1]["ended"]) == "client"


async def test_connections_that_break_are_resumed_without_gap_or_repeat(stack: RunningStack) -> None:
    prompt = "Cut [[tokens=150 rate=50]]"
    received: list[Frame] = []
    async with client(stack) as opened:
        async for frame in opened.stream(prompt=prompt):
            received.append(frame)
            if len(received) in {20, 60}:
                stack.cut("appsync")
    assert [frame.sequence for frame in received] == list(range(1, len(received) + 1))
    assert "".join(frame.token for frame in received if isinstance(frame, Token)) == expected(prompt)


def test_a_prompt_that_is_queued_three_times_is_answered_once(stack: RunningStack) -> None:
    sqs: Any = botocore.session.get_session().create_client(
        "sqs",
        region_name=stack.endpoints["region"],
        endpoint_url=stack.endpoints["awsEndpointUrl"],
        aws_access_key_id=DUMMY_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=DUMMY_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    [url] = [url for url in sqs.list_queues()["QueueUrls"] if "PromptQueue" in url]
    session, prompt = str(uuid4()), f"Thrice {uuid4()} [[tokens=100 rate=50]]"
    assert ask(stack, START, prompt=prompt, sessionId=session)["data"]["startStream"]["status"] == "accepted"
    body = json.dumps({"sessionId": session, "request": {"prompt": prompt, "sessionId": session}})
    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    frames = eventually(lambda: ended(stack, session), 60)
    assert text_of(frames) == expected(prompt)
    assert {frame["attempt"] for frame in frames} == {1}
    assert len(generations(stack, prompt)) == 1


def ended(stack: RunningStack, session: str) -> list[dict[str, Any]] | None:
    """Return a session's frames once it has ended."""
    state = ask(stack, GET_STREAM, id=session)["data"]["getStream"]
    frames = [json.loads(frame) for frame in state["frames"]]
    return frames if frames and frames[-1]["type"] in {"complete", "error"} else None


async def test_an_answer_can_be_read_over_http_as_well(stack: RunningStack) -> None:
    session = str(uuid4())
    ask(stack, START, prompt="Both ways", sessionId=session)
    read = httpx.get(f"{stack.function_url}/sessions/{session}", headers=stack.headers(), timeout=60)
    frames = [json.loads(line) for line in read.text.splitlines()]
    assert text_of(frames) == expected("Both ways")
    assert frames[-1]["usage"]["outputTokens"] == TOKENS


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"prompt": " "}, ("InvalidRequest", "prompt")),
        ({"prompt": "Hi", "model": "no.such-model"}, ("InvalidRequest", "model")),
        ({"prompt": "Hi", "options": {"maxTokens": -1}}, ("InvalidRequest", "options.maxTokens")),
        ({"prompt": "Hi", "sessionId": "1"}, ("InvalidRequest", "sessionId")),
        ({"prompt": "x" * 100_001}, ("TooLarge", None)),
    ],
)
def test_bad_requests_are_told_by_code_and_field(
    stack: RunningStack, variables: dict[str, Any], error: tuple[str, str | None]
) -> None:
    assert error_of(ask(stack, START, **variables)) == error


def test_a_session_id_serves_once(stack: RunningStack) -> None:
    session = str(uuid4())
    ask(stack, START, prompt="Once [[rate=inf]]", sessionId=session)
    assert error_of(ask(stack, START, prompt="Twice", sessionId=session)) == ("Conflict", "sessionId")


def test_another_user_can_neither_read_nor_stop(stack: RunningStack) -> None:
    session = str(uuid4())
    ask(stack, START, prompt="Mine [[tokens=4000 rate=20]]", sessionId=session)
    for query in (GET_STREAM, CANCEL):
        foreign = ask(stack, query, stack.other_token, id=session)
        missing = ask(stack, query, stack.other_token, id=str(uuid4()))
        assert error_of(foreign) == error_of(missing) == ("NotFound", None)
        assert foreign["errors"][0]["message"] == missing["errors"][0]["message"]
    assert ask(stack, CANCEL, id=session)["data"]["cancelStream"]["sessionId"] == session
    frames = eventually(lambda: ended(stack, session), 60)
    assert frames[-1]["stopReason"] == "cancelled"


def test_a_users_token_does_not_publish(stack: RunningStack) -> None:
    answer = ask(stack, PUBLISH, id=str(uuid4()), frame="{}")
    assert error_of(answer)[0] == "Unauthorized"


@pytest.mark.parametrize("token", ["no.jwt.atall", "Bearer x"])
def test_without_a_valid_token_nothing_is_answered(stack: RunningStack, token: str) -> None:
    assert error_of(ask(stack, CANCEL, token, id=str(uuid4())))[0] == "UnauthorizedException"


def test_a_killed_worker_is_followed_by_another_attempt_that_is_whole(killed: Future[list[Frame]]) -> None:
    frames = killed.result()
    assert {frame.attempt for frame in frames} == {1, 2}
    second = [frame for frame in frames if frame.attempt == 2]
    assert [frame.sequence for frame in second] == list(range(1, len(second) + 1))
    assert "".join(frame.token for frame in second if isinstance(frame, Token)) == expected(KILLED)
    assert [isinstance(frame, Complete) for frame in frames] == [False] * (len(frames) - 1) + [True]
