"""Ports of the loopback interface, which is all that the stack listens on."""

import socket

from aiohttp import web
from aiohttp.typedefs import Handler

from local.cloud.guarded_ministack import is_loopback
from local.errors import StackError

HOST = "127.0.0.1"


def free_port() -> int:
    """Find a port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, option: str) -> None:
    """Raise `StackError` when something listens on the port that this option asks for."""
    with socket.socket() as probe:
        # As servers do: a port whose connections have just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackError(
                f"{option} {port}: {error.strerror}. Give another port, or leave the option out for a free one."
            ) from error


@web.middleware
async def loopback_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what came under a name that isn't this machine's: a web page's, by DNS rebinding."""
    if not is_loopback(request.url.host):
        raise web.HTTPForbidden(text="Only under a name of this machine: 127.0.0.1 or localhost.")
    return await handler(request)
