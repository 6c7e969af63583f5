"""The WebSocket path as a client of somebody else's meets it: a plain WebSocket library, and nothing of ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from tests.local.stack_options import TOKENS
from tests.local.stack_process import RunningStack, eventually
from tests.local.test_http_stream import expected, model_streams, text_of

Frame = dict[str, Any]
FRAGMENT_CHARACTERS = 16_000
SILENCE_SECONDS = 60


class Talk:
    """One connection; everything that is received stays in `received`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.received: list[Frame] = []

    async def say(self, **message: Any) -> None:
        text = json.dumps(message)
        await self.connection.send(
            [text[start : start + FRAGMENT_CHARACTERS] for start in range(0, len(text), FRAGMENT_CHARACTERS)]
            if len(text) > FRAGMENT_CHARACTERS
            else text
        )

    async def hear(self) -> Frame:
        message: Frame = json.loads(await asyncio.wait_for(self.connection.recv(), SILENCE_SECONDS))
        self.received.append(message)
        return message

    async def ask(self, **message: Any) -> Frame:
        """Say something and return its reply, past whatever else comes before it."""
        request_id = uuid4().hex
        await self.say(requestId=request_id, **message)
        while (reply := await self.hear()).get("requestId") != request_id:
            pass
        return reply

    async def until_ended(self, *sessions: str) -> None:
        waiting = set(sessions)
        while waiting:
            message = await self.hear()
            if message["type"] in {"complete", "error"}:
                waiting.discard(message["sessionId"])

    def frames(self, session: str) -> list[Frame]:
        """Return a session's frames, in their order and each once, as the protocol has clients do it."""
        numbered = [frame for frame in self.received if frame.get("sessionId") == session and "sequence" in frame]
        return in_order(numbered)


def in_order(frames: list[Frame]) -> list[Frame]:
    attempt = max(frame["attempt"] for frame in frames)
    by_sequence = {frame["sequence"]: frame for frame in frames if frame["attempt"] == attempt}
    return [by_sequence[sequence] for sequence in sorted(by_sequence)]


def opening(stack: RunningStack, token: str | None = None) -> connect:
    offers = [Subprotocol("tokenstream"), Subprotocol(token or stack.token)]
    return connect(stack.websocket_url, subprotocols=offers, ping_interval=None, proxy=None)


@pytest.fixture
async def talk(stack: RunningStack) -> AsyncIterator[Talk]:
    async with opening(stack) as connection:
        yield Talk(connection)


def gapless(frames: list[Frame]) -> bool:
    return [frame["sequence"] for frame in frames] == list(range(1, len(frames) + 1))


async def open_streams(stack: RunningStack, count: int = 1) -> None:
    def begun() -> bool:
        return len([stream for stream in model_streams(stack) if stream["endedAt"] is None]) >= count

    await asyncio.to_thread(eventually, begun)


# Streaming


async def test_a_library_of_somebody_else_connects_asks_and_gets_the_answer(talk: Talk) -> None:
    assert talk.connection.subprotocol == "tokenstream"
    prompt = "A plain client [[rate=inf]]"
    await talk.say(action="stream", prompt=prompt)
    accepted = await talk.hear()
    assert accepted["type"] == "accepted"
    session = accepted["sessionId"]
    await talk.until_ended(session)
    frames = talk.frames(session)
    assert gapless(frames)
    assert text_of(frames) == expected(prompt)
    assert [frames[0]["type"], frames[0]["path"], frames[-1]["type"]] == ["start", "websocket", "complete"]
    assert frames[-1]["stopReason"] == "end_turn"
    assert frames[-1]["usage"]["outputTokens"] == TOKENS


async def test_the_token_may_come_in_the_address(stack: RunningStack) -> None:
    async with connect(f"{stack.websocket_url}?token={stack.token}", proxy=None) as connection:
        assert connection.subprotocol is None
        assert (await Talk(connection).ask(action="ping"))["type"] == "pong"


async def test_the_first_token_arrives_while_the_model_goes_on_and_a_stop_closes_its_stream(
    stack: RunningStack, talk: Talk
) -> None:
    # The model speaks for an hour: what arrives at all arrives live.
    session = str(uuid4())
    await talk.ask(action="stream", prompt="[[tokens=4000 rate=1]]", sessionId=session)
    while (await talk.hear())["type"] != "token":
        pass
    assert (await talk.ask(action="cancel", sessionId=session))["type"] == "accepted"
    await talk.until_ended(session)
    assert talk.frames(session)[-1]["stopReason"] == "cancelled"
    assert await asyncio.to_thread(eventually, lambda: model_streams(stack)[-1]["ended"]) == "client"


