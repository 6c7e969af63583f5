import json
from collections.abc import Callable

import httpx
import pytest

from tests.unit.client.fake_stack import answer
from tokenstream_client.errors import ConnectionFailed, ProtocolError, RequestRejected
from tokenstream_client.frames import Message, Position
from tokenstream_client.request import Request
from tokenstream_client.tokens import FixedToken, TokenProvider
from tokenstream_client.transports.http import NDJSON, HttpTransport

URL = "https://abc.lambda-url.eu-west-1.on.aws"
BODY = "".join(json.dumps(frame) + "\n" for frame in answer("Hi"))
REQUEST = Request(prompt="Hi", session_id="5b0c5b0e-0000-4000-8000-000000000000")


class Renewing:
    """Gives a new token when one was refused."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self, refused: str | None = None) -> str:
        if refused == f"token-{self.number}":
            self.number += 1
        return f"token-{self.number}"


def transport(
    handle: Callable[[httpx.Request], httpx.Response], tokens: TokenProvider | None = None, url: str = URL
) -> HttpTransport:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    return HttpTransport(url, tokens or FixedToken("token"), http)


def streamed(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": f"{NDJSON}; charset=utf-8"}, text=BODY)


async def read(over: HttpTransport) -> list[Message]:
    async with over.start(REQUEST) as messages:
        return [message async for message in messages]


async def test_connecting_wakes_no_function() -> None:
    seen: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(403)

    await transport(refuse, url=f"{URL}/dev").connect()
    assert [(request.method, str(request.url)) for request in seen] == [("OPTIONS", f"{URL}/dev/-")]
    assert seen[0].headers["Access-Control-Request-Method"] == "POST"
    assert "Authorization" not in seen[0].headers


async def test_the_request_is_posted_to_the_address_itself_with_what_streaming_needs() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return streamed(request)

    over = transport(handle, url=f"{URL}/dev")
    assert await read(over) == answer("Hi")
    assert (seen[0].method, str(seen[0].url)) == ("POST", f"{URL}/dev")
    assert json.loads(seen[0].content) == REQUEST.body()
    assert seen[0].headers["Accept"] == NDJSON
    assert seen[0].headers["Accept-Encoding"] == "identity"
    assert seen[0].headers["Authorization"] == "Bearer token"

    async with over.resume(REQUEST.session_id, Position(2, 7)) as messages:
        assert [message async for message in messages] == answer("Hi")
    await over.cancel(REQUEST.session_id)
    await over.cancel("../other?x=1")
    assert [(request.method, str(request.url)) for request in seen[1:]] == [
        ("GET", f"{URL}/dev/sessions/{REQUEST.session_id}?after=2.7"),
        ("DELETE", f"{URL}/dev/sessions/{REQUEST.session_id}"),
        ("DELETE", f"{URL}/dev/sessions/..%2Fother%3Fx%3D1"),
    ]
    await over.aclose()


async def test_a_401_is_answered_with_a_new_token_once() -> None:
    sent: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return streamed(request) if sent[-1] == "Bearer token-2" else httpx.Response(401)

    assert await read(transport(handle, Renewing())) == answer("Hi")
    assert sent == ["Bearer token-1", "Bearer token-2"]


async def test_a_second_401_reaches_the_caller() -> None:
    calls = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return httpx.Response(401)

    with pytest.raises(RequestRejected) as raised:
        await read(transport(handle, Renewing()))
    assert (raised.value.status, raised.value.code, calls) == (401, "unauthorized", 2)


async def test_a_fixed_token_that_was_refused_is_not_sent_again() -> None:
    calls = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return httpx.Response(401)

    with pytest.raises(RequestRejected):
        await read(transport(handle))
    assert calls == 1


async def test_the_servers_error_object_is_handed_on_whole() -> None:
    error = {"code": "throttled", "message": "Later.", "retryable": True, "field": "model"}
    response = httpx.Response(429, json={"error": error}, headers={"Retry-After": "3"})
    with pytest.raises(RequestRejected) as raised:
        await read(transport(lambda _: response))
    rejected = raised.value
    assert (rejected.code, rejected.message, rejected.retryable, rejected.field) == (
        "throttled",
        "Later.",
        True,
        "model",
    )
    assert (rejected.status, rejected.retry_after) == (429, 3.0)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "invalid_request", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (413, "too_large", False),
        (429, "throttled", True),
        (500, "internal", True),
        (302, "invalid_request", False),
        (599, "internal", True),
    ],
)
@pytest.mark.parametrize("body", ["", "<html>", '"text"', '{"message": "Forbidden"}', '{"error": {"code": 1}}'])
async def test_a_rejection_by_something_in_between_still_has_a_code(
    status: int, code: str, retryable: bool, body: str
) -> None:
    with pytest.raises(RequestRejected) as raised:
        await read(transport(lambda _: httpx.Response(status, text=body)))
    assert (raised.value.code, raised.value.retryable) == (code, retryable)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateways_own_failure_is_a_failed_connection(status: int) -> None:
    with pytest.raises(ConnectionFailed) as raised:
        await read(transport(lambda _: httpx.Response(status, headers={"Retry-After": "2"}, text="<html>")))
    assert raised.value.retry_after == 2
    assert raised.value.reached


async def test_a_503_of_the_function_itself_is_a_rejection() -> None:
    error = {"code": "model_access", "message": "No access.", "retryable": False}
    with pytest.raises(RequestRejected, match="No access"):
        await read(transport(lambda _: httpx.Response(503, json={"error": error})))


async def test_an_endless_error_page_is_not_read_to_its_end() -> None:
    with pytest.raises(RequestRejected):
        await read(transport(lambda _: httpx.Response(400, content=b"x" * 1_000_000)))


@pytest.mark.parametrize("headers", [{"Content-Type": "text/html"}, {}])
async def test_a_page_in_the_place_of_frames_is_told(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match="not with frames"):
        await read(transport(lambda _: httpx.Response(200, headers=headers, content=b"<html>")))


@pytest.mark.parametrize(
    ("cause", "reached"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("slow"), False),
        (httpx.ReadTimeout("silent"), True),
        (httpx.ReadError("reset"), True),
        (httpx.RemoteProtocolError("cut"), True),
    ],
)
async def test_a_failed_connection_says_whether_the_server_may_have_seen_the_request(
    cause: Exception, reached: bool
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise cause

    with pytest.raises(ConnectionFailed) as raised:
        await read(transport(handle))
    assert raised.value.reached is reached
    assert raised.value.retryable
