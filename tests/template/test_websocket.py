import json
import re
from collections.abc import Collection
from typing import Any

import pytest

from tests.template.test_permissions import as_list
from tests.template.transformed import source, stack, transformed

ROUTES = {
    "$connect": "WsConnectionFunction",
    "$disconnect": "WsConnectionFunction",
    "stream": "WsMessageFunction",
    "cancel": "WsMessageFunction",
    "resume": "WsMessageFunction",
    "ping": "WsMessageFunction",
    "$default": "WsMessageFunction",
}
INTEGRATION_SECONDS = 29
"""How long API Gateway waits for a route. Source: API Gateway quotas, WebSocket APIs."""


def only(type_: str, **parameters: str) -> dict[str, Any]:
    [(_, properties)] = stack(**parameters).of_type(type_)
    return properties


def stage(**parameters: str) -> dict[str, Any]:
    return only("AWS::ApiGatewayV2::Stage", **parameters)


def routes() -> dict[str, dict[str, Any]]:
    return {properties["RouteKey"]: properties for _, properties in stack().of_type("AWS::ApiGatewayV2::Route")}


def function_of(route: dict[str, Any]) -> str:
    """The function behind a route."""
    integration = stack().properties(route["Target"].removeprefix("integrations/"))
    assert integration["IntegrationType"] == "AWS_PROXY"
    function: str = integration["IntegrationUri"].partition("/functions/")[2].partition("/")[0]
    return function.removesuffix(".Arn")


def test_each_action_reaches_the_function_that_serves_it() -> None:
    assert {key: function_of(route) for key, route in routes().items()} == ROUTES


def test_the_action_of_a_message_chooses_its_route() -> None:
    assert stack().properties("WebSocketApi")["RouteSelectionExpression"] == "$request.body.action"


def test_nobody_connects_without_the_authorizer() -> None:
    connect = routes()["$connect"]
    assert connect["AuthorizationType"] == "CUSTOM"
    authorizer = stack().properties(connect["AuthorizerId"])
    assert authorizer["AuthorizerType"] == "REQUEST"
    assert "/functions/WsAuthorizeFunction.Arn/invocations" in authorizer["AuthorizerUri"]


def test_a_handshake_is_not_refused_for_lacking_one_of_the_two_ways_to_pass_a_token() -> None:
    # Every source that is named has to be present; each request has a host.
    assert only("AWS::ApiGatewayV2::Authorizer")["IdentitySource"] == ["route.request.header.Host"]


def test_no_route_outlasts_the_gateways_patience() -> None:
    for function in {"WsAuthorizeFunction", *ROUTES.values()}:
        assert stack().properties(function)["Timeout"] < INTEGRATION_SECONDS


def test_a_route_is_not_cut_before_its_function_gives_up() -> None:
    for _, integration in stack().of_type("AWS::ApiGatewayV2::Integration"):
        assert integration.get("TimeoutInMillis", INTEGRATION_SECONDS * 1000) == INTEGRATION_SECONDS * 1000


def test_an_answer_may_take_as_long_as_on_the_other_paths() -> None:
    deployed = stack(StreamTimeoutSeconds="900")
    assert deployed.properties("WsStreamFunction")["Timeout"] == "900"
    assert deployed.properties("HttpStreamFunction")["Timeout"] == "900"


def invoke_config(function: str) -> dict[str, Any]:
    [config] = [
        properties
        for _, properties in stack().of_type("AWS::Lambda::EventInvokeConfig")
        if properties["FunctionName"] == function
    ]
    return config


def test_no_answer_is_generated_a_second_time_by_itself() -> None:
    assert invoke_config("WsStreamFunction")["MaximumRetryAttempts"] == 0


def test_a_stream_does_not_start_long_after_its_client_has_stopped_waiting() -> None:
    assert invoke_config("WsStreamFunction")["MaximumEventAgeInSeconds"] == 60


def test_a_stream_that_fails_is_not_forgotten() -> None:
    config = invoke_config("WsStreamFunction")
    assert config["Qualifier"] == "$LATEST"
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == "RecoveryStartFunction.Arn"


def test_a_function_that_answers_knows_the_stage_of_its_connections() -> None:
    for function in ("WsMessageFunction", "WsStreamFunction", "DeliverFunction", "RecoveryFunction"):
        endpoint = stack(Stage="prod").environment(function)["WEBSOCKET_ENDPOINT"]
        assert endpoint == "https://WebSocketApi.execute-api.us-east-1.amazonaws.com/prod"


def test_clients_connect_to_the_stage_that_is_deployed() -> None:
    deployed = stack(Stage="prod")
    assert deployed.outputs["WebSocketUrl"]["Value"] == "wss://WebSocketApi.execute-api.us-east-1.amazonaws.com/prod"
    assert stage(Stage="prod")["StageName"] == "prod"


