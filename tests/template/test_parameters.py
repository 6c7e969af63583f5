import json
import re
import tomllib
from typing import Any

import pytest

from tests.template.transformed import ROOT, source, stack

WEB_OUTPUTS = {"WebUrl", "WebBucketName", "WebDistributionId"}
OUTPUTS = {
    "FunctionUrl",
    "RestUrl",
    "WebSocketUrl",
    "GraphQLUrl",
    "GraphQLRealtimeUrl",
    "UserPoolId",
    "UserPoolClientId",
    "RecoveryStateMachineArn",
    "SessionsTableName",
    "Region",
}
ENVIRONMENTS = ("default", "dev", "prod")


def samconfig() -> dict[str, Any]:
    return tomllib.loads((ROOT / "samconfig.toml").read_text())


def overrides(environment: str, command: str) -> dict[str, str]:
    pairs = samconfig()[environment].get(command, {}).get("parameters", {}).get("parameter_overrides", [])
    return dict(pair.split("=", 1) for pair in pairs)


def accepts(parameter: str, value: str) -> bool:
    """Whether CloudFormation takes the value; a pattern has to match each item of a list."""
    definition = source()["Parameters"][parameter]
    items = value.split(",") if definition["Type"] == "CommaDelimitedList" else [value]
    if "AllowedValues" in definition:
        return value in map(str, definition["AllowedValues"])
    if definition["Type"] == "Number":
        return int(value) in range(definition["MinValue"], definition["MaxValue"] + 1)
    return all(re.fullmatch(definition["AllowedPattern"], item) for item in items)


@pytest.mark.parametrize("parameter", source()["Parameters"])
def test_every_parameter_is_used_described_and_has_a_valid_default(parameter: str) -> None:
    template = source()
    definition = template["Parameters"].pop(parameter)
    del template["Metadata"]
    text = json.dumps(template)
    assert f'{{"Ref": "{parameter}"}}' in text or f"${{{parameter}}}" in text
    assert definition["Description"]
    assert accepts(parameter, str(definition["Default"]))


def test_the_console_shows_every_parameter_in_a_group() -> None:
    groups = source()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [parameter for group in groups for parameter in group["Parameters"]]
    assert sorted(shown) == sorted(source()["Parameters"])


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("AllowedModels", ""),
        ("AllowedModels", "amazon.nova-lite-v1:0,"),
        ("AllowedModels", "*"),
        ("AllowedModels", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"),
        ("ApplicationInferenceProfiles", "a1b2c3"),
        ("AllowedOrigins", "chat.example.com"),
        ("AllowedOrigins", "https://chat.example.com/"),
        ("GuardrailId", "arn:aws:bedrock:us-east-1:123456789012:guardrail/abc"),
        ("Stage", "my-stage"),
        ("StreamTimeoutSeconds", "901"),
        ("SessionTtlSeconds", "60"),
        ("DirectSend", "sometimes"),
        ("FallbackModel", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"),
        ("FallbackModel", "amazon.nova-lite-v1:0,amazon.nova-pro-v1:0"),
        ("RecoveryAttempts", "-1"),
        ("DeliverConcurrency", "1"),
    ],
)
def test_a_value_that_cannot_work_is_refused_before_the_deployment(parameter: str, value: str) -> None:
    assert not accepts(parameter, value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("AllowedModels", "eu.anthropic.claude-sonnet-5-5,us.amazon.nova-pro-v1:0"),
        (
            "ApplicationInferenceProfiles",
            ",".join(["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1"] * 2),
        ),
        ("AllowedOrigins", "http://localhost:5173,https://chat.example.com"),
        ("FallbackModel", "global.amazon.nova-2-lite-v1:0"),
        ("RecoveryAttempts", "0"),
    ],
)
def test_a_value_that_works_is_accepted(parameter: str, value: str) -> None:
    assert accepts(parameter, value)


def test_the_outputs_are_those_that_clients_are_configured_from() -> None:
    assert stack().outputs.keys() - WEB_OUTPUTS == OUTPUTS
    assert {stack().outputs[name]["Condition"] for name in WEB_OUTPUTS} == {"HasWebClient"}


def test_the_rest_address_ends_with_the_stage_and_takes_paths_after_it() -> None:
    assert stack(Stage="prod").outputs["RestUrl"]["Value"].endswith(".amazonaws.com/prod")


def test_no_resource_is_exported_or_local() -> None:
    text = (ROOT / "template.yaml").read_text().lower()
    assert "export:" not in text
    assert not re.search(r"localhost|127\.0\.0\.1|ministack|endpoint_url", text)


def test_every_lint_rule_that_is_switched_off_says_why() -> None:
    switched_off = re.findall(r"^ +- [A-Z]{1,2}\d{4}\b.*$", (ROOT / "template.yaml").read_text(), re.MULTILINE)
    assert switched_off
    assert all(re.search(r" # \w+", line) for line in switched_off)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("command", ["deploy", "sync"])
def test_samconfig_overrides_parameters_that_exist_with_values_that_are_allowed(environment: str, command: str) -> None:
    for parameter, value in overrides(environment, command).items():
        assert accepts(parameter, value), f"{parameter}={value}"


def test_the_default_environment_is_dev() -> None:
    assert samconfig()["default"] == samconfig()["dev"]


def test_dev_and_prod_are_different_stacks() -> None:
    names = {samconfig()[environment]["global"]["parameters"]["stack_name"] for environment in ("dev", "prod")}
    assert len(names) == 2


def test_no_build_takes_another_machines_layer_from_the_cache() -> None:
    assert all(samconfig()[environment]["build"]["parameters"]["cached"] is False for environment in ENVIRONMENTS)


def test_sync_sets_what_deploy_sets() -> None:
    for environment in ("default", "dev"):
        assert overrides(environment, "sync") == overrides(environment, "deploy")
