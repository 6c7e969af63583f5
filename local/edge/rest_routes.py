"""A REST API's routes, authorizers, throttling and gateway responses as deployed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from local.cloud.clients import AwsClients
from local.edge.authorizer import CognitoAuthorizer
from local.edge.gateway_responses import GatewayResponses
from local.edge.throttle import Throttle
from local.errors import StackError

_STREAMING = re.compile(r":function:(?P<function>[^:/]+)(:[^/]+)?/response-streaming-invocations$")


@dataclass(frozen=True, slots=True)
class Route:
    """A method of a resource and the streaming function behind it; `timeout` in seconds."""

    resource: str
    resource_id: str
    method: str
    function: str
    timeout: float
    authorizer: CognitoAuthorizer | None


@dataclass(frozen=True, slots=True)
class RestStage:
    """One stage of one API."""

    api_id: str
    name: str
    deployment_id: str
    account_id: str
    region: str
    routes: tuple[Route, ...]
    gateway_responses: GatewayResponses
    throttle: Throttle | None
    binary_types: frozenset[str]

    @property
    def domain(self) -> str:
        """The API's host name on AWS."""
        return f"{self.api_id}.execute-api.{self.region}.amazonaws.com"

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Find a request's route and its decoded path parameters; a literal segment goes before a parameter."""
        candidates = [
            (route, parameters)
            for route in self.routes
            if route.method in {method, "ANY"} and (parameters := _parameters(route.resource, path)) is not None
        ]
        return min(candidates, key=_generality, default=None)


def _generality(candidate: tuple[Route, dict[str, str]]) -> tuple[int, int, bool]:
    route, parameters = candidate
    return ("+}" in route.resource, len(parameters), route.method == "ANY")


def _parameters(resource: str, path: str) -> dict[str, str] | None:
    wanted, found = resource.strip("/").split("/"), path.strip("/").split("/")
    if wanted[-1].endswith("+}") and len(found) >= len(wanted):
        found = [*found[: len(wanted) - 1], "/".join(found[len(wanted) - 1 :])]
    if len(wanted) != len(found):
        return None
    parameters = {}
    for name, value in zip(wanted, found, strict=True):
        if name.startswith("{") and value:
            parameters[name.strip("{+}")] = unquote(value)
        elif name != value:
            return None
    return parameters


def read_rest_stage(aws: AwsClients, api_id: str, stage_name: str) -> RestStage:
    """Read a deployed API; raises `StackError` for what the edge doesn't do. Blocks."""
    apigateway = aws("apigateway")
    api = apigateway.get_rest_api(restApiId=api_id)
    stage = apigateway.get_stage(restApiId=api_id, stageName=stage_name)
    settings = stage.get("methodSettings", {}).get("*/*", {})
    authorizers = {item["id"]: _authorizer(aws, item) for item in apigateway.get_authorizers(restApiId=api_id)["items"]}
    resources = apigateway.get_resources(restApiId=api_id, embed=["methods"], limit=500)["items"]
    routes = tuple(
        _route(resource, method, authorizers)
        for resource in resources
        for method in resource.get("resourceMethods", {}).values()
    )
    return RestStage(
        api_id=api_id,
        name=stage_name,
        deployment_id=stage["deploymentId"],
        account_id=aws("sts").get_caller_identity()["Account"],
        region=aws.region,
        routes=routes,
        gateway_responses=GatewayResponses(apigateway.get_gateway_responses(restApiId=api_id, limit=500)["items"]),
        throttle=Throttle(settings["throttlingRateLimit"], settings["throttlingBurstLimit"])
        if "throttlingRateLimit" in settings
        else None,
        binary_types=frozenset(api.get("binaryMediaTypes", ())),
    )


def _authorizer(aws: AwsClients, item: Mapping[str, Any]) -> CognitoAuthorizer:
    if item["type"] != "COGNITO_USER_POOLS" or len(item["providerARNs"]) != 1:
        raise StackError(f"The edge knows Cognito authorizers with one user pool, not {item['name']}.")
    pool = item["providerARNs"][0].rpartition("/")[2]
    clients = aws("cognito-idp").list_user_pool_clients(UserPoolId=pool, MaxResults=60)["UserPoolClients"]
    return CognitoAuthorizer(aws.endpoint, aws.region, pool, frozenset(client["ClientId"] for client in clients))


def _route(
    resource: Mapping[str, Any], method: Mapping[str, Any], authorizers: Mapping[str, CognitoAuthorizer]
) -> Route:
    name = f"{method['httpMethod']} {resource['path']}"
    integration = method["methodIntegration"]
    if not (streaming := _STREAMING.search(integration["uri"])):
        raise StackError(f"The edge passes on streamed responses; {name} is not one.")
    match method["authorizationType"]:
        case "NONE":
            authorizer = None
        case "COGNITO_USER_POOLS":
            authorizer = authorizers[method["authorizerId"]]
        case other:
            raise StackError(f"The edge doesn't know the authorization {other} of {name}.")
    return Route(
        resource=resource["path"],
        resource_id=resource["id"],
        method=method["httpMethod"],
        function=streaming["function"],
        timeout=integration["timeoutInMillis"] / 1000,
        authorizer=authorizer,
    )
