"""An edge in the test's own process, in front of a Lambda service that answers as the test says."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from local.edge.authorizer import CognitoAuthorizer
from local.edge.gateway_responses import GatewayResponses
from local.edge.rest import RestApi
from local.edge.rest_routes import RestStage, Route
from local.edge.server import Edge
from local.edge.throttle import Throttle
from local.edge.url import FunctionUrl
from local.functions.invocation import Invocation
from local.functions.lambda_service import LambdaService
from local.functions.response_channel import HTTP_INTEGRATION, ResponseChannel

Answer = Callable[[ResponseChannel], Awaitable[None]]

URL_CONFIG: dict[str, Any] = {
    "FunctionUrl": "https://abc123.lambda-url.us-east-1.on.aws/",
    "AuthType": "NONE",
    "Cors": {
        "AllowOrigins": ["https://chat.example.com"],
        "AllowMethods": ["POST"],
        "AllowHeaders": ["authorization"],
        "ExposeHeaders": ["X-Session-Id"],
        "MaxAge": 60,
    },
}
_FAILED = {
    "responseType": "INTEGRATION_FAILURE",
    "statusCode": "502",
    "responseParameters": {"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"},
    "responseTemplates": {"application/json": '{"error": {"code": "internal"}}'},
}


class FakeLambdaService(LambdaService):
    """Runs `answer` for every invocation, with a real channel; keeps the events."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(lambda _function, _line: None)
        self._answer = answer
        self.events: list[dict[str, Any]] = []
        self.channels: list[ResponseChannel] = []

    async def invoke(self, name: str, event: bytes, request_id: str | None = None) -> Invocation:
        self.events.append(json.loads(event))
        channel = ResponseChannel()
        self.channels.append(channel)
        await self._answer(channel)
        head = await channel.head
        return Invocation(
            "request-1", cold=False, content_type=head.content_type, prelude=head.prelude, channel=channel
        )


async def begin(channel: ResponseChannel, status: int = 200, **headers: str) -> None:
    """Start an HTTP response, as a function under the wrapper does."""
    channel.start(HTTP_INTEGRATION)
    head = {"statusCode": status, "headers": {name.replace("_", "-"): value for name, value in headers.items()}}
    await channel.write(json.dumps({**head, "cookies": []}).encode() + bytes(8))


def rest_stage(
    *,
    authorizer: CognitoAuthorizer | None = None,
    timeout: float = 30.0,
    throttle: Throttle | None = None,
    gateway_responses: list[dict[str, Any]] | None = None,
    binary_types: frozenset[str] = frozenset(),
) -> RestStage:
    """Make a stage `dev` with `POST /`, `GET /sessions/{id}` and `OPTIONS /`."""
    routes = [("/", "POST", authorizer), ("/sessions/{id}", "GET", authorizer), ("/", "OPTIONS", None)]
    return RestStage(
        api_id="api123",
        name="dev",
        deployment_id="dep123",
        account_id="000000000000",
        region="us-east-1",
        routes=tuple(Route(path, f"res{path}", method, "fn", timeout, auth) for path, method, auth in routes),
        gateway_responses=GatewayResponses([_FAILED] if gateway_responses is None else gateway_responses),
        throttle=throttle,
        binary_types=binary_types,
    )


@asynccontextmanager
async def running_edge(
    service: LambdaService, stage: RestStage | None = None, log: Callable[[str], None] = lambda _line: None
) -> AsyncIterator[str]:
    """Serve both fronts; gives the edge's address."""
    edge = Edge(log)
    try:
        yield await edge.start(
            FunctionUrl(service, "fn", URL_CONFIG, edge.cuts), RestApi(service, stage or rest_stage(), edge.cuts)
        )
    finally:
        await edge.close()
