"""The web client as CloudFront serves it: the built page, its `config.json`, and what it may load and call."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from local.edge.access_log import access_logger
from local.loopback import HOST, loopback_only

CONFIG_KEYS = (
    "functionUrl",
    "restUrl",
    "websocketUrl",
    "graphqlUrl",
    "graphqlRealtimeUrl",
    "awsEndpointUrl",
    "region",
    "userPoolId",
    "userPoolClientId",
    "username",
    "password",
    "stackName",
)
"""What the page gets of the endpoints file; user and password are this run's own."""


class WebClient:
    """Serves a build. `log` takes the access lines."""

    def __init__(self, build: Path, log: Callable[[str], None]) -> None:
        self._build = build
        self._log = log
        self._config: Mapping[str, Any] = {}
        self._policy = ""
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on this port, or a free one; returns `http://127.0.0.1:PORT`. Pages have to be `configure`d."""
        app = web.Application(middlewares=[loopback_only, self._with_headers])
        app.router.add_get("/", self._page)
        app.router.add_get("/config.json", self._configuration)
        app.router.add_static("/", self._build)
        self._runner = web.AppRunner(app, access_log_class=access_logger(self._log), shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        return f"http://{HOST}:{self._runner.addresses[0][1]}"

    def configure(self, endpoints: Mapping[str, Any]) -> None:
        """Tell pages of the stack whose endpoints these are, and let them call nothing else."""
        self._config = {key: endpoints[key] for key in CONFIG_KEYS if key in endpoints}
        self._policy = content_security_policy(value for key, value in self._config.items() if key.endswith("Url"))

    async def close(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _page(self, _request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._build / "index.html")

    async def _configuration(self, _request: web.Request) -> web.Response:
        return web.json_response(self._config)

    @web.middleware
    async def _with_headers(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers.update(
            {
                "Content-Security-Policy": self._policy,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            }
        )
        return response


def content_security_policy(urls: Iterable[str]) -> str:
    """Write the policy of the template's distribution, with these addresses in place of the region's services."""
    origins = sorted({f"{url.scheme}://{url.netloc}" for url in map(urlsplit, urls)})
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self' {' '.join(origins)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
