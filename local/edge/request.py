"""A client's request as both HTTP fronts read it, and what either may pass on of its answer."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web

LOG_NOTE = web.RequestKey("log_note", str)
"""Why a response ended early, for the access log."""

BODY_BYTES = web.RequestKey("body_bytes", int)
"""How much of a streamed response's body was sent."""


class BodyTooLargeError(Exception):
    """The request's body exceeds what the front takes."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request, its path relative to the front and still percent-encoded; header names as the client wrote them."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    source_ip: str

    def header(self, name: str) -> str | None:
        """Get the last value of a header."""
        values = self.header_values(name)
        return values[-1] if values else None

    def header_values(self, name: str) -> list[str]:
        """All values of a header, in their order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def query_items(self) -> list[tuple[str, str]]:
        """Decode the parameters of the query, in their order."""
        return parse_qsl(self.query, keep_blank_values=True)


async def receive(request: web.Request, mount: str, limit: int) -> ReceivedRequest:
    """Read a request whose path begins with `mount`; raises `BodyTooLargeError`, the rest of the body unread."""
    if (request.content_length or 0) > limit:
        raise BodyTooLargeError
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > limit:
            raise BodyTooLargeError
    path, _, query = request.raw_path.partition("?")
    return ReceivedRequest(
        method=request.method,
        path=path.removeprefix(mount) or "/",
        query=query,
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers),
        body=bytes(body),
        source_ip=request.remote or "127.0.0.1",
    )
