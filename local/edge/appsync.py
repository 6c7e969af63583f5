"""AppSync's front: `POST /graphql` for queries and mutations, and its real-time endpoint beside it.

It does what the emulator doesn't: it verifies tokens and signatures, enforces the schema's directives and the API's
limits, and serves subscriptions. What it lets through the emulator carries out. Any page may call, as on AWS: it is the
token that lets a client in.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from aiohttp import web
from graphql import OperationType

from local.edge.appsync_api import AppSyncApi
from local.edge.appsync_backend import Answer, Backend, BackendFailedError
from local.edge.appsync_callers import Callers
from local.edge.appsync_connection import RealtimeLimits
from local.edge.appsync_errors import FieldErrors, RefusedError
from local.edge.appsync_operation import Operation, Operations
from local.edge.appsync_realtime import Realtime
from local.edge.appsync_request import GraphQLRequest
from local.edge.appsync_signature import SignedRequest
from local.edge.cuts import Cuts
from local.edge.request import LOG_NOTE, BodyTooLargeError, ReceivedRequest, receive
from local.edge.user_pool_keys import KeysUnreadableError

MOUNT = "/graphql"
REALTIME_MOUNT = "/graphql/realtime"
"""Where clients look for the real-time endpoint of an API whose domain isn't AWS's; it is at `MOUNT` as well."""
BODY_LIMIT = 1024 * 1024
"""Source: AppSync quotas, "Request size"."""

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "x-amzn-RequestId,x-amzn-ErrorType",
}
_PREFLIGHT_SECONDS = "3600"


class AppSyncFront:
    """One API's front; added to an application it lives as long as that. `log` takes what no client is told."""

    def __init__(
        self,
        api: AppSyncApi,
        callers: Callers,
        endpoint: str,
        cuts: Cuts,
        *,
        log: Callable[[str], None] = lambda _line: None,
        limits: RealtimeLimits | None = None,
    ) -> None:
        self._api = api
        self._callers = callers
        self._operations = Operations(api.schema, introspection=api.limits.introspection)
        self._backend = Backend(endpoint, api.api_id)
        self._realtime = Realtime(api, callers, self._operations, cuts, log=log, limits=limits)

    def add_to(self, app: web.Application) -> None:
        """Serve as a part of an application."""
        app.router.add_post(MOUNT, self.post)
        app.router.add_options(MOUNT, self._preflight)
        for mount in (MOUNT, REALTIME_MOUNT):
            app.router.add_get(mount, self._realtime.handle, allow_head=False)
        app.on_shutdown.append(self._disconnect)
        app.on_cleanup.append(self._close)

    async def _disconnect(self, _app: web.Application) -> None:
        await self._realtime.disconnect()

    async def _close(self, _app: web.Application) -> None:
        await self._realtime.close()
        await self._backend.close()

    async def _preflight(self, http: web.Request) -> web.Response:
        headers = {
            **_CORS,
            "Access-Control-Allow-Methods": "POST,OPTIONS",
            "Access-Control-Allow-Headers": http.headers.get("Access-Control-Request-Headers", "*"),
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
        }
        return web.Response(headers=headers)

    async def post(self, http: web.Request) -> web.Response:
        """Answer a query or a mutation, wherever it was posted to."""
        try:
            request = await receive(http, "", BODY_LIMIT)
        except BodyTooLargeError:
            response = _refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLargeException", "Request too large."
            )
            response.force_close()
            return response
        try:
            answer = await self._answer(http, request)
        except RefusedError as error:
            return _refusal(error.status, error.type, error.message)
        except FieldErrors as error:
            return _response(HTTPStatus.OK, json.dumps({"data": None, "errors": error.errors}).encode())
        except (KeysUnreadableError, BackendFailedError) as error:
            http[LOG_NOTE] = str(error)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalFailure", "Internal failure.")
        return _response(answer.status, answer.body, answer.content_type)

    async def _answer(self, http: web.Request, request: ReceivedRequest) -> Answer:
        url = f"{http.scheme}://{http.host}{http.raw_path}"
        caller = await self._callers.caller(SignedRequest("POST", url, request.headers, request.body))
        graphql = GraphQLRequest.parse(request.body)
        operation = self._operations.read(graphql)
        if operation.kind is OperationType.SUBSCRIPTION:
            reason = "Subscriptions are for the real-time endpoint."
            raise RefusedError(HTTPStatus.BAD_REQUEST, "UnsupportedOperation", reason)
        operation.check(caller, self._api.limits, self._api.has_resolver)
        answer = await self._backend.execute(graphql, request.headers)
        if operation.kind is OperationType.MUTATION:
            self._publish(operation, answer)
        return answer

    def _publish(self, operation: Operation, answer: Answer) -> None:
        """Give the subscribers what the mutation's caller selected of its results; errors have none."""
        try:
            result = json.loads(answer.body)
        except ValueError:
            return
        match result:
            case {"data": dict(data)} if answer.status == HTTPStatus.OK:
                for mutation, event in operation.results(data):
                    self._realtime.subscriptions.publish(mutation, event)


def _refusal(status: HTTPStatus, type_: str, message: str) -> web.Response:
    body = json.dumps({"errors": [{"errorType": type_, "message": message}]}).encode()
    return _response(status, body, headers={"x-amzn-ErrorType": type_})


def _response(
    status: int, body: bytes, content_type: str = "application/json", headers: Mapping[str, Any] | None = None
) -> web.Response:
    given = {**_CORS, "x-amzn-RequestId": str(uuid4()), **(headers or {})}
    return web.Response(status=status, body=body, content_type=content_type, headers=given)
