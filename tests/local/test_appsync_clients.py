"""Clients that nobody here wrote, on the AppSync path: over TLS, because they speak to nothing without it."""

import asyncio
import json
import os
import ssl
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from gql import Client, GraphQLRequest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.appsync_auth import AppSyncJWTAuthentication
from gql.transport.appsync_websockets import AppSyncWebsocketsTransport
from graphql import ExecutionResult

from tests.local.stack_process import RunningStack
from tests.local.test_appsync import AWKWARD, START
from tests.local.test_http_stream import expected

DEADLINE_SECONDS = 100
AMPLIFY = Path(__file__).parent / "amplify"
PLAIN = "To clients of every kind"
ANSWERS = [
    pytest.param(PLAIN, expected(PLAIN), id="plain"),
    pytest.param(f"[[say={json.dumps(AWKWARD)}]]", AWKWARD, id="awkward"),
]
SUBSCRIBE = """subscription Follow($id: ID!) {
  onTokenReceived(sessionId: $id) { sessionId attempt sequence type token isComplete frame }
}"""

Event = dict[str, Any]


class AcknowledgedTransport(AppSyncWebsocketsTransport):
    """gql's transport, but it tells when AppSync has acknowledged a subscription."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.acknowledged = asyncio.Event()

    async def _handle_answer(self, answer_type: str, answer_id: int | None, result: ExecutionResult | None) -> None:
        if answer_type == "start_ack":
            self.acknowledged.set()
        await super()._handle_answer(answer_type, answer_id, result)


async def follow_with_gql(stack: RunningStack, session: str, prompt: str) -> list[Event]:
    url, realtime_url = stack.endpoints["graphqlTlsUrl"], stack.endpoints["graphqlRealtimeTlsUrl"]
    trust = ssl.create_default_context(cafile=stack.endpoints["caFile"])
    auth = AppSyncJWTAuthentication(host=urlsplit(url).netloc, jwt=stack.token)
    realtime = AcknowledgedTransport(
        realtime_url, auth=auth, ssl=trust, connect_timeout=DEADLINE_SECONDS, ack_timeout=DEADLINE_SECONDS
    )
    http = Client(transport=AIOHTTPTransport(url, auth=auth, ssl=trust), execute_timeout=DEADLINE_SECONDS)
    events: list[Event] = []
    async with Client(transport=realtime) as subscriber, http as caller, asyncio.TaskGroup() as tasks:

        async def listen() -> None:
            request = GraphQLRequest(SUBSCRIBE, variable_values={"id": session})
            async with aclosing(subscriber.subscribe(request)) as results:
                async for result in results:
                    events.append(result["onTokenReceived"])
                    if events[-1]["isComplete"]:
                        return

        tasks.create_task(listen())
        await realtime.acknowledged.wait()
        await caller.execute(GraphQLRequest(START, variable_values={"prompt": prompt, "sessionId": session}))
    return events


async def follow_with_amplify(stack: RunningStack, session: str, prompt: str) -> list[Event]:
    assert (AMPLIFY / "node_modules").is_dir(), "`make test` installs AWS Amplify"
    order = {
        "endpoint": stack.endpoints["graphqlTlsUrl"],
        "region": stack.endpoints["region"],
        "token": stack.token,
        "subscription": {"query": SUBSCRIBE, "variables": {"id": session}},
        "mutation": {"query": START, "variables": {"prompt": prompt, "sessionId": session}},
    }
    node = await asyncio.create_subprocess_exec(
        *("node", str(AMPLIFY / "follow.mjs")),
        env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": stack.endpoints["caFile"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await node.communicate(json.dumps(order).encode())
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode == 0
    return [json.loads(line) for line in output.decode().split("\n") if line]


def frame_of(event: Event) -> Any:
    """Read what is of type AWSJSON: JSON, that a text may hold."""
    frame = event["frame"]
    while isinstance(frame, str):
        frame = json.loads(frame)
    return frame


def assert_whole(events: list[Event], session: str, answer: str) -> None:
    """Every event came of the last attempt, and they make the answer up; some may have come twice."""
    attempt = max(event["attempt"] for event in events)
    by_sequence = {event["sequence"]: event for event in events if event["attempt"] == attempt}
    ordered = [by_sequence[sequence] for sequence in sorted(by_sequence)]
    assert [event["sequence"] for event in ordered] == list(range(1, len(ordered) + 1))
    assert {event["sessionId"] for event in ordered} == {session}
    types = [event["type"] for event in ordered]
    assert [types[0], types[-1], {*types[1:-1]}] == ["start", "complete", {"token"}]
    assert "".join(event["token"] for event in ordered if event["type"] == "token") == answer
    frames = [frame_of(event) for event in ordered]
    for name in ("sessionId", "attempt", "sequence", "type", "token"):
        assert [frame.get(name) for frame in frames] == [event[name] for event in ordered]


@pytest.mark.parametrize(("prompt", "answer"), ANSWERS)
async def test_gql_receives_every_token(stack: RunningStack, prompt: str, answer: str) -> None:
    session = str(uuid4())
    async with asyncio.timeout(DEADLINE_SECONDS):
        events = await follow_with_gql(stack, session, prompt)
    assert_whole(events, session, answer)


@pytest.mark.parametrize(("prompt", "answer"), ANSWERS)
async def test_aws_amplify_receives_every_token(stack: RunningStack, prompt: str, answer: str) -> None:
    session = str(uuid4())
    async with asyncio.timeout(DEADLINE_SECONDS):
        events = await follow_with_amplify(stack, session, prompt)
    assert_whole(events, session, answer)
