"""What API Gateway answers itself. Source: API Gateway developer guide, "Gateway responses"."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

# Type to status and message, as they are without the template's own gateway responses.
_DEFAULTS = {
    "INTEGRATION_FAILURE": (502, "Internal server error"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out"),
    "AUTHORIZER_FAILURE": (500, "Internal server error"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "Missing Authentication Token"),
    "REQUEST_TOO_LARGE": (413, "Request Too Long"),
    "THROTTLED": (429, "Too Many Requests"),
    "UNAUTHORIZED": (401, "Unauthorized"),
}
_HEADER = "gatewayresponse.header."
_VARIABLE = re.compile(r"\$context\.([A-Za-z.]+)")
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class _Custom:
    status: int | None
    headers: Mapping[str, str]
    template: str | None


class GatewayResponses:
    """`items` is what API Gateway's GetGatewayResponses says of a REST API."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._custom = {item["responseType"]: _custom(item) for item in items if not item.get("defaultResponse")}

    def response(self, type_: str, request_id: str, message: str | None = None) -> web.Response:
        """Make the response of this type from its own settings, else those of its default class, else API Gateway's."""
        status, usual = _DEFAULTS[type_]
        custom = self._custom.get(type_) or self._custom.get(f"DEFAULT_{status // 100}XX")
        context = {
            "error.message": message or usual,
            "error.messageString": json.dumps(message or usual),
            "error.responseType": type_,
            "requestId": request_id,
        }
        template = (custom and custom.template) or '{"message":$context.error.messageString}'
        body = _VARIABLE.sub(lambda variable: context.get(variable[1], "-"), template)
        headers = CIMultiDict(custom.headers if custom else {})
        headers["x-amzn-RequestId"] = request_id
        return web.Response(status=(custom and custom.status) or status, headers=headers, text=body, content_type=_JSON)


def _custom(item: Mapping[str, Any]) -> _Custom:
    status = item.get("statusCode")
    return _Custom(
        status=int(status) if status else None,
        # A literal is written in single quotes; mapped values, which are not, would need the request.
        headers={
            name.removeprefix(_HEADER): value[1:-1]
            for name, value in item.get("responseParameters", {}).items()
            if name.startswith(_HEADER) and value.startswith("'")
        },
        template=item.get("responseTemplates", {}).get(_JSON),
    )
