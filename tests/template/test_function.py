from collections.abc import Iterator, Mapping

import pytest

from tests.template.transformed import REGION, ROOT, source, stack
from tokenstream.settings import BedrockRuntime, ModelLimits, SessionStore, UserPool, allowed_origins, tracing

FUNCTION = "HttpStreamFunction"
ARN = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/a1b2c3"


class Recording(Mapping[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def environment(**parameters: str) -> Mapping[str, str]:
    return {**stack(**parameters).environment(FUNCTION), "AWS_REGION": REGION}


def test_the_function_starts_with_the_templates_defaults() -> None:
    assert ModelLimits.from_environment(environment()).allowed_models[0].startswith("global.anthropic.")
    assert BedrockRuntime.from_environment(environment()).guardrail is None
    assert SessionStore.from_environment(environment()).store_answers is True
    assert SessionStore.from_environment(environment()).ttl == 3600


def test_the_template_sets_all_that_the_function_reads_and_nothing_more() -> None:
    variables = stack(GuardrailId="abc123", GuardrailVersion="1").environment(FUNCTION)
    recording = Recording({**variables, "AWS_REGION": REGION})
    for part in (UserPool, SessionStore, ModelLimits, BedrockRuntime):
        part.from_environment(recording)
    allowed_origins(recording)
    tracing(recording)
    others = {
        "AWS_LAMBDA_EXEC_WRAPPER",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
    }
    assert {name for name in recording.read if not name.startswith("AWS_")} == variables.keys() - others
    assert others <= variables.keys()


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


@pytest.mark.parametrize(("parameter", "on"), [("Active", True), ("Disabled", False)])
def test_the_function_traces_when_lambda_does(parameter: str, on: bool) -> None:
    assert tracing(environment(Tracing=parameter)) is on
    mode = stack(Tracing=parameter).properties(FUNCTION).get("TracingConfig", {}).get("Mode", "PassThrough")
    assert (mode == "Active") is on


def test_it_streams_by_the_layers_bootstrap() -> None:
    properties = stack().properties(FUNCTION)
    assert stack().environment(FUNCTION)["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/streaming-bootstrap"
    [layer] = properties["Layers"]
    assert layer.startswith("TokenstreamLayer")


def test_function_and_layer_are_of_one_architecture() -> None:
    deployed = stack(Architecture="x86_64")
    [(_, layer)] = deployed.of_type("AWS::Lambda::LayerVersion")
    assert deployed.properties(FUNCTION)["Architectures"] == layer["CompatibleArchitectures"] == ["x86_64"]


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


def test_lambdas_log_filter_lets_through_what_powertools_logs() -> None:
    deployed = stack(LogLevel="WARN")
    assert deployed.properties(FUNCTION)["LoggingConfig"]["ApplicationLogLevel"] == "WARN"
    assert deployed.environment(FUNCTION)["POWERTOOLS_LOG_LEVEL"] == "WARN"
