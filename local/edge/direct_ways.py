"""What functions reach clients by, `@connections` and `publishToken`, at an address for each function.

On AWS these are the services' own addresses, for all callers the same. Here a function has one of its own, so that a
way can be broken for it alone (`local.edge.direct_faults`): `http://127.0.0.1:PORT/<function>/<stage>` for the stage of
the WebSocket API, `…/<function>/graphql` for the GraphQL API. A caller signs it like any other address.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from uuid import uuid4

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from multidict import CIMultiDict
from yarl import URL

from local.edge.appsync import MOUNT as GRAPHQL
from local.edge.direct_faults import DirectFaults, Fault
from local.edge.websocket_clients import Client, Posted, WebSocketClients
from local.edge.websocket_session import MESSAGE_BYTES
from local.loopback import HOST, loopback_only

_STAGE_VARIABLE = "WEBSOCKET_ENDPOINT"
_STAGE_OVERRIDE = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"
_GRAPHQL_VARIABLE = "GRAPHQL_ENDPOINT"

_SECONDS = 60.0
_SHUTDOWN_SECONDS = 0.2
_LARGEST_BODY = 1024 * 1024
# Each of the two connections has its own of these. `Origin` goes on, for the emulator's guard to see.
_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade"}
)
_NOT_PASSED_BACK = _HOP_BY_HOP | {"date", "server"}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def sends_over_websocket(environment: Mapping[str, str]) -> bool:
    """Tell by its variables whether a function calls `@connections`."""
    return _STAGE_VARIABLE in environment


def sends_over_appsync(environment: Mapping[str, str]) -> bool:
    """Tell by its variables whether a function publishes."""
    return _GRAPHQL_VARIABLE in environment


class DirectWays:
    """The server; it can be started once.

    `stage` is the WebSocket API's stage, `connections` where the emulator serves it; `publish` answers a request to the
    GraphQL API. A message to one of `clients` is sent at once, by way of the emulator it would take three connections
    more; what else is asked of `@connections` the emulator answers.
    """

    def __init__(
        self, stage: str, connections: str, clients: WebSocketClients, publish: _Handler, faults: DirectFaults
    ) -> None:
        self._stage = stage
        self._connections = connections
        self._clients = clients
        self._publish = publish
        self._faults = faults
        self._http: ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._address = ""

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(middlewares=[loopback_only], client_max_size=_LARGEST_BODY)
        for function in self._faults.senders("websocket"):
            app.router.add_route("*", f"/{function}/{self._stage}/@connections/{{id}}", self._to_connection(function))
        for function in self._faults.senders("appsync"):
            app.router.add_post(f"/{function}{GRAPHQL}", self._to_subscribers(function))
        self._http = ClientSession(timeout=ClientTimeout(_SECONDS), auto_decompress=False)
        # Cancellation tells that a caller has given up. There is a call for each frame: they aren't worth a line each.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self._address = f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening; calls under way get no answer."""
        if self._runner:
            await self._runner.cleanup()
        if self._http:
            await self._http.close()

    def variables(self, function: str, environment: Mapping[str, str]) -> dict[str, str]:
        """Give what points a function to its addresses: nothing, where its environment names neither API."""
        variables = {}
        if sends_over_websocket(environment):
            variables[_STAGE_OVERRIDE] = f"{self._address}/{function}/{self._stage}"
        if sends_over_appsync(environment):
            variables[_GRAPHQL_VARIABLE] = f"{self._address}/{function}{GRAPHQL}"
        return variables

    def _to_connection(self, function: str) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if fault := self._faults.meet("websocket", function):
                return await _failed(fault, _failed_connection)
            client = self._clients.find(request.match_info["id"])
            # A page's request is the emulator's to refuse.
            if client and request.method == "POST" and "Origin" not in request.headers:
                return await _post(client, await request.read())
            return await self._pass_on(request, request.raw_path.removeprefix(f"/{function}/{self._stage}"))

        return handle

    def _to_subscribers(self, function: str) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if fault := self._faults.meet("appsync", function):
                return await _failed(fault, _failed_publishing)
            return await self._publish(request)

        return handle

    async def _pass_on(self, request: web.Request, path: str) -> web.Response:
        assert self._http is not None  # noqa: S101 - a request comes after the start
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        # The connection's id is percent-encoded already.
        url = URL(self._connections + path, encoded=True)
        try:
            async with self._http.request(
                request.method, url, data=await request.read(), headers=headers, allow_redirects=False
            ) as answer:
                passed_back = [
                    (name, value) for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_BACK
                ]
                return web.Response(status=answer.status, body=await answer.read(), headers=CIMultiDict(passed_back))
        except (ClientError, TimeoutError) as error:
            return web.Response(status=HTTPStatus.BAD_GATEWAY, text=f"MiniStack: {error!r}")


async def _post(client: Client, message: bytes) -> web.Response:
    if len(message) > MESSAGE_BYTES:
        return _failed_connection(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    match await client.post(message):
        case Posted.SENT:
            return web.Response(content_type="application/json")
        case Posted.GONE:
            return _failed_connection(HTTPStatus.GONE)
        case Posted.FULL:
            return _failed_connection(HTTPStatus.TOO_MANY_REQUESTS)


async def _failed(fault: Fault, answer: Callable[[HTTPStatus], web.Response]) -> web.Response:
    match fault:
        case Fault.TIMEOUT:
            # The caller's leaving cancels this.
            await asyncio.Event().wait()
        case Fault.THROTTLE:
            return answer(HTTPStatus.TOO_MANY_REQUESTS)
        case Fault.REFUSE:
            return answer(HTTPStatus.FORBIDDEN)
        case Fault.ERROR:
            pass
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR)


_CONNECTION_FAILURES = {
    HTTPStatus.TOO_MANY_REQUESTS: ("LimitExceededException", "Too Many Requests"),
    HTTPStatus.FORBIDDEN: ("ForbiddenException", "Forbidden"),
    HTTPStatus.GONE: ("GoneException", "Gone"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("PayloadTooLargeException", "Request Entity Too Large"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalServerErrorException", "Internal server error"),
}
"""Types are those of the service model of `apigatewaymanagementapi`, and API Gateway's own for a 500."""

_PUBLISHING_FAILURES = {
    HTTPStatus.TOO_MANY_REQUESTS: ("ThrottlingException", "Rate exceeded"),
    HTTPStatus.FORBIDDEN: ("AccessDeniedException", "User is not authorized to perform: appsync:GraphQL"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalFailure", "Internal failure."),
}


def _failed_connection(status: HTTPStatus) -> web.Response:
    type_, message = _CONNECTION_FAILURES[status]
    request_id = str(uuid4())
    headers = {"x-amzn-ErrorType": type_, "x-amzn-RequestId": request_id}
    return web.json_response({"message": message, "requestId": request_id}, status=status, headers=headers)


def _failed_publishing(status: HTTPStatus) -> web.Response:
    type_, message = _PUBLISHING_FAILURES[status]
    headers = {"x-amzn-ErrorType": type_, "x-amzn-RequestId": str(uuid4())}
    document = {"errors": [{"errorType": type_, "message": message}]}
    return web.json_response(document, status=status, headers=headers)
