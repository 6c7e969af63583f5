"""A REST API's event for a proxy integration. Source: API Gateway developer guide, "Input format"."""

import base64
import time
from collections.abc import Mapping
from typing import Any

from local.edge.request import ReceivedRequest
from local.edge.rest_routes import RestStage, Route

_NO_IDENTITY = (
    "accessKey",
    "accountId",
    "caller",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "user",
    "userArn",
)


def rest_event(
    request: ReceivedRequest,
    stage: RestStage,
    route: Route,
    *,
    path_parameters: Mapping[str, str],
    claims: Mapping[str, str] | None,
    request_id: str,
    now: float,
) -> dict[str, Any]:
    """Make what the function is invoked with; what is empty is null, as API Gateway does."""
    headers = _grouped(
        [
            *((name, value) for name, value in request.headers if name.lower() not in {"connection", "host"}),
            ("Host", stage.domain),
            ("X-Forwarded-For", request.source_ip),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
        ]
    )
    query = _grouped(request.query_items())
    body, is_base64 = _body(request, stage)
    return {
        "resource": route.resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": _last(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _last(query) or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": dict(path_parameters) or None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": route.resource_id,
            **({"authorizer": {"claims": dict(claims)}} if claims is not None else {}),
            "resourcePath": route.resource,
            "httpMethod": request.method,
            "extendedRequestId": request_id,
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "path": f"/{stage.name}{request.path}",
            "accountId": stage.account_id,
            "protocol": "HTTP/1.1",
            "stage": stage.name,
            "domainPrefix": stage.api_id,
            "requestTimeEpoch": int(now * 1000),
            "requestId": request_id,
            "identity": {
                **dict.fromkeys(_NO_IDENTITY),
                "sourceIp": request.source_ip,
                "userAgent": request.header("User-Agent"),
            },
            "domainName": stage.domain,
            "deploymentId": stage.deployment_id,
            "apiId": stage.api_id,
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _last(values: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: several[-1] for name, several in values.items()}


def _body(request: ReceivedRequest, stage: RestStage) -> tuple[str | None, bool]:
    if not request.body:
        return None, False
    media_type = (request.header("Content-Type") or "application/json").partition(";")[0].strip().lower()
    if stage.binary_types & {media_type, "*/*"}:
        return base64.b64encode(request.body).decode(), True
    # Whatever isn't declared binary is read as text, at the cost of bytes that aren't.
    return request.body.decode(errors="replace"), False
