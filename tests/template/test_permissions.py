import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.template.transformed import REGION, stack

ROLES = [logical_id for logical_id, _ in stack().of_type("AWS::IAM::Role")]
FUNCTION_ROLES = [f"{logical_id}Role" for logical_id, _ in stack().of_type("AWS::Lambda::Function")]
GENERATING = ["HttpStreamFunctionRole", "WsStreamFunctionRole", "AppSyncProcessFunctionRole", "RecoveryFunctionRole"]
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-2-lite-v1:0"
PROFILE = f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/global.{HAIKU}"
APPLICATION_PROFILE = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/a1b2c3"
CONNECTIONS = f"arn:aws:execute-api:{REGION}:000000000000:WebSocketApi/dev/POST/@connections/*"


def matches(pattern: str, arn: str) -> bool:
    """As IAM: an asterisk stands for anything."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), arn) is not None


def as_list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def may_stream(resource: str, through: str = "", **parameters: str) -> bool:
    """Whether a function may call a model or a profile; `through` is the profile for which Bedrock calls a model."""
    each = {_may_stream(role, resource, through, **parameters) for role in GENERATING}
    assert len(each) == 1, "the functions that generate have the same models"
    return each.pop()


def _may_stream(role: str, resource: str, through: str, **parameters: str) -> bool:
    return any(
        "bedrock:InvokeModelWithResponseStream" in as_list(statement["Action"])
        and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
        and _condition_holds(statement.get("Condition"), through)
        for statement in stack(**parameters).statements(role)
    )


def _condition_holds(condition: dict[str, Any] | None, through: str) -> bool:
    if condition is None:
        return True
    [(_, keys)] = condition.items()
    return any(matches(pattern, through) for pattern in as_list(keys["bedrock:InferenceProfileArn"]))


def model(name: str, region: str = REGION) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{name}"


def allowed_on(role: str, resource: str) -> set[str]:
    """The actions that a role may do with exactly this resource."""
    return {
        action.rpartition(":")[2]
        for statement in stack().statements(role)
        if resource in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    }


@pytest.mark.parametrize(
    ("role", "sessions", "connections"),
    [
        ("HttpStreamFunctionRole", {"GetItem", "PutItem", "UpdateItem", "Query"}, set()),
        ("WsAuthorizeFunctionRole", set(), set()),
        ("WsConnectionFunctionRole", set(), {"PutItem", "DeleteItem"}),
        ("WsMessageFunctionRole", {"GetItem", "PutItem", "UpdateItem"}, {"UpdateItem"}),
        ("WsStreamFunctionRole", {"GetItem", "PutItem", "UpdateItem", "Query"}, set()),
        ("AppSyncStartFunctionRole", {"PutItem", "UpdateItem"}, set()),
        ("AppSyncProcessFunctionRole", {"GetItem", "PutItem", "UpdateItem", "Query"}, set()),
        ("DeliverFunctionRole", {"GetItem", "UpdateItem"}, set()),
        ("RecoveryFunctionRole", {"GetItem", "PutItem", "UpdateItem", "Query"}, {"GetItem"}),
        ("RecoveryStartFunctionRole", {"UpdateItem"}, set()),
        ("RecoverySweepFunctionRole", {"GetItem"}, set()),
    ],
)
def test_a_function_may_do_just_what_it_does_with_the_tables(
    role: str, sessions: set[str], connections: set[str]
) -> None:
    assert allowed_on(role, "SessionsTable.Arn") == sessions
    assert allowed_on(role, "ConnectionsTable.Arn") == connections


def test_functions_that_do_not_generate_may_not_call_bedrock() -> None:
    for role in set(ROLES) - set(GENERATING):
        for statement in stack().statements(role):
            assert not [action for action in as_list(statement["Action"]) if action.startswith("bedrock:")]


def test_the_models_stay_within_what_iam_takes_as_a_managed_policy() -> None:
    models = ",".join(f"global.anthropic.claude-opus-{number}-20251001-v1:0" for number in range(10, 26))
    document = stack(AllowedModels=models).properties("ModelsPolicy")["PolicyDocument"]
    assert len(re.sub(r"\s", "", json.dumps(document))) <= 6144


def test_the_stack_deploys_without_the_right_to_name_roles() -> None:
    # CAPABILITY_IAM is what samconfig.toml gives.
    deployed = stack()
    named = [*deployed.of_type("AWS::IAM::Role"), *deployed.of_type("AWS::IAM::ManagedPolicy")]
    assert not [properties for _, properties in named if {"RoleName", "ManagedPolicyName"} & properties.keys()]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("guarded", [{}, {"GuardrailId": "abc123", "GuardrailVersion": "1"}])
def test_nothing_is_allowed_on_everything(role: str, guarded: dict[str, str]) -> None:
    for statement in stack(ApplicationInferenceProfiles=APPLICATION_PROFILE, **guarded).statements(role):
        assert not [action for action in as_list(statement["Action"]) if "*" in action]
        assert not [resource for resource in as_list(statement["Resource"]) if resource == "*"]
        open_to_all = [resource for resource in as_list(statement["Resource"]) if resource.endswith("/*")]
        if open_to_all != [CONNECTIONS]:
            assert not open_to_all or "bedrock:InferenceProfileArn" in next(iter(statement["Condition"].values()))


def test_a_profile_may_be_called_and_the_models_behind_it_in_all_its_regions() -> None:
    assert may_stream(PROFILE)
    for region in ("us-west-2", "eu-central-1", ""):  # a global profile's models have no region
        assert may_stream(model(HAIKU, region), through=PROFILE)


def test_the_models_behind_a_profile_may_not_be_called_past_it() -> None:
    assert not may_stream(model(HAIKU))


def test_a_profile_that_is_not_allowed_opens_no_model() -> None:
    other = PROFILE.replace("haiku", "opus")
    assert not may_stream(other)
    assert not may_stream(model("anthropic.claude-opus-5-5"), through=other)


def test_a_model_that_is_allowed_by_its_own_id_may_be_called_directly() -> None:
    assert may_stream(model(NOVA), AllowedModels=NOVA)
    assert not may_stream(model(f"{NOVA}-other"), AllowedModels=NOVA)
    assert not may_stream(PROFILE, AllowedModels=NOVA)


def test_an_application_profile_may_be_called_when_it_is_named() -> None:
    assert not may_stream(APPLICATION_PROFILE)
    assert may_stream(APPLICATION_PROFILE, ApplicationInferenceProfiles=APPLICATION_PROFILE)
    assert may_stream(model(HAIKU), through=APPLICATION_PROFILE, ApplicationInferenceProfiles=APPLICATION_PROFILE)


def test_the_guardrail_alone_may_be_applied_and_only_where_there_is_one() -> None:
    def guardrails(**parameters: str) -> list[Any]:
        return [
            item["Resource"]
            for role in GENERATING
            for item in stack(**parameters).statements(role)
            if "bedrock:ApplyGuardrail" in item["Action"]
        ]

    assert guardrails() == []
    guardrail = f"arn:aws:bedrock:{REGION}:000000000000:guardrail/abc123"
    assert guardrails(GuardrailId="abc123", GuardrailVersion="1") == [guardrail] * len(GENERATING)


@pytest.mark.parametrize("role", FUNCTION_ROLES)
def test_traces_may_be_written_only_when_tracing_is_on(role: str) -> None:
    def managed_by_aws(tracing: str) -> set[str]:
        arns: list[str] = stack(Tracing=tracing).properties(role)["ManagedPolicyArns"]
        return {arn.rpartition("/")[2] for arn in arns if arn.startswith("arn:aws:iam::aws:policy/")}

    assert managed_by_aws("Disabled") == {"AWSLambdaBasicExecutionRole"}
    assert managed_by_aws("Active") == {"AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess"}


def called_by_api_gateway(function: str) -> set[str]:
    """What of API Gateway may invoke a function, without region and account."""
    return {
        permission["SourceArn"].split(":", 5)[5]
        for _, permission in stack().of_type("AWS::Lambda::Permission")
        if permission["Principal"] == "apigateway.amazonaws.com"
        and permission["FunctionName"].removesuffix(".Arn") == function
    }


def test_api_gateway_may_call_a_function_for_its_own_api_only() -> None:
    calls = called_by_api_gateway("HttpStreamFunction")
    assert calls
    assert all(call.startswith("RestApi/") for call in calls)


def test_a_route_may_call_its_function_and_no_other_may() -> None:
    stage = "WebSocketApi.ApiId/dev"
    assert called_by_api_gateway("WsConnectionFunction") == {f"{stage}/$connect", f"{stage}/$disconnect"}
    assert called_by_api_gateway("WsMessageFunction") == {
        f"{stage}/{route}" for route in ("stream", "cancel", "resume", "ping", "$default")
    }
    assert called_by_api_gateway("WsAuthorizeFunction") == {"WebSocketApi/authorizers/*"}


@pytest.mark.parametrize(
    "function",
    [
        "WsStreamFunction",
        "AppSyncStartFunction",
        "AppSyncProcessFunction",
        "DeliverFunction",
        "RecoveryFunction",
        "RecoveryStartFunction",
        "RecoverySweepFunction",
    ],
)
def test_nothing_but_the_stack_itself_starts_what_generates_delivers_or_recovers(function: str) -> None:
    assert not [
        permission
        for _, permission in stack().of_type("AWS::Lambda::Permission")
        if permission["FunctionName"].removesuffix(".Arn") == function
    ]


def test_each_function_may_invoke_the_next_one_and_no_other() -> None:
    def invokes(role: str) -> list[str]:
        return [
            resource
            for statement in stack().statements(role)
            if "lambda:InvokeFunction" in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        ]

    assert invokes("WsMessageFunctionRole") == ["WsStreamFunction.Arn"]
    # The failure destination is called with the role of the function that has failed.
    assert invokes("WsStreamFunctionRole") == ["RecoveryStartFunction.Arn"]
    assert invokes("GraphQLStartRole") == ["AppSyncStartFunction.Arn"]
    assert invokes("RecoveryStateMachineRole") == ["RecoveryFunction.Arn"]
    assert invokes("RecoverySweepFunctionEveryMinuteRole") == ["RecoverySweepFunction.Arn"]
    invoking = {
        "WsMessageFunctionRole",
        "WsStreamFunctionRole",
        "GraphQLStartRole",
        "RecoveryStateMachineRole",
        "RecoverySweepFunctionEveryMinuteRole",
    }
    assert all(not invokes(role) for role in ROLES if role not in invoking)


def test_connections_may_be_written_to_by_those_that_answer_on_this_stage_alone() -> None:
    senders = {
        role: (statement["Action"], statement["Resource"])
        for role in ROLES
        for statement in stack().statements(role)
        if any(action.startswith("execute-api:") for action in as_list(statement["Action"]))
    }
    assert senders.keys() == {
        "WsMessageFunctionRole",
        "WsStreamFunctionRole",
        "DeliverFunctionRole",
        "RecoveryFunctionRole",
    }
    assert set(senders.values()) == {("execute-api:ManageConnections", CONNECTIONS)}
