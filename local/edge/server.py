"""The edge: the HTTP fronts that AWS would be, on loopback, with nothing buffered and nothing compressed.

Besides `/url`, `/rest/<stage>` and `/graphql`: `GET /_control/health`, `POST /_control/cut` (`local.edge.cuts`), and
`POST` and `GET /_control/faults` (`local.edge.direct_faults`).
"""

import ssl
from collections.abc import Callable

from aiohttp import web

from local.edge.access_log import access_logger
from local.edge.appsync import AppSyncFront
from local.edge.cuts import Cuts
from local.edge.direct_faults import DirectFaults
from local.edge.rest import MOUNT as REST_MOUNT
from local.edge.rest import RestApi
from local.edge.url import MOUNT as URL_MOUNT
from local.edge.url import FunctionUrl
from local.loopback import HOST, loopback_only

_SHUTDOWN_SECONDS = 0.2


class Edge:
    """The server; it can be started once. `log` takes the access lines."""

    def __init__(self, log: Callable[[str], None], faults: DirectFaults | None = None) -> None:
        self.cuts = Cuts()
        self._faults = faults or DirectFaults({})
        self._log = log
        self._runner: web.AppRunner | None = None

    async def start(
        self, function_url: FunctionUrl, rest_api: RestApi, appsync: AppSyncFront | None = None, port: int = 0
    ) -> str:
        """Listen on this port, or a free one; returns `http://127.0.0.1:PORT`."""
        app = web.Application(middlewares=[loopback_only])
        app.router.add_get("/_control/health", self._health)
        app.router.add_post("/_control/cut", self.cuts.handle)
        app.router.add_post("/_control/faults", self._faults.give_order)
        app.router.add_get("/_control/faults", self._faults.show)
        for mount, handler in ((URL_MOUNT, function_url.handle), (rest_api.mount, rest_api.handle)):
            app.router.add_route("*", mount, handler)
            app.router.add_route("*", mount + "/{path:.*}", handler)
        app.router.add_route("*", REST_MOUNT + "/{path:.*}", _forbidden)
        if appsync is not None:
            appsync.add_to(app)
        # A body that the client compressed goes to the function as it is.
        self._runner = web.AppRunner(
            app, access_log_class=access_logger(self._log), auto_decompress=False, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        return f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def listen_with_tls(self, context: ssl.SSLContext, port: int = 0) -> str:
        """Listen on another port as well, with TLS; returns `https://127.0.0.1:PORT`."""
        assert self._runner is not None  # noqa: S101 - started before
        await web.TCPSite(self._runner, HOST, port, ssl_context=context).start()
        return f"https://{HOST}:{self._runner.addresses[1][1]}"

    async def close(self) -> None:
        """Cut what streams and stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "streaming": self.cuts.streaming()})


async def _forbidden(_request: web.Request) -> web.Response:
    """Answer for an unknown stage."""
    return web.json_response({"message": "Forbidden"}, status=403)
