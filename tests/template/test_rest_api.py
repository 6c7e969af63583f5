import json
from typing import Any

import pytest

from tests.template.transformed import stack
from tokenstream.errors import ErrorCode

CALLS = {("/", "POST"), ("/sessions/{id}", "GET"), ("/sessions/{id}", "DELETE")}
PREFLIGHTS = {("/", "OPTIONS"), ("/sessions/{id}", "OPTIONS")}


def integration(path: str, method: str) -> dict[str, Any]:
    definitions = {(path, method): definition for path, method, definition in stack().methods()}
    value: dict[str, Any] = definitions[path, method]["x-amazon-apigateway-integration"]
    return value


def gateway_responses() -> dict[str, dict[str, Any]]:
    responses: dict[str, dict[str, Any]] = stack().properties("RestApi")["Body"][
        "x-amazon-apigateway-gateway-responses"
    ]
    return responses


def test_it_has_the_paths_that_clients_call_and_no_other() -> None:
    assert {(path, method) for path, method, _ in stack().methods()} == CALLS | PREFLIGHTS


@pytest.mark.parametrize(("path", "method"), sorted(CALLS | PREFLIGHTS))
def test_the_response_is_streamed(path: str, method: str) -> None:
    # Every method, the short ones too: the runtime posts each HTTP result with the prelude.
    assert integration(path, method)["responseTransferMode"] == "STREAM"
    assert integration(path, method)["uri"].endswith("/response-streaming-invocations")
    assert "/2021-11-15/functions/" in integration(path, method)["uri"]


@pytest.mark.parametrize(("path", "method"), [("/", "POST"), ("/sessions/{id}", "GET")])
def test_a_stream_may_last_as_long_as_the_function(path: str, method: str) -> None:
    longest = 900
    assert integration(path, method)["timeoutInMillis"] == longest * 1000


def test_an_idle_stream_is_not_cut_after_half_a_minute() -> None:
    assert stack().properties("RestApi")["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


@pytest.mark.parametrize(("path", "method"), sorted(CALLS))
def test_nobody_gets_in_without_a_token(path: str, method: str) -> None:
    definitions = {(path, method): definition for path, method, definition in stack().methods()}
    # No scopes: with one the authorizer would want an access token, and clients send the ID token.
    assert definitions[path, method]["security"] == [{"Cognito": []}]


@pytest.mark.parametrize(("path", "method"), sorted(PREFLIGHTS))
def test_a_preflight_needs_no_token(path: str, method: str) -> None:
    definitions = {(path, method): definition for path, method, definition in stack().methods()}
    assert {"Cognito": []} not in definitions[path, method].get("security", [])


def test_the_tokens_are_those_of_the_user_pool() -> None:
    schemes = stack().properties("RestApi")["Body"]["components"]["securitySchemes"]
    authorizer = schemes["Cognito"]["x-amazon-apigateway-authorizer"]
    assert (authorizer["type"], authorizer["providerARNs"]) == ("cognito_user_pools", ["UserPool.Arn"])


@pytest.mark.parametrize(
    ("response", "status", "code", "retryable"),
    [
        ("UNAUTHORIZED", 401, "unauthorized", False),
        ("EXPIRED_TOKEN", 401, "unauthorized", False),
        ("ACCESS_DENIED", 403, "forbidden", False),
        ("WAF_FILTERED", 403, "forbidden", False),
        ("MISSING_AUTHENTICATION_TOKEN", 404, "not_found", False),
        ("RESOURCE_NOT_FOUND", 404, "not_found", False),
        ("BAD_REQUEST_BODY", 400, "invalid_request", False),
        ("REQUEST_TOO_LARGE", 413, "too_large", False),
        ("THROTTLED", 429, "throttled", True),
        ("INTEGRATION_TIMEOUT", 504, "internal", True),
        ("INTEGRATION_FAILURE", 502, "internal", True),
        ("DEFAULT_4XX", None, "invalid_request", False),
        ("DEFAULT_5XX", None, "internal", True),
    ],
)
def test_the_gateways_own_errors_look_like_the_functions(
    response: str, status: int | None, code: str, retryable: bool
) -> None:
    definition = gateway_responses()[response]
    error = json.loads(definition["responseTemplates"]["application/json"])["error"]
    assert (definition.get("statusCode"), error["code"], error["retryable"]) == (
        status and str(status),
        code,
        retryable,
    )
    assert error.keys() == {"code", "message", "retryable"}
    assert error["code"] in set(ErrorCode)


def test_a_page_can_read_the_gateways_own_errors() -> None:
    for definition in gateway_responses().values():
        assert definition["responseParameters"]["gatewayresponse.header.Access-Control-Allow-Origin"] == "'*'"


def test_a_throttled_page_can_read_when_to_try_again() -> None:
    parameters = gateway_responses()["THROTTLED"]["responseParameters"]
    assert parameters["gatewayresponse.header.Retry-After"] == "'1'"
    assert parameters["gatewayresponse.header.Access-Control-Expose-Headers"] == "'Retry-After'"


def stage(**parameters: str) -> dict[str, Any]:
    [(_, properties)] = stack(**parameters).of_type("AWS::ApiGateway::Stage")
    return properties


def test_it_is_throttled_and_logs_no_bodies() -> None:
    [settings] = stage()["MethodSettings"]
    assert (settings["HttpMethod"], settings["ResourcePath"]) == ("*", "/*")
    assert settings["ThrottlingRateLimit"] > 0
    assert settings["ThrottlingBurstLimit"] > 0
    assert settings["DataTraceEnabled"] is False


def test_an_account_without_cloudwatch_role_can_deploy_it() -> None:
    assert "AccessLogSetting" not in stage()


def test_the_access_log_holds_no_token() -> None:
    settings = stage(AccessLogs="true")["AccessLogSetting"]
    assert settings["DestinationArn"] == "RestAccessLog.Arn"
    entry = json.loads(settings["Format"])
    assert not [value for value in entry.values() if "header" in value or "querystring" in value.lower()]


def test_there_is_one_stage_named_as_asked() -> None:
    assert stage(Stage="prod")["StageName"] == "prod"
