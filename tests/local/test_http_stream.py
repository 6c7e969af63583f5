"""The whole way of a prompt, from an HTTP client through the deployed function to the model and back."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from local.model.interface import ModelRequest, Turn
from local.model.text import expected_text
from tests.local.stack_options import TOKENS
from tests.local.stack_process import RunningStack, eventually

PATHS = ("url", "rest")
Frame = dict[str, Any]


def text_of(frames: list[Frame]) -> str:
    return "".join(frame["token"] for frame in frames if frame["type"] == "token")


def expected(prompt: str) -> str:
    return expected_text(ModelRequest(turns=(Turn("user", prompt),), max_tokens=4096), length=TOKENS)


def model_streams(stack: RunningStack) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = httpx.get(f"{stack.bedrock_url}/_streams").json()["streams"]
    return streams


def post(stack: RunningStack, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(stack.url(path), content=content, headers={**stack.headers(), **headers}, timeout=30)


@asynccontextmanager
async def streaming(stack: RunningStack, path: str, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[Frame]]:
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("POST", stack.url(path), headers=stack.headers(), json=body) as response,
    ):
        assert response.status_code == 200

        async def frames() -> AsyncIterator[Frame]:
            async for line in response.aiter_lines():
                yield json.loads(line)

        yield frames()


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_arrives_exactly_in_each_format(stack: RunningStack, path: str) -> None:
    prompt = f"Formats over {path} [[rate=inf]]"
    body = {"prompt": prompt}
    lines = [json.loads(line) for line in post(stack, path, body).text.splitlines()]
    events = post(stack, path, body, Accept="text/event-stream").text
    sent = [json.loads(data) for data in re.findall(r"^data: (.*)$", events, re.MULTILINE)]
    plain = post(stack, path, body, Accept="*/*")

    answer = expected(prompt)
    assert [text_of(lines), text_of(sent), plain.text] == [answer] * 3
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    for frames in (lines, sent):
        assert [frame["sequence"] for frame in frames] == list(range(1, len(frames) + 1))
        assert [frames[0]["type"], frames[-1]["type"]] == ["start", "complete"]
        assert frames[0]["path"] == path
        assert frames[-1]["stopReason"] == "end_turn"
        assert frames[-1]["usage"]["outputTokens"] == TOKENS
    assert re.findall(r"^id: (.*)$", events, re.MULTILINE) == [f"1.{frame['sequence']}" for frame in sent]


@pytest.mark.parametrize("path", PATHS)
async def test_the_first_token_arrives_while_the_model_goes_on(stack: RunningStack, path: str) -> None:
    # The model speaks for an hour: what arrives at all arrives live.
    session = str(uuid4())
    async with streaming(stack, path, {"prompt": "[[tokens=4000 rate=1]]", "sessionId": session}) as frames:
        async for frame in frames:
            if frame["type"] == "token":
                httpx.delete(f"{stack.url(path)}/sessions/{session}", headers=stack.headers())
            last = frame
    assert last["stopReason"] == "cancelled"


@pytest.mark.parametrize("path", PATHS)
async def test_a_stop_closes_the_models_stream(stack: RunningStack, path: str) -> None:
    session = str(uuid4())
    # Cancelled while the model still thinks: nothing but the stop can end this.
    body = {"prompt": "[[ttft=3600]]", "sessionId": session}
    async with httpx.AsyncClient(timeout=30) as http:
        answer = asyncio.create_task(http.post(stack.url(path), headers=stack.headers(), json=body))
        await asyncio.to_thread(eventually, lambda: [s for s in model_streams(stack) if s["endedAt"] is None])
        stopped = await http.delete(f"{stack.url(path)}/sessions/{session}", headers=stack.headers())
        assert stopped.status_code == 202
        assert stopped.json() == {"sessionId": session, "status": "running"}
        frames = [json.loads(line) for line in (await answer).text.splitlines()]
    assert [frame["type"] for frame in frames] == ["start", "complete"]
    assert frames[-1]["stopReason"] == "cancelled"
    assert eventually(lambda: model_streams(stack)[-1]["ended"]) == "client"


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_that_breaks_is_resumed_without_gap_or_repeat(stack: RunningStack, path: str) -> None:
    session = str(uuid4())
    prompt = f"Resume over {path} [[tokens=100 rate=50]]"
    received: list[Frame] = []
    stack.cut(path, after_bytes=1500)
    body = {"prompt": prompt, "sessionId": session}
    with httpx.stream("POST", stack.url(path), headers=stack.headers(), json=body, timeout=30) as cut:
        lines = map(json.loads, cut.iter_lines())
        with pytest.raises(httpx.RemoteProtocolError):
            received.extend(lines)
    assert 0 < len(received) < 100
    after = f"1.{received[-1]['sequence']}"
    rest = httpx.get(f"{stack.url(path)}/sessions/{session}?after={after}", headers=stack.headers(), timeout=30)
    frames = received + [json.loads(line) for line in rest.text.splitlines()]
    assert [frame["sequence"] for frame in frames] == list(range(1, len(frames) + 1))
    assert text_of(frames) == expected(prompt)
    assert frames[-1]["type"] == "complete"


@pytest.mark.parametrize("path", PATHS)
def test_a_finished_answer_can_be_read_again_by_last_event_id(stack: RunningStack, path: str) -> None:
    session = str(uuid4())
    first = post(stack, path, {"prompt": "Again [[rate=inf]]", "sessionId": session}, Accept="text/event-stream").text
    again = httpx.get(
        f"{stack.url(path)}/sessions/{session}",
        headers={**stack.headers("text/event-stream"), "Last-Event-ID": "1.2"},
        timeout=30,
    ).text
    assert again == first[first.index("id: 1.3\n") :]


@pytest.mark.parametrize("path", PATHS)
def test_another_users_session_can_neither_be_read_nor_stopped_nor_noticed(stack: RunningStack, path: str) -> None:
    session = str(uuid4())
    assert post(stack, path, {"prompt": "Mine [[rate=inf]]", "sessionId": session}).status_code == 200
    theirs = stack.headers(token=stack.other_token)
    for method in ("GET", "DELETE"):
        foreign = httpx.request(method, f"{stack.url(path)}/sessions/{session}", headers=theirs)
        missing = httpx.request(method, f"{stack.url(path)}/sessions/{uuid4()}", headers=theirs)
        assert [foreign.status_code, missing.status_code] == [404, 404]
        assert foreign.content == missing.content


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"{", 400, "invalid_request", None),
        ({"prompt": ""}, 400, "invalid_request", "prompt"),
        ({"prompt": "x", "model": "no.such-model"}, 400, "invalid_request", "model"),
        ({"prompt": "x", "options": {"maxTokens": -1}}, 400, "invalid_request", "options.maxTokens"),
        ({"prompt": "x", "options": {"maxTokens": 10**6}}, 400, "invalid_request", "options.maxTokens"),
        ({"prompt": "x" * 100_000}, 413, "too_large", None),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    stack: RunningStack,
    path: str,
    body: Any,
    status: int,
    code: str,
    field: str | None,
) -> None:
    before = len(model_streams(stack))
    response = post(stack, path, body)
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error.get("field"), error["retryable"]) == (code, field, False)
    assert len(model_streams(stack)) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_forged_or_expired_token_runs_nothing(stack: RunningStack, path: str) -> None:
    before = len(model_streams(stack))
    head, payload, signature = stack.token.split(".")
    forged = f"{head}.{payload}.{signature[::-1]}"
    for headers in ({}, {"Authorization": f"Bearer {forged}"}, {"Authorization": "Bearer nonsense"}):
        response = httpx.post(stack.url(path), headers=headers, json={"prompt": "x"})
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "unauthorized"
    assert len(model_streams(stack)) == before


@pytest.mark.parametrize("path", PATHS)
def test_a_session_id_serves_once(stack: RunningStack, path: str) -> None:
    body = {"prompt": "Once [[rate=inf]]", "sessionId": str(uuid4())}
    assert post(stack, path, body).status_code == 200
    response = post(stack, path, body)
    assert response.status_code == 409
    assert response.json()["error"] == {
        "code": "conflict",
        "message": "This session id was used before.",
        "retryable": False,
        "field": "sessionId",
    }


@pytest.mark.parametrize("path", PATHS)
def test_throttling_before_the_first_token_is_a_429_that_says_when_to_come_back(stack: RunningStack, path: str) -> None:
    response = post(stack, path, {"prompt": f"Throttled over {path} [[fault=throttle]]"})
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "throttled"
    assert response.json()["error"]["retryable"] is True
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["X-Session-Id"]


@pytest.mark.parametrize("path", PATHS)
def test_a_moment_of_throttling_is_not_noticed(stack: RunningStack, path: str) -> None:
    prompt = f"Throttled twice over {path} [[rate=inf fault=throttle:2]]"
    frames = [json.loads(line) for line in post(stack, path, {"prompt": prompt}).text.splitlines()]
    assert text_of(frames) == expected(prompt)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("break:5", "model_error"),
        ("drop:5", "model_error"),
        ("truncate:5", "model_error"),
        ("corrupt:5", "model_error"),
        ("exception:throttlingException:5", "throttled"),
        ("exception:modelStreamErrorException:5", "model_error"),
    ],
)
def test_a_model_that_breaks_off_is_an_error_and_never_complete(
    stack: RunningStack, path: str, fault: str, code: str
) -> None:
    prompt = f"{fault} over {path} [[rate=100 fault={fault}]]"
    frames = [json.loads(line) for line in post(stack, path, {"prompt": prompt}).text.splitlines()]
    assert text_of(frames)
    assert expected(prompt).startswith(text_of(frames))
    assert [frame["type"] for frame in frames].count("complete") == 0
    assert frames[-1]["error"]["code"] == code
    assert frames[-1]["error"]["retryable"] is True
    # The bare text has no place for an error: it must not look whole.
    with pytest.raises(httpx.RemoteProtocolError):
        post(stack, path, {"prompt": prompt}, Accept="text/plain")


def test_a_model_without_access_says_what_to_do(stack: RunningStack) -> None:
    error = post(stack, "url", {"prompt": "[[fault=access]]"}).json()["error"]
    assert error["code"] == "model_access"
    assert "Amazon Bedrock console" in error["message"]


def test_every_character_survives_the_way(stack: RunningStack) -> None:
    text = 'quote " backslash \\ newline \n tab \t NUL \0 emoji 👩‍🚀 rtl שלום <b>&amp;</b> \u2028 \u2029 \x85'
    prompt = f"[[rate=inf say={json.dumps(text)}]]"
    frames = [json.loads(line) for line in post(stack, "url", {"prompt": prompt}).text.splitlines()]
    assert text_of(frames) == text
    assert post(stack, "rest", {"prompt": prompt}, Accept="text/plain").text == text


def test_a_conversation_reaches_the_model_whole(stack: RunningStack) -> None:
    turns = (Turn("user", "One"), Turn("assistant", "Two"), Turn("user", "Three [[rate=inf]]"))
    body = {"messages": [{"role": turn.role, "content": turn.text} for turn in turns], "system": "Be brief."}
    frames = [json.loads(line) for line in post(stack, "url", body).text.splitlines()]
    request = ModelRequest(turns=turns, system="Be brief.", max_tokens=4096)
    assert text_of(frames) == expected_text(request, length=TOKENS)


def test_reasoning_is_kept_apart_from_the_answer(stack: RunningStack) -> None:
    prompt = "Think [[rate=inf reasoning=10]]"
    frames = [json.loads(line) for line in post(stack, "url", {"prompt": prompt}).text.splitlines()]
    assert any(frame["type"] == "reasoning" for frame in frames)
    answer = expected(prompt)
    assert text_of(frames) == answer
    assert post(stack, "url", {"prompt": prompt}, Accept="text/plain").text == answer