async def test_ten_connections_with_three_streams_each_are_all_exact(stack: RunningStack) -> None:
    async def converse(number: int) -> None:
        prompts = {str(uuid4()): f"Stream {number}.{stream}" for stream in range(3)}
        async with opening(stack) as connection:
            talk = Talk(connection)
            for session, prompt in prompts.items():
                await talk.say(action="stream", prompt=prompt, sessionId=session)
            await talk.until_ended(*prompts)
        for session, prompt in prompts.items():
            frames = talk.frames(session)
            assert gapless(frames)
            assert text_of(frames) == expected(prompt)

    async with asyncio.TaskGroup() as conversations:
        for number in range(10):
            conversations.create_task(converse(number))


async def test_text_that_is_not_ascii_arrives_as_it_is(talk: Talk) -> None:
    said = 'Grüße, 👩‍🚀\u2028 "quoted" \\ \u202eשל \n$input.path {{a}}'
    session = str(uuid4())
    await talk.ask(action="stream", prompt=f"[[say={json.dumps(said)}]]", sessionId=session)
    await talk.until_ended(session)
    assert text_of(talk.frames(session)) == said


# Refusals


@pytest.mark.parametrize("token", ["", "no.jwt.atall"])
async def test_without_a_valid_token_there_is_no_connection(stack: RunningStack, token: str) -> None:
    offers = [Subprotocol(offer) for offer in ("tokenstream", token) if offer]
    with pytest.raises(InvalidStatus) as refused:
        async with connect(stack.websocket_url, subprotocols=offers, proxy=None):
            pass
    assert refused.value.response.status_code in {401, 403}


async def test_bad_messages_are_rejected_and_the_connection_stays(stack: RunningStack, talk: Talk) -> None:
    before = len(model_streams(stack))
    await talk.connection.send("this is no JSON")
    assert (await talk.hear())["error"]["code"] == "invalid_request"
    unknown = await talk.ask(action="dance")
    assert (unknown["type"], unknown["error"]["field"]) == ("rejected", "action")
    nameless = await talk.ask(action="cancel")
    assert nameless["error"]["field"] == "sessionId"
    empty = await talk.ask(action="stream", prompt=" ")
    assert empty["error"]["field"] == "prompt"
    missing = await talk.ask(action="resume", sessionId=str(uuid4()))
    assert missing["error"]["code"] == "not_found"
    large = await talk.ask(action="stream", prompt="x" * 100_000)
    assert (large["type"], large["error"]["code"]) == ("rejected", "too_large")
    assert (await talk.ask(action="ping"))["type"] == "pong"
    assert len(model_streams(stack)) == before


async def test_a_session_id_serves_once(talk: Talk) -> None:
    session = str(uuid4())
    await talk.ask(action="stream", prompt="Once [[rate=inf]]", sessionId=session)
    again = await talk.ask(action="stream", prompt="Twice", sessionId=session)
    assert (again["error"]["code"], again["error"]["field"], again["sessionId"]) == ("conflict", "sessionId", session)


@pytest.mark.parametrize("fragments", [["x" * 40_000], ["x" * 30_000] * 5], ids=["frame", "message"])
async def test_what_api_gateway_does_not_carry_costs_the_connection(talk: Talk, fragments: list[str]) -> None:
    with pytest.raises(ConnectionClosedError) as closed:  # noqa: PT012 - either call may find out
        await talk.connection.send(fragments)
        await talk.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_flood_is_throttled_and_others_are_served(stack: RunningStack, talk: Talk) -> None:
    for number in range(120):
        await talk.say(action="ping", requestId=str(number))
    replies = [await talk.hear() for _ in range(120)]
    throttled = [reply for reply in replies if reply["type"] == "rejected"]
    assert throttled
    assert {reply["error"]["code"] for reply in throttled} == {"throttled"}
    assert all(reply["error"]["retryable"] for reply in throttled)
    async with opening(stack) as connection:
        assert (await Talk(connection).ask(action="ping"))["type"] == "pong"


async def test_another_user_can_neither_stop_nor_resume_nor_read(stack: RunningStack, talk: Talk) -> None:
    session = str(uuid4())
    await talk.ask(action="stream", prompt="Mine [[tokens=4000 rate=20]]", sessionId=session)
    async with opening(stack, stack.other_token) as connection:
        stranger = Talk(connection)
        for action in ("cancel", "resume"):
            assert (await stranger.ask(action=action, sessionId=session))["error"]["code"] == "not_found"
        read = httpx.get(
            f"{stack.function_url}/sessions/{session}", headers=stack.headers(token=stack.other_token), timeout=30
        )
        assert read.status_code == 404
        assert {message["type"] for message in stranger.received} == {"rejected"}
    await talk.ask(action="cancel", sessionId=session)
    await talk.until_ended(session)
    assert talk.frames(session)[-1]["stopReason"] == "cancelled"


