"""AppSync's real-time endpoint: lets clients connect, and subscribe."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from graphql import OperationType

from local.cloud.guarded_ministack import is_loopback
from local.edge import appsync_messages as messages
from local.edge.appsync_api import AppSyncApi
from local.edge.appsync_callers import Caller, Callers, identity
from local.edge.appsync_connection import (
    CLOSE_SECONDS,
    MESSAGE_BYTES,
    InternalFailureError,
    RealtimeConnection,
    RealtimeLimits,
)
from local.edge.appsync_errors import BAD_REQUEST, RefusedError, unauthorized
from local.edge.appsync_handshake import SUBPROTOCOL, NoCredentialsError, credentials
from local.edge.appsync_messages import Start
from local.edge.appsync_operation import Operations
from local.edge.appsync_request import GraphQLRequest
from local.edge.appsync_resolver import ResolverFailedError, ResolverRunner
from local.edge.appsync_signature import SignedRequest
from local.edge.appsync_subscription import Subscription, Subscriptions
from local.edge.cuts import Cuts
from local.edge.request import LOG_NOTE
from local.edge.user_pool_keys import KeysUnreadableError

# What clients sign, whatever the address of the real-time endpoint.
_PATH = "/graphql"
_CONNECT_PATH = "/graphql/connect"


class Realtime:
    """The clients of one API. `subscriptions` are those of all of them, to publish to."""

    def __init__(
        self,
        api: AppSyncApi,
        callers: Callers,
        operations: Operations,
        cuts: Cuts,
        *,
        log: Callable[[str], None],
        limits: RealtimeLimits | None,
    ) -> None:
        self.subscriptions = Subscriptions(api.schema)
        self._api = api
        self._callers = callers
        self._operations = operations
        self._cuts = cuts
        self._log = log
        self._limits = limits or RealtimeLimits()
        self._resolvers = ResolverRunner()
        self._open: set[RealtimeConnection] = set()

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Serve one client."""
        refusal = await self._refusal(http)
        socket = web.WebSocketResponse(
            protocols=[SUBPROTOCOL],
            compress=False,
            timeout=CLOSE_SECONDS,
            # aiohttp's is the first size that it doesn't take.
            max_msg_size=MESSAGE_BYTES + 1,
        )
        await socket.prepare(http)
        transport = http.transport
        if not transport:
            return socket
        with self._cuts.socket(transport, "appsync") as cuttable:
            connection = RealtimeConnection(
                socket,
                transport,
                self._subscribe,
                self.subscriptions,
                self._limits,
                on_sent=lambda: self._cuts.message_sent(cuttable),
                log=self._note,
            )
            self._open.add(connection)
            try:
                await (connection.refuse(refusal) if refusal else connection.run())
            finally:
                self._open.discard(connection)
                counts = f"{connection.received} in {connection.sent} out"
                http[LOG_NOTE] = f"{socket.close_code}, {'refused' if refusal else counts}"
        return socket

    async def disconnect(self) -> None:
        """Close every connection, as going away."""
        await asyncio.gather(*(connection.go_away() for connection in self._open))

    async def close(self) -> None:
        """End what runs besides."""
        await self._resolvers.close()

    async def _refusal(self, http: web.Request) -> str | None:
        """Look at a client's credentials; gives what it is told when they aren't in order."""
        offered = [
            name.strip() for line in http.headers.getall("Sec-WebSocket-Protocol", ()) for name in line.split(",")
        ]
        if SUBPROTOCOL not in offered:
            return messages.connection_error(400, None, "NoProtocolError")
        try:
            given = credentials(offered, http.raw_path.partition("?")[2])
            await self._caller(given.headers, _CONNECT_PATH, given.body)
        except NoCredentialsError:
            return messages.connection_error(400, BAD_REQUEST, "Required headers are missing.")
        except RefusedError as error:
            return messages.connection_error(error.status, error.type, error.message)
        except InternalFailureError as error:
            self._note(str(error))
            return messages.connection_error(500, "InternalFailure", "Internal failure.")
        return None

    async def _caller(self, headers: tuple[tuple[str, str], ...], path: str, body: bytes) -> Caller:
        """Verify what headers say that came in a message; raises `RefusedError` and `InternalFailureError`."""
        host = dict(headers).get("host", "")
        if not self._is_own(host):
            raise unauthorized()
        try:
            return await self._callers.caller(SignedRequest("POST", f"https://{host}{path}", headers, body))
        except KeysUnreadableError as error:
            raise InternalFailureError(str(error)) from error

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return is_loopback(name) or name == self._api.domain

    def _note(self, what: str) -> None:
        self._log(f"APPSYNC {what}")

    async def _subscribe(self, message: Start) -> Subscription:
        caller = await self._caller(message.headers, _PATH, message.data.encode(errors="surrogatepass"))
        request = GraphQLRequest.parse(message.data)
        operation = self._operations.read(request)
        if operation.kind is not OperationType.SUBSCRIPTION:
            reason = f"{operation.kind.value} not supported through the realtime channel"
            raise RefusedError(HTTPStatus.BAD_REQUEST, "UnsupportedOperation", reason)
        operation.check(caller, self._api.limits, self._api.has_resolver)
        subscription = Subscription(self._api.schema, operation, request.variables)
        if code := self._api.subscription_resolvers.get(subscription.field):
            context = _context(subscription, caller, message.headers)
            try:
                subscription.filter = (await self._resolvers.run(code, context)).filter
            except ResolverFailedError as error:
                raise InternalFailureError(f"{subscription.field}: {error}") from error
        return subscription


def _context(subscription: Subscription, caller: Caller, headers: tuple[tuple[str, str], ...]) -> dict[str, object]:
    """Give what a resolver sees as `ctx`. Source: AppSync developer guide, "JavaScript resolver context object"."""
    return {
        "arguments": subscription.arguments,
        "args": subscription.arguments,
        "identity": identity(caller),
        "source": None,
        "stash": {},
        "prev": None,
        "request": {"headers": dict(headers), "domainName": None},
        "info": {
            "fieldName": subscription.field,
            "parentTypeName": "Subscription",
            "variables": subscription.variables,
            "selectionSetList": subscription.selection,
        },
    }
