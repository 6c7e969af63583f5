"""Passes a streaming invocation on to an HTTP client, each chunk as it comes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from local.edge.cuts import Connection
from local.edge.request import BODY_BYTES, LOG_NOTE
from local.functions.lambda_service import InvocationError, Prelude

# Neither front takes these from a function; the connection to the client has its own.
_DROPPED = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Passed on under another name. Source: API Gateway developer guide, "Important notes"; function URLs do the same.
_REMAPPED = frozenset({"date", "server", "www-authenticate"})


class MalformedHeadError(Exception):
    """The function's status or headers can't be an HTTP response's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds until the response is cut: in all, and without a chunk. None for no limit."""

    total: float | None = None
    idle: float | None = None


def response_head(prelude: Prelude, request_id: str) -> web.StreamResponse:
    """Make the response's head from what the function said; raises `MalformedHeadError`."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in prelude.headers.items():
        if name.lower() in _DROPPED:
            continue
        headers.add(f"x-amzn-Remapped-{name}" if name.lower() in _REMAPPED else name, value)
    for cookie in prelude.cookies:
        headers.add("Set-Cookie", cookie)
    headers["x-amzn-RequestId"] = request_id
    if not 200 <= prelude.status <= 599:  # noqa: PLR2004 interim responses aren't a function's to send
        raise MalformedHeadError(f"status {prelude.status}")
    for name, value in headers.items():
        if not name.isascii() or any(character in "\r\n\0" for character in name + value):
            raise MalformedHeadError(f"header {name!r}")
    return web.StreamResponse(status=prelude.status, headers=headers)


async def relay(
    connection: Connection, response: web.StreamResponse, body: AsyncIterator[bytes], limits: Limits
) -> web.StreamResponse:
    """Send head and body. Whatever ends the body early cuts the connection, so that the client can tell.

    When the client is gone this returns; the invocation goes on by itself.
    """
    request = connection.request
    loop = asyncio.get_running_loop()
    deadline = None if limits.total is None else loop.time() + limits.total
    request[BODY_BYTES] = 0
    try:
        await response.prepare(request)
        async with asyncio.timeout_at(deadline) as timer:
            _rearm(timer, loop, deadline, limits.idle)
            async for chunk in body:
                admitted, last = connection.admit(chunk)
                if admitted:
                    await response.write(admitted)
                    request[BODY_BYTES] += len(admitted)
                if last:
                    request[LOG_NOTE] = "cut on request"
                    connection.cut()
                    break
                _rearm(timer, loop, deadline, limits.idle)
    except ConnectionError:
        request[LOG_NOTE] = "client gone"
    except InvocationError as error:
        request[LOG_NOTE] = f"cut: {error}"
        connection.cut()
    except TimeoutError:
        request[LOG_NOTE] = "cut: time-out"
        connection.cut()
    return response


def _rearm(timer: asyncio.Timeout, loop: asyncio.AbstractEventLoop, deadline: float | None, idle: float | None) -> None:
    if idle is not None:
        now_idle = loop.time() + idle
        timer.reschedule(now_idle if deadline is None else min(deadline, now_idle))
