"""The paths `url` and `rest`: one streamed HTTP response an answer."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from urllib.parse import quote

import httpx

from tokenstream_client.errors import ConnectionFailed, ProtocolError, RequestRejected
from tokenstream_client.frames import Message, Position, parse_error
from tokenstream_client.request import Request
from tokenstream_client.tokens import TokenProvider
from tokenstream_client.transports.ndjson import NdjsonDecoder
from tokenstream_client.transports.statuses import failure_of

NDJSON = "application/x-ndjson"
CONNECT_TIMEOUT = 10.0
KEEP_OPEN = 30.0
"""Seconds for which a connection that is open waits for the next request."""

ERROR_BODY_LIMIT = 64 * 1024


def http_client(idle_timeout: float) -> httpx.AsyncClient:
    """Return the HTTP client of a `Client`: for the streams and for signing in."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(idle_timeout, connect=CONNECT_TIMEOUT, pool=None),
        # A cancel must not wait for a free connection while streams hold them all.
        limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEP_OPEN),
        # A local stack is never behind the proxy of the environment.
        mounts={"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
    )


class HttpTransport:
    """Talks to one address; `http` is closed with it."""

    def __init__(self, url: str, tokens: TokenProvider, http: httpx.AsyncClient) -> None:
        self._url = url
        self._tokens = tokens
        self._http = http

    async def prepare(self) -> None:
        """Fetch a token, so that the request that follows measures nothing but itself."""
        await self._tokens.token()

    async def connect(self) -> None:
        """Fetch a token and connect."""
        await self._tokens.token()
        # Below the address itself a preflight reaches a function; here the REST API refuses it and Lambda answers it.
        await open_connection(self._http, f"{self._url}/-")

    @asynccontextmanager
    async def start(self, request: Request) -> AsyncIterator[AsyncIterator[Message]]:
        """`POST` the request."""
        body = json.dumps(request.body()).encode()
        async with self._send("POST", self._url, content=body) as response, aclosing(_messages(response)) as messages:
            yield messages

    @asynccontextmanager
    async def resume(self, session_id: str, after: Position) -> AsyncIterator[AsyncIterator[Message]]:
        """`GET` the session."""
        address = self._session(session_id)
        async with (
            self._send("GET", address, params={"after": str(after)}) as response,
            aclosing(_messages(response)) as messages,
        ):
            yield messages

    async def cancel(self, session_id: str) -> None:
        """`DELETE` the session."""
        async with self._send("DELETE", self._session(session_id)):
            pass

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def _session(self, session_id: str) -> str:
        return f"{self._url}/sessions/{quote(session_id, safe='')}"

    @asynccontextmanager
    async def _send(
        self, method: str, url: str, *, content: bytes | None = None, params: dict[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        token = await self._tokens.token()
        response = await self._exchange(method, url, token, content, params)
        try:
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                renewed = await self._tokens.token(refused=token)
                if renewed != token:
                    await response.aclose()
                    response = await self._exchange(method, url, renewed, content, params)
            if not response.is_success:
                raise await _failure(response)
            yield response
        finally:
            await response.aclose()

    async def _exchange(
        self, method: str, url: str, token: str, content: bytes | None, params: dict[str, str] | None
    ) -> httpx.Response:
        headers = {
            "Accept": NDJSON,
            # A proxy that compresses gathers bytes before it passes them on.
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {token}",
        }
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = self._http.build_request(method, url, content=content, params=params, headers=headers)
        with connection_failures(request.url):
            return await self._http.send(request, stream=True)


async def open_connection(http: httpx.AsyncClient, url: str) -> None:
    """Have a connection to a server open, by a preflight: what it is answered with doesn't matter."""
    headers = {"Origin": "null", "Access-Control-Request-Method": "POST"}
    request = http.build_request("OPTIONS", url, headers=headers)
    with connection_failures(request.url):
        await http.send(request)


@contextmanager
def connection_failures(url: httpx.URL) -> Iterator[None]:
    """Raise the errors of httpx as `ConnectionFailed`."""
    server = f"{url.host}:{url.port}" if url.port else url.host
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ConnectionFailed(f"{server} can't be reached.", reached=False) from error
    except httpx.TimeoutException as error:
        raise ConnectionFailed(f"{server} has gone silent.") from error
    except httpx.RequestError as error:
        raise ConnectionFailed(f"The connection to {server} broke.") from error


async def _messages(response: httpx.Response) -> AsyncGenerator[Message, None]:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != NDJSON:
        raise ProtocolError(f"{response.url.host} answered with {media_type or 'no content type'}, not with frames.")
    decoder = NdjsonDecoder()
    with connection_failures(response.url):
        async for data in response.aiter_bytes():
            for message in decoder.feed(data):
                yield message


async def _failure(response: httpx.Response) -> RequestRejected | ConnectionFailed:
    detail = parse_error(await _error_object(response))
    return failure_of(response.status_code, detail, retry_after=response.headers.get("Retry-After"))


async def _error_object(response: httpx.Response) -> object:
    body = bytearray()
    with connection_failures(response.url):
        async for data in response.aiter_bytes():
            body += data
            if len(body) > ERROR_BODY_LIMIT:
                return None
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer.get("error") if isinstance(answer, dict) else None