# Resuming


async def test_a_connection_killed_in_mid_stream_is_resumed_on_another_without_gap_or_repeat(
    stack: RunningStack, talk: Talk
) -> None:
    prompt = "Killed midway [[tokens=150 rate=50]]"
    session = str(uuid4())
    await talk.ask(action="stream", prompt=prompt, sessionId=session)
    with pytest.raises(ConnectionClosedError):  # noqa: PT012 - heard until it breaks
        while True:
            if (await talk.hear())["type"] == "token" and len(talk.received) > 20:
                stack.cut("websocket")
    last = talk.frames(session)[-1]
    async with opening(stack) as connection:
        second = Talk(connection)
        position = {"attempt": last["attempt"], "sequence": last["sequence"]}
        assert (await second.ask(action="resume", sessionId=session, after=position))["type"] == "accepted"
        await second.until_ended(session)
    assert second.frames(session)[0]["sequence"] == last["sequence"] + 1
    frames = in_order(talk.frames(session) + second.frames(session))
    assert gapless(frames)
    assert text_of(frames) == expected(prompt)
    assert frames[-1]["stopReason"] == "end_turn"


async def test_a_gap_is_repaired_on_the_same_connection(talk: Talk) -> None:
    prompt = "Same connection [[tokens=120 rate=50]]"
    session = str(uuid4())
    await talk.ask(action="stream", prompt=prompt, sessionId=session)
    while len(talk.received) < 10:
        await talk.hear()
    first = talk.received
    talk.received = []
    await talk.ask(action="resume", sessionId=session, after={"attempt": 1, "sequence": 1})
    await talk.until_ended(session)
    assert gapless(in_order([frame for frame in first + talk.received if "sequence" in frame]))
    repeated = in_order([frame for frame in talk.received if "sequence" in frame])
    assert [frame["sequence"] for frame in repeated] == list(range(2, len(repeated) + 2))
    assert text_of(repeated) == expected(prompt)


@pytest.mark.parametrize("path", ["websocket", "url"])
async def test_an_ended_answer_is_given_again_whatever_way_it_came(stack: RunningStack, talk: Talk, path: str) -> None:
    prompt = f"Again over {path} [[rate=inf]]"
    session = str(uuid4())
    if path == "url":
        body = {"prompt": prompt, "sessionId": session}
        httpx.post(stack.function_url, headers=stack.headers(), json=body, timeout=30).raise_for_status()
    else:
        await talk.ask(action="stream", prompt=prompt, sessionId=session)
        await talk.until_ended(session)
        talk.received.clear()
    await talk.ask(action="resume", sessionId=session)
    await talk.until_ended(session)
    assert gapless(talk.frames(session))
    assert text_of(talk.frames(session)) == expected(prompt)


async def test_an_answer_over_websocket_can_be_read_over_http(stack: RunningStack, talk: Talk) -> None:
    prompt = "Both ways [[tokens=60 rate=50]]"
    session = str(uuid4())
    await talk.ask(action="stream", prompt=prompt, sessionId=session)
    async with httpx.AsyncClient(timeout=60) as http:
        read = asyncio.create_task(http.get(f"{stack.function_url}/sessions/{session}", headers=stack.headers()))
        await talk.until_ended(session)
        frames = [json.loads(line) for line in (await read).text.splitlines()]
    assert [frame for frame in frames if "sequence" in frame] == talk.frames(session)


# Faults


async def test_a_model_that_may_not_be_used_ends_in_an_error(talk: Talk) -> None:
    session = str(uuid4())
    await talk.ask(action="stream", prompt="[[fault=access]]", sessionId=session)
    await talk.until_ended(session)
    last = talk.frames(session)[-1]
    assert (last["type"], last["error"]["code"]) == ("error", "model_access")


async def test_a_client_that_goes_away_leaves_a_session_that_can_be_stopped(stack: RunningStack) -> None:
    session = str(uuid4())
    async with opening(stack) as connection:
        talk = Talk(connection)
        await talk.ask(action="stream", prompt="[[tokens=4000 rate=20]]", sessionId=session)
        await talk.hear()
    async with opening(stack) as connection:
        assert (await Talk(connection).ask(action="cancel", sessionId=session))["type"] == "accepted"
    ended = await asyncio.to_thread(eventually, lambda: model_streams(stack)[-1]["ended"])
    assert ended == "client"
