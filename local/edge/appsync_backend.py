"""Has the emulator carry out queries and mutations, resolvers included."""

from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout

from local.edge.appsync_request import GraphQLRequest

# AppSync ends a request after 30 s; the emulator its resolvers' code.
_SECONDS = 60.0
# The connection to the emulator has its own of these. Its guard lets no page of another host in.
_NOT_PASSED_ON = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "origin",
        "proxy-connection",
        "referer",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)


class BackendFailedError(Exception):
    """The emulator doesn't answer; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the emulator answered."""

    status: int
    content_type: str
    body: bytes


class Backend:
    """One API of the emulator at `endpoint`."""

    def __init__(self, endpoint: str, api_id: str) -> None:
        self._url = f"{endpoint}/v1/apis/{api_id}/graphql"
        self._http: ClientSession | None = None

    async def execute(self, request: GraphQLRequest, headers: tuple[tuple[str, str], ...]) -> Answer:
        """Carry out a request with the headers that it came with; raises `BackendFailedError`."""
        if not self._http:
            self._http = ClientSession(timeout=ClientTimeout(_SECONDS))
        passed_on = [(name, value) for name, value in headers if name.lower() not in _NOT_PASSED_ON]
        try:
            async with self._http.post(self._url, json=request.to_json(), headers=passed_on) as answer:
                return Answer(answer.status, answer.content_type, await answer.read())
        except (ClientError, TimeoutError) as error:
            raise BackendFailedError(f"MiniStack: {error!r}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._http:
            await self._http.close()
