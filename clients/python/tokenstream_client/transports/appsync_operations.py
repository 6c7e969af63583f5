"""The API's queries and mutations, each one HTTP request."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from tokenstream_client.errors import ProtocolError
from tokenstream_client.frames import Position
from tokenstream_client.request import Request
from tokenstream_client.transports.appsync_messages import CANCEL_STREAM, GET_STREAM, START_STREAM, Page
from tokenstream_client.transports.graphql_errors import http_failure, rejection
from tokenstream_client.transports.http import connection_failures, open_connection


class Operations:
    """Sends them to one address. Each raises `RequestRejected`, `ConnectionFailed` and `ProtocolError`."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url
        self._http = http

    async def connect(self) -> None:
        """Open a connection."""
        await open_connection(self._http, self._url)

    async def start(self, token: str, request: Request) -> None:
        """Have an answer generated."""
        await self._run(token, START_STREAM, request.body())

    async def cancel(self, token: str, session_id: str) -> None:
        """Have a generation stopped."""
        await self._run(token, CANCEL_STREAM, {"sessionId": session_id})

    async def stored(self, token: str, session_id: str, after: Position) -> Page:
        """Read what is stored behind a position: of the session's present attempt, as much as fits."""
        place = {"afterAttempt": after.attempt, "afterSequence": after.sequence}
        data = await self._run(token, GET_STREAM, {"sessionId": session_id, **place})
        return Page.of(data.get("getStream"))

    async def _run(self, token: str, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        content = json.dumps({"query": document, "variables": variables}).encode()
        headers = {"Authorization": token, "Content-Type": "application/json", "Accept": "application/json"}
        request = self._http.build_request("POST", self._url, content=content, headers=headers)
        with connection_failures(request.url):
            response = await self._http.send(request)
        return _data(response)


def _data(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if response.status_code != HTTPStatus.OK:
        raise http_failure(response.status_code, errors, response.headers.get("Retry-After"))
    if errors:
        raise rejection(errors)
    match answer:
        case {"data": dict(data)}:
            return data
    raise ProtocolError(f"{response.url.host} answered with something other than GraphQL.")
