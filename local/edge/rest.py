"""The REST API: what comes in below `/rest/<stage>` passes throttling, routing and authorizer, then is invoked."""

import asyncio
import json
import time
from uuid import uuid4

from aiohttp import web

from local.edge.authorizer import AuthorizerFailedError, UnauthorizedError
from local.edge.cuts import Cuts
from local.edge.relay import Limits, MalformedHeadError, relay, response_head
from local.edge.request import LOG_NOTE, BodyTooLargeError, receive
from local.edge.rest_event import rest_event
from local.edge.rest_routes import RestStage, Route
from local.edge.throttle import TokenBucket
from local.functions.lambda_service import Invocation, InvocationError, LambdaService, Prelude

MOUNT = "/rest"
_BODY_LIMIT = 10 * 1024 * 1024
# For a regional endpoint. Source: API Gateway developer guide, "Stream the integration response".
_IDLE_SECONDS = 300.0


class RestApi:
    """One deployed stage."""

    def __init__(self, service: LambdaService, stage: RestStage, cuts: Cuts) -> None:
        self._service = service
        self._stage = stage
        self._cuts = cuts
        self._throttle = TokenBucket(stage.throttle) if stage.throttle else None

    @property
    def mount(self) -> str:
        """The path that the API's own paths follow."""
        return f"{MOUNT}/{self._stage.name}"

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer one request."""
        request_id = str(uuid4())
        if self._throttle and not self._throttle.take(asyncio.get_running_loop().time()):
            return self._refusal("THROTTLED", request_id)
        try:
            request = await receive(http, self.mount, _BODY_LIMIT)
        except BodyTooLargeError:
            response = self._refusal("REQUEST_TOO_LARGE", request_id)
            response.force_close()
            return response
        if not (matched := self._stage.match(request.method, request.path)):
            return self._refusal("MISSING_AUTHENTICATION_TOKEN", request_id)
        route, path_parameters = matched
        try:
            claims = await route.authorizer.claims(request.header("Authorization")) if route.authorizer else None
        except UnauthorizedError as error:
            return self._refusal("UNAUTHORIZED", request_id, str(error))
        except AuthorizerFailedError as error:
            http[LOG_NOTE] = str(error)
            return self._refusal("AUTHORIZER_FAILURE", request_id)
        event = rest_event(
            request,
            self._stage,
            route,
            path_parameters=path_parameters,
            claims=claims,
            request_id=request_id,
            now=time.time(),
        )
        return await self._invoke(http, route, event, request_id)

    async def _invoke(
        self, http: web.Request, route: Route, event: dict[str, object], request_id: str
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(route.timeout):
                invocation = await self._service.invoke(route.function, json.dumps(event).encode())
            response = response_head(_prelude(invocation), request_id)
        except TimeoutError:
            return self._refusal("INTEGRATION_TIMEOUT", request_id)
        except (InvocationError, MalformedHeadError) as error:
            http[LOG_NOTE] = str(error)
            return self._refusal("INTEGRATION_FAILURE", request_id)
        limits = Limits(total=max(0.0, started + route.timeout - loop.time()), idle=_IDLE_SECONDS)
        with self._cuts.connection("rest", http) as connection:
            return await relay(connection, response, invocation.body(), limits)

    def _refusal(self, type_: str, request_id: str, message: str | None = None) -> web.Response:
        return self._stage.gateway_responses.response(type_, request_id, message)


def _prelude(invocation: Invocation) -> Prelude:
    if not invocation.prelude:
        raise MalformedHeadError("no HTTP prelude")
    return invocation.prelude