def test_a_change_of_the_routes_is_deployed() -> None:
    assert stage()["AutoDeploy"] is True


def test_messages_are_throttled() -> None:
    settings = stage()["DefaultRouteSettings"]
    assert 0 < settings["ThrottlingRateLimit"] < 10_000
    assert settings["ThrottlingBurstLimit"] >= settings["ThrottlingRateLimit"]
    assert "RouteSettings" not in stage(), "a route with settings of its own has none of the default ones"


def test_no_prompt_is_in_a_log_of_the_gateways() -> None:
    settings = stage()["DefaultRouteSettings"]
    assert settings["DataTraceEnabled"] is False
    # As a text: YAML takes a bare OFF for false.
    assert settings["LoggingLevel"] == "OFF"


def test_an_account_without_cloudwatch_role_can_deploy_it() -> None:
    assert "AccessLogSettings" not in stage()


def test_the_access_log_holds_no_token() -> None:
    settings = stage(AccessLogs="true")["AccessLogSettings"]
    assert settings["DestinationArn"] == "WebSocketAccessLog.Arn"
    entry = json.loads(settings["Format"])
    assert entry["connectionId"] == "$context.connectionId"
    # The token is in a header or in the query string: nothing of the request itself is logged.
    assert all(value.startswith("$context.") for value in entry.values())
    forbidden = ("header", "query", "body", "path", "protocol")
    assert not [value for value in entry.values() if any(word in value.lower() for word in forbidden)]


def test_the_access_log_forgets() -> None:
    log = stack(AccessLogs="true", LogRetentionDays="14").properties("WebSocketAccessLog")
    assert log["RetentionInDays"] == "14"


def test_connections_expire_and_are_encrypted() -> None:
    table = stack().properties("ConnectionsTable")
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == [("connectionId", "HASH")]
    assert table["SSESpecification"]["SSEEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_connections_go_with_the_stack() -> None:
    for table in ("ConnectionsTable", "SessionsTable"):
        assert source()["Resources"][table]["DeletionPolicy"] == "Delete"


@pytest.mark.parametrize(
    ("function", "metric"),
    [
        ("WsAuthorizeFunction", "Errors"),
        ("WsMessageFunction", "Errors"),
        ("WsStreamFunction", "Errors"),
        ("WsStreamFunction", "Throttles"),
        ("DeliverFunction", "Errors"),
        ("RecoveryFunction", "Errors"),
        ("RecoveryStartFunction", "Errors"),
        ("RecoverySweepFunction", "Errors"),
    ],
)
def test_somebody_hears_of_a_function_that_fails(function: str, metric: str) -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:alarms"
    dimensions = [{"Name": "FunctionName", "Value": function}]
    [alarm] = [
        properties
        for _, properties in stack(AlarmTopicArn=topic).of_type("AWS::CloudWatch::Alarm")
        if (properties["MetricName"], properties["Dimensions"]) == (metric, dimensions)
    ]
    assert alarm["AlarmActions"] == [topic]


@pytest.mark.parametrize("path", ["url", "rest", "websocket"])
def test_somebody_hears_of_a_path_whose_streams_fail(path: str) -> None:
    dimensions = [{"Name": "service", "Value": "tokenstream"}, {"Name": "path", "Value": path}]
    [alarm] = [
        properties
        for _, properties in stack().of_type("AWS::CloudWatch::Alarm")
        if (properties["MetricName"], properties["Dimensions"]) == ("FailedStreams", dimensions)
    ]
    assert alarm["Namespace"] == "tokenstream"


def test_the_dashboard_can_be_read_by_cloudwatch() -> None:
    body = json.loads(only("AWS::CloudWatch::Dashboard")["DashboardBody"])
    places = [(widget["x"], widget["y"]) for widget in body["widgets"]]
    assert len(set(places)) == len(places)
    assert {"WebSocket API", "WebSocket functions", "Queued way", "Recovery"} <= {
        widget["properties"]["title"] for widget in body["widgets"]
    }


def test_no_resource_waits_for_one_that_waits_for_it() -> None:
    # A function knows the API's address, the API's routes know the function: CloudFormation refuses a circle.
    resources = transformed()["Resources"]
    waits_for = {name: _named_in(resource, resources.keys()) - {name} for name, resource in resources.items()}
    ordered: set[str] = set()
    while ready := {name for name, others in waits_for.items() if name not in ordered and others <= ordered}:
        ordered |= ready
    assert ordered == resources.keys()


def _named_in(resource: dict[str, Any], names: Collection[str]) -> set[str]:
    text = json.dumps(resource)
    referred = {*re.findall(r'"(?:Ref|Fn::GetAtt)": \[?"(\w+)', text), *re.findall(r"\$\{(\w+)", text)}
    return (referred | {*as_list(resource.get("DependsOn", []))}) & set(names)
