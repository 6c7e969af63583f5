"""Where the emulator (`local.cloud.ministack_functions`) has functions invoked: on loopback, with a secret.

A function trusts its event: the authorizer's context in it says who the user is. So no web page that a browser has open
may invoke one, whatever it knows of the stack's ports: only who holds the secret of this run.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from aiohttp import web

from local.functions.invocation import InvocationError
from local.loopback import HOST, loopback_only

Invoke: TypeAlias = Callable[[str, bytes, str], Awaitable[bytes]]
"""Function, event, request id → its result. Raises `InvocationError`."""

_MAX_EVENT_BYTES = 6 * 1024 * 1024
"""Lambda's limit for a synchronous invocation; an asynchronous one takes less."""
_SHUTDOWN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class InvokeTarget:
    """What a forwarder needs to know."""

    host: str
    port: int
    secret: str


class InvokeApi:
    """The server; it can be started once."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._secret = secrets.token_urlsafe(32)
        self._runner: web.AppRunner | None = None

    async def start(self) -> InvokeTarget:
        """Listen on a free port."""
        app = web.Application(middlewares=[loopback_only], client_max_size=_MAX_EVENT_BYTES)
        app.router.add_post("/functions/{name}/invocations", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return InvokeTarget(HOST, self._runner.addresses[0][1], self._secret)

    async def close(self) -> None:
        """Stop listening; who waits for a result doesn't get it."""
        if self._runner:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization", "")
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._secret}".encode()):
            raise web.HTTPForbidden(text="Only the emulator invokes functions.")
        try:
            request_id = str(UUID(request.headers.get("X-Amzn-Request-Id", "")))
        except ValueError:
            raise web.HTTPBadRequest(text="X-Amzn-Request-Id is no UUID.") from None
        try:
            result = await self._invoke(request.match_info["name"], await request.read(), request_id)
        except InvocationError as error:
            failure = {"errorType": error.error_type, "errorMessage": error.message, "requestId": request_id}
            return web.json_response(failure, headers={"X-Amz-Function-Error": "Unhandled"})
        return web.Response(body=result, content_type="application/json")
