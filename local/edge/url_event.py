"""A function URL's event, payload format 2.0. Source: Lambda developer guide, "Invoking Lambda function URLs"."""

import base64
import time
from typing import Any
from uuid import uuid4

from local.edge.request import ReceivedRequest

_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/javascript"})


def url_event(request: ReceivedRequest, *, domain: str, now: float) -> dict[str, Any]:
    """Make what the function is invoked with; what is empty is left out, as Lambda does."""
    url_id = domain.partition(".")[0]
    body, is_base64 = _body(request)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": _headers(request, domain),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": url_id,
            "domainName": domain,
            "domainPrefix": url_id,
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.source_ip,
                "userAgent": request.header("User-Agent"),
            },
            "requestId": str(uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": is_base64,
    }
    if cookies := [cookie.strip() for value in request.header_values("Cookie") for cookie in value.split(";")]:
        event["cookies"] = cookies
    if parameters := _joined(request.query_items()):
        event["queryStringParameters"] = parameters
    if body:
        event["body"] = body
    return event


def _headers(request: ReceivedRequest, domain: str) -> dict[str, str]:
    """Lower-case names; several values of one name joined by commas. Cookies are apart."""
    pairs = [(name.lower(), value) for name, value in request.headers if name.lower() not in {"cookie", "connection"}]
    return {
        **_joined(pairs),
        "host": domain,
        "x-forwarded-for": request.source_ip,
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: ",".join(several) for name, several in values.items()}


def _body(request: ReceivedRequest) -> tuple[str, bool]:
    media_type = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml")):
        try:
            return request.body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(request.body).decode(), bool(request.body)
