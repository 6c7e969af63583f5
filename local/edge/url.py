"""The function URL: every request below `/url` becomes an invocation whose response streams."""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from local.edge.cuts import Cuts
from local.edge.relay import Limits, MalformedHeadError, relay, response_head
from local.edge.request import LOG_NOTE, BodyTooLargeError, ReceivedRequest, receive
from local.edge.url_cors import UrlCors
from local.edge.url_event import url_event
from local.errors import StackError
from local.functions.lambda_service import Invocation, InvocationError, LambdaService, Prelude, TooManyRequests

MOUNT = "/url"
_BODY_LIMIT = 6 * 1024 * 1024


class FunctionUrl:
    """`config` is what Lambda's GetFunctionUrlConfig says."""

    def __init__(self, service: LambdaService, function: str, config: Mapping[str, Any], cuts: Cuts) -> None:
        if config["AuthType"] != "NONE":
            raise StackError("The edge doesn't verify SigV4: deploy with FunctionUrlAuthType=NONE.")
        self._service = service
        self._function = function
        self._domain = urlsplit(config["FunctionUrl"]).hostname or ""
        self._cors = UrlCors.read(config["Cors"]) if config.get("Cors") else None
        self._cuts = cuts

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            request = await receive(http, MOUNT, _BODY_LIMIT)
        except BodyTooLargeError:
            response = _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")
            response.force_close()
            return response
        if self._cors and (headers := self._cors.preflight(request)) is not None:
            return web.Response(headers=headers)
        return await self._invoke(http, request)

    async def _invoke(self, http: web.Request, request: ReceivedRequest) -> web.StreamResponse:
        event = url_event(request, domain=self._domain, now=time.time())
        try:
            invocation = await self._service.invoke(self._function, json.dumps(event).encode())
            response = response_head(_prelude(invocation), invocation.request_id)
        except TooManyRequests as error:
            http[LOG_NOTE] = str(error)
            return self._shared(request, _refusal(HTTPStatus.TOO_MANY_REQUESTS, "Rate Exceeded."))
        except (InvocationError, MalformedHeadError) as error:
            http[LOG_NOTE] = str(error)
            return self._shared(request, _refusal(HTTPStatus.BAD_GATEWAY, "Internal Server Error"))
        self._shared(request, response)
        with self._cuts.connection("url", http) as connection:
            return await relay(connection, response, invocation.body(), Limits())

    def _shared(self, request: ReceivedRequest, response: web.StreamResponse) -> web.StreamResponse:
        if self._cors:
            self._cors.apply(request, response.headers)
        return response


def _prelude(invocation: Invocation) -> Prelude:
    """Without a prelude the client gets the result itself, as a success."""
    return invocation.prelude or Prelude(HTTPStatus.OK, {"Content-Type": invocation.content_type}, [])


def _refusal(status: HTTPStatus, message: str) -> web.Response:
    return web.json_response({"Message": message}, status=status)
