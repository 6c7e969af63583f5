"""The parts of the edge that decide: routes, gateway responses, CORS, throttling."""

from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from local.edge.gateway_responses import GatewayResponses
from local.edge.request import ReceivedRequest
from local.edge.rest_routes import RestStage, Route
from local.edge.throttle import Throttle, TokenBucket
from local.edge.url_cors import UrlCors
from tests.local.edge_fakes import rest_stage


def _stage(*routes: tuple[str, str]) -> RestStage:
    stage = rest_stage()
    return RestStage(
        **{field: getattr(stage, field) for field in RestStage.__slots__ if field != "routes"},
        routes=tuple(Route(path, path, method, "fn", 1.0, None) for method, path in routes),
    )


@pytest.mark.parametrize(
    ("method", "path", "resource", "parameters"),
    [
        ("POST", "/", "/", {}),
        ("GET", "/sessions/a%2Fb", "/sessions/{id}", {"id": "a/b"}),
        ("GET", "/sessions/own", "/sessions/own", {}),
        ("GET", "/sessions/1/frames", "/{rest+}", {"rest": "sessions/1/frames"}),
        ("PUT", "/sessions/1", "/sessions/{id}", {"id": "1"}),
        ("DELETE", "/sessions/1", "/{rest+}", {"rest": "sessions/1"}),
    ],
)
def test_a_request_takes_the_most_particular_route(
    method: str, path: str, resource: str, parameters: Mapping[str, str]
) -> None:
    stage = _stage(
        ("ANY", "/{rest+}"),
        ("PUT", "/sessions/{id}"),
        ("GET", "/sessions/{id}"),
        ("GET", "/sessions/own"),
        ("POST", "/"),
    )
    matched = stage.match(method, path)
    assert matched
    assert (matched[0].resource, matched[1]) == (resource, parameters)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/"), ("GET", "/sessions"), ("GET", "/sessions/"), ("GET", "/a/b")]
)
def test_what_no_route_takes_has_none(method: str, path: str) -> None:
    assert rest_stage().match(method, path) is None


def _gateway(type_: str, **item: Any) -> dict[str, Any]:
    return {"responseType": type_, "responseParameters": {}, "responseTemplates": {}, **item}


def test_a_gateway_response_of_its_own_goes_before_its_default_class() -> None:
    responses = GatewayResponses(
        [
            _gateway("DEFAULT_4XX", responseTemplates={"application/json": '{"is": "default"}'}),
            _gateway("UNAUTHORIZED", statusCode="401", responseTemplates={"application/json": '{"is": "own"}'}),
            _gateway("THROTTLED", defaultResponse=True, statusCode="429"),
        ]
    )
    own, default = responses.response("UNAUTHORIZED", "r"), responses.response("THROTTLED", "r")
    assert (own.status, own.text) == (401, '{"is": "own"}')
    assert (default.status, default.text) == (429, '{"is": "default"}')


def test_a_gateway_response_fills_in_the_context_and_literal_headers() -> None:
    responses = GatewayResponses(
        [
            _gateway(
                "UNAUTHORIZED",
                responseParameters={
                    "gatewayresponse.header.X-Own": "'yes'",
                    "gatewayresponse.header.X-Not": "context.x",
                },
                responseTemplates={
                    "application/json": '{"m":$context.error.messageString,"t":"$context.error.responseType",'
                    '"i":"$context.requestId","n":"$context.error.message","x":"$context.unknown"}'
                },
            )
        ]
    )
    response = responses.response("UNAUTHORIZED", "r1", 'a "quoted" word')
    assert response.text == ('{"m":"a \\"quoted\\" word","t":"UNAUTHORIZED","i":"r1","n":"a "quoted" word","x":"-"}')
    assert response.headers["X-Own"] == "yes"
    assert "X-Not" not in response.headers


def test_without_any_of_its_own_a_gateway_response_is_api_gateways() -> None:
    response = GatewayResponses([]).response("MISSING_AUTHENTICATION_TOKEN", "r")
    assert (response.status, response.text) == (403, '{"message":"Missing Authentication Token"}')


def _cors(**settings: Any) -> UrlCors:
    return UrlCors.read({"AllowOrigins": ["https://one.example"], "AllowMethods": ["POST"], **settings})


def _request(method: str = "POST", **headers: str) -> ReceivedRequest:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return ReceivedRequest(method, "/", "", named, b"", "127.0.0.1")


def test_a_preflight_from_a_foreign_origin_is_answered_without_permission() -> None:
    asked = _request("OPTIONS", Origin="https://two.example", Access_Control_Request_Method="POST")
    assert _cors().preflight(asked) == {}


def test_an_options_request_that_is_no_preflight_is_the_functions() -> None:
    assert _cors().preflight(_request("OPTIONS", Origin="https://one.example")) is None


def test_a_preflight_is_told_what_the_settings_allow() -> None:
    asked = _request("OPTIONS", Origin="https://one.example", Access_Control_Request_Method="POST")
    assert _cors(AllowHeaders=["authorization", "accept"], MaxAge=60, AllowCredentials=True).preflight(asked) == {
        "Access-Control-Allow-Origin": "https://one.example",
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "authorization,accept",
        "Access-Control-Max-Age": "60",
    }


def test_the_settings_headers_replace_the_functions() -> None:
    headers = CIMultiDict({"access-control-allow-origin": "https://function.example", "X-Own": "1"})
    _cors(AllowOrigins=["*"], ExposeHeaders=["X-Own"]).apply(_request(Origin="https://any.example"), headers)
    assert dict(headers) == {
        "X-Own": "1",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "X-Own",
    }


def test_a_foreign_origin_gets_no_cors_headers() -> None:
    headers: CIMultiDict[str] = CIMultiDict()
    _cors().apply(_request(Origin="https://two.example"), headers)
    assert not headers


def test_the_bucket_admits_the_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(Throttle(rate=2.0, burst=3))
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]
