from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.function_module import load_function
from tests.template.transformed import REGION, ROOT, source, stack
from tokenstream.settings import BedrockRuntime, ModelLimits, SessionStore, allowed_origins, tracing

FUNCTION = "HttpStreamFunction"
ARN = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/a1b2c3"


FUNCTIONS = {
    logical_id: Path(resource["Properties"]["CodeUri"]).name
    for logical_id, resource in source()["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}


class Recording(dict[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def environment(**parameters: str) -> Mapping[str, str]:
    return {**stack(**parameters).environment(FUNCTION), "AWS_REGION": REGION}


def test_the_function_starts_with_the_templates_defaults() -> None:
    assert ModelLimits.from_environment(environment()).allowed_models[0].startswith("global.anthropic.")
    assert BedrockRuntime.from_environment(environment()).guardrail is None
    assert SessionStore.from_environment(environment()).store_answers is True
    assert SessionStore.from_environment(environment()).ttl == 3600


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_starts_with_what_the_template_sets_and_reads_all_of_it(function: str) -> None:
    variables = stack(GuardrailId="abc123", GuardrailVersion="1").environment(function)
    # On paper a resource's attribute is its name.
    if "GRAPHQL_ENDPOINT" in variables:
        variables["GRAPHQL_ENDPOINT"] = "https://api.appsync-api.us-east-1.amazonaws.com/graphql"
    own = {"AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    environment = Recording({**variables, **own})
    with patch("os.environ", environment):
        load_function(FUNCTIONS[function])
    # Lambda's own, and what Powertools reads wherever it was imported first.
    others = {
        "AWS_LAMBDA_EXEC_WRAPPER",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
    }
    assert variables.keys() - others <= environment.read
    assert others - variables.keys() <= {"AWS_LAMBDA_EXEC_WRAPPER"}


def test_a_guardrail_reaches_the_function() -> None:
    guardrail = BedrockRuntime.from_environment(environment(GuardrailId="abc123", GuardrailVersion="DRAFT")).guardrail
    assert guardrail is not None
    assert (guardrail.id, guardrail.version) == ("abc123", "DRAFT")


def test_application_profiles_come_before_the_other_models() -> None:
    variables = environment(AllowedModels="a.b,c.d", ApplicationInferenceProfiles=ARN)
    assert ModelLimits.from_environment(variables).allowed_models == (ARN, "a.b", "c.d")


def test_origins_reach_the_function() -> None:
    origins = "https://a.example,https://b.example"
    assert allowed_origins(environment(AllowedOrigins=origins)) == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("parameter", "on"), [("Active", True), ("Disabled", False)])
def test_a_function_traces_when_lambda_does(function: str, parameter: str, on: bool) -> None:
    deployed = stack(Tracing=parameter)
    assert tracing({**deployed.environment(function), "AWS_REGION": REGION}) is on
    mode = deployed.properties(function).get("TracingConfig", {}).get("Mode", "PassThrough")
    assert (mode == "Active") is on


def test_what_answers_over_http_and_nothing_else_streams_by_the_layers_bootstrap() -> None:
    wrappers = {function: stack().environment(function).get("AWS_LAMBDA_EXEC_WRAPPER") for function in FUNCTIONS}
    assert wrappers.pop(FUNCTION) == "/opt/streaming-bootstrap"
    assert set(wrappers.values()) == {None}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_the_layer_it_imports_from(function: str) -> None:
    [layer] = stack().properties(function)["Layers"]
    assert layer.startswith("TokenstreamLayer")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_and_layer_are_of_one_architecture(function: str) -> None:
    deployed = stack(Architecture="x86_64")
    [(_, layer)] = deployed.of_type("AWS::Lambda::LayerVersion")
    assert deployed.properties(function)["Architectures"] == layer["CompatibleArchitectures"] == ["x86_64"]


def test_every_functions_handler_is_there() -> None:
    for resource in source()["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            module = resource["Properties"]["Handler"].partition(".")[0]
            assert (ROOT / resource["Properties"]["CodeUri"] / f"{module}.py").is_file()


def test_every_function_logs_to_a_group_that_forgets() -> None:
    deployed = stack(LogRetentionDays="14")
    groups = dict(deployed.of_type("AWS::Logs::LogGroup"))
    for _, properties in deployed.of_type("AWS::Lambda::Function"):
        assert groups[properties["LoggingConfig"]["LogGroup"]]["RetentionInDays"] == "14"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambdas_log_filter_lets_through_what_powertools_logs(function: str) -> None:
    deployed = stack(LogLevel="WARN")
    assert deployed.properties(function)["LoggingConfig"]["ApplicationLogLevel"] == "WARN"
    assert deployed.environment(function)["POWERTOOLS_LOG_LEVEL"] == "WARN"
