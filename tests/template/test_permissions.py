import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.template.transformed import REGION, stack

ROLE = "HttpStreamFunctionRole"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-2-lite-v1:0"
PROFILE = f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/global.{HAIKU}"
APPLICATION_PROFILE = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/a1b2c3"


def matches(pattern: str, arn: str) -> bool:
    """As IAM: an asterisk stands for anything."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), arn) is not None


def as_list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def may_stream(resource: str, through: str = "", **parameters: str) -> bool:
    """Whether the function may call a model or a profile; `through` is the profile for which Bedrock calls a model."""
    return any(
        "bedrock:InvokeModelWithResponseStream" in as_list(statement["Action"])
        and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
        and _condition_holds(statement.get("Condition"), through)
        for statement in stack(**parameters).statements(ROLE)
    )


def _condition_holds(condition: dict[str, Any] | None, through: str) -> bool:
    if condition is None:
        return True
    [(_, keys)] = condition.items()
    return any(matches(pattern, through) for pattern in as_list(keys["bedrock:InferenceProfileArn"]))


def model(name: str, region: str = REGION) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{name}"


def test_the_function_may_use_just_what_it_uses_of_the_sessions_table() -> None:
    [statement] = [item for item in stack().statements(ROLE) if "dynamodb:GetItem" in item["Action"]]
    assert set(statement["Action"]) == {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query"}
    assert statement["Resource"] == "SessionsTable.Arn"


@pytest.mark.parametrize("guarded", [{}, {"GuardrailId": "abc123", "GuardrailVersion": "1"}])
def test_nothing_is_allowed_on_everything(guarded: dict[str, str]) -> None:
    for statement in stack(ApplicationInferenceProfiles=APPLICATION_PROFILE, **guarded).statements(ROLE):
        assert not [action for action in as_list(statement["Action"]) if "*" in action]
        assert not [resource for resource in as_list(statement["Resource"]) if resource == "*"]
        open_to_all = [resource for resource in as_list(statement["Resource"]) if resource.endswith("/*")]
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
            for item in stack(**parameters).statements(ROLE)
            if "bedrock:ApplyGuardrail" in item["Action"]
        ]

    assert guardrails() == []
    assert guardrails(GuardrailId="abc123", GuardrailVersion="1") == [
        f"arn:aws:bedrock:{REGION}:000000000000:guardrail/abc123"
    ]


def test_traces_may_be_written_only_when_tracing_is_on() -> None:
    def managed(tracing: str) -> list[str]:
        arns: list[str] = stack(Tracing=tracing).properties(ROLE)["ManagedPolicyArns"]
        return [arn.rpartition("/")[2] for arn in arns]

    assert managed("Disabled") == ["AWSLambdaBasicExecutionRole"]
    assert set(managed("Active")) == {"AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess"}


def test_api_gateway_may_call_the_function_for_this_api_only() -> None:
    permissions = [
        permission
        for _, permission in stack().of_type("AWS::Lambda::Permission")
        if permission["Principal"] == "apigateway.amazonaws.com"
    ]
    assert permissions
    assert all(":RestApi/" in permission["SourceArn"] for permission in permissions)
