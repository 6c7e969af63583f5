from collections.abc import Callable, Mapping

import pytest

from tokenstream.settings import (
    BedrockRuntime,
    ConnectionStore,
    FramesQueue,
    FramesTopic,
    GraphQLApi,
    Guardrail,
    ModelLimits,
    PromptQueue,
    Recovery,
    SessionStore,
    SettingsError,
    StateMachine,
    StreamFunction,
    UserPool,
    WebSocketApi,
    allowed_origins,
    direct_send,
    flush_interval,
    prompt_max_receives,
    tracing,
)

ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "SESSIONS_TABLE": "sessions",
    "USER_POOL_ID": "eu-west-1_pool",
    "USER_POOL_CLIENT_ID": "client",
    "ALLOWED_MODELS": "first, second ,,third",
    "MAX_TOKENS_CAP": "4096",
    "BEDROCK_API": "auto",
    "FLUSH_INTERVAL_MS": "250",
    "GUARDRAIL_ID": "",
    "GUARDRAIL_VERSION": "",
    "ALLOWED_ORIGINS": "https://a.example,https://b.example",
    "STORE_ANSWERS": "true",
    "SESSION_TTL_SECONDS": "3600",
    "CONNECTIONS_TABLE": "connections",
    "WEBSOCKET_ENDPOINT": "https://api.execute-api.eu-west-1.amazonaws.com/dev",
    "STREAM_FUNCTION": "stack-ws-stream",
    "GRAPHQL_ENDPOINT": "https://api.appsync-api.eu-west-1.amazonaws.com/graphql",
    "PROMPT_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/prompts",
    "PROMPT_MAX_RECEIVES": "3",
    "DIRECT_SEND": "true",
    "FRAMES_TOPIC": "arn:aws:sns:eu-west-1:123456789012:frames.fifo",
    "FRAMES_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/frames.fifo",
    "RECOVERY_ATTEMPTS": "2",
    "FALLBACK_MODEL": "",
    "RECOVERY_STATE_MACHINE": "arn:aws:states:eu-west-1:123456789012:stateMachine:recovery",
}
REQUIRED = sorted(set(ENVIRONMENT) - {"GUARDRAIL_ID", "GUARDRAIL_VERSION", "FALLBACK_MODEL"})


def read_all(environment: Mapping[str, str]) -> None:
    for part in (
        UserPool,
        SessionStore,
        ModelLimits,
        BedrockRuntime,
        ConnectionStore,
        WebSocketApi,
        GraphQLApi,
        PromptQueue,
        FramesTopic,
        FramesQueue,
        Recovery,
        StateMachine,
        StreamFunction,
    ):
        part.from_environment(environment)
    allowed_origins(environment)
    prompt_max_receives(environment)
    direct_send(environment)
    flush_interval(environment)


def test_the_templates_environment_is_read() -> None:
    assert UserPool.from_environment(ENVIRONMENT) == UserPool(
        region="eu-west-1",
        id="eu-west-1_pool",
        client_id="client",
        endpoint="https://cognito-idp.eu-west-1.amazonaws.com",
    )
    assert SessionStore.from_environment(ENVIRONMENT) == SessionStore(
        region="eu-west-1",
        endpoint="https://dynamodb.eu-west-1.amazonaws.com",
        table="sessions",
        ttl=3600,
        store_answers=True,
    )
    assert ModelLimits.from_environment(ENVIRONMENT) == ModelLimits(("first", "second", "third"), 4096)
    assert BedrockRuntime.from_environment(ENVIRONMENT) == BedrockRuntime(
        region="eu-west-1", endpoint="https://bedrock-runtime.eu-west-1.amazonaws.com", api="auto", guardrail=None
    )
    assert ConnectionStore.from_environment(ENVIRONMENT) == ConnectionStore(
        region="eu-west-1", endpoint="https://dynamodb.eu-west-1.amazonaws.com", table="connections"
    )
    assert WebSocketApi.from_environment(ENVIRONMENT) == WebSocketApi(
        region="eu-west-1", endpoint="https://api.execute-api.eu-west-1.amazonaws.com/dev"
    )
    assert allowed_origins(ENVIRONMENT) == ("https://a.example", "https://b.example")
    assert StreamFunction.from_environment(ENVIRONMENT) == StreamFunction(
        region="eu-west-1", endpoint="https://lambda.eu-west-1.amazonaws.com", name="stack-ws-stream"
    )
    assert GraphQLApi.from_environment(ENVIRONMENT) == GraphQLApi(
        region="eu-west-1", endpoint="https://api.appsync-api.eu-west-1.amazonaws.com/graphql"
    )
    assert PromptQueue.from_environment(ENVIRONMENT) == PromptQueue(
        region="eu-west-1",
        endpoint="https://sqs.eu-west-1.amazonaws.com",
        url="https://sqs.eu-west-1.amazonaws.com/123456789012/prompts",
    )
    assert prompt_max_receives(ENVIRONMENT) == 3
    assert direct_send(ENVIRONMENT) is True
    assert flush_interval(ENVIRONMENT) == 0.25
    assert FramesTopic.from_environment(ENVIRONMENT) == FramesTopic(
        region="eu-west-1", arn=ENVIRONMENT["FRAMES_TOPIC"], endpoint="https://sns.eu-west-1.amazonaws.com"
    )
    assert FramesQueue.from_environment(ENVIRONMENT) == FramesQueue(
        region="eu-west-1", endpoint="https://sqs.eu-west-1.amazonaws.com", url=ENVIRONMENT["FRAMES_QUEUE_URL"]
    )
    assert Recovery.from_environment(ENVIRONMENT) == Recovery(attempts=2, fallback_model=None)
    assert StateMachine.from_environment(ENVIRONMENT) == StateMachine(
        region="eu-west-1",
        endpoint="https://states.eu-west-1.amazonaws.com",
        arn=ENVIRONMENT["RECOVERY_STATE_MACHINE"],
    )


def test_an_endpoint_with_a_path_is_refused_instead_of_losing_it() -> None:
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL_DYNAMODB"):
        SessionStore.from_environment(ENVIRONMENT | {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:4566/aws"})
    store = SessionStore.from_environment(ENVIRONMENT | {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/"})
    assert store.endpoint == "http://127.0.0.1:4566"


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_variable_is_named(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        read_all(environment)


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_variable_counts_as_missing(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        read_all(ENVIRONMENT | {name: ""})


def test_a_function_needs_no_variables_of_parts_that_it_has_not() -> None:
    assert ConnectionStore.from_environment({"AWS_REGION": "eu-west-1", "CONNECTIONS_TABLE": "connections"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_MODELS", " , "),
        ("ALLOWED_ORIGINS", ","),
        ("MAX_TOKENS_CAP", "0"),
        ("MAX_TOKENS_CAP", "-1"),
        ("MAX_TOKENS_CAP", "1.5"),
        ("MAX_TOKENS_CAP", "many"),
        ("MAX_TOKENS_CAP", "\u0664"),
        ("MAX_TOKENS_CAP", " 5"),
        ("SESSION_TTL_SECONDS", "0"),
        ("SESSION_TTL_SECONDS", "1h"),
        ("BEDROCK_API", "Auto"),
        ("BEDROCK_API", "messages"),
        ("PROMPT_MAX_RECEIVES", "0"),
        ("PROMPT_MAX_RECEIVES", "thrice"),
        ("STORE_ANSWERS", "yes"),
        ("STORE_ANSWERS", "True"),
        ("DIRECT_SEND", "True"),
        ("DIRECT_SEND", "no"),
        ("RECOVERY_ATTEMPTS", "-1"),
        ("FLUSH_INTERVAL_MS", "-1"),
        ("FLUSH_INTERVAL_MS", "0.5"),
        ("RECOVERY_ATTEMPTS", "twice"),
        ("RECOVERY_ATTEMPTS", "\u0662"),
    ],
)
def test_a_variable_that_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        read_all(ENVIRONMENT | {name: value})


def bedrock(**changes: str) -> BedrockRuntime:
    return BedrockRuntime.from_environment(ENVIRONMENT | changes)


def user_pool(**changes: str) -> UserPool:
    return UserPool.from_environment(ENVIRONMENT | changes)


def test_a_guardrail_is_an_id_with_a_version() -> None:
    assert bedrock(GUARDRAIL_ID="gr-1", GUARDRAIL_VERSION="DRAFT").guardrail == Guardrail("gr-1", "DRAFT")


def test_a_guardrail_without_a_version_names_the_version() -> None:
    with pytest.raises(SettingsError, match="GUARDRAIL_VERSION"):
        bedrock(GUARDRAIL_ID="gr-1")


def test_a_version_without_a_guardrail_is_no_guardrail() -> None:
    assert bedrock(GUARDRAIL_VERSION="1").guardrail is None


def test_nothing_is_sent_directly_where_that_is_off() -> None:
    assert direct_send(ENVIRONMENT | {"DIRECT_SEND": "false"}) is False


def test_a_stack_may_recover_by_another_model_or_not_at_all() -> None:
    changes = {"FALLBACK_MODEL": "first", "RECOVERY_ATTEMPTS": "0"}
    assert Recovery.from_environment(ENVIRONMENT | changes) == Recovery(attempts=0, fallback_model="first")
    without = {name: value for name, value in ENVIRONMENT.items() if name != "FALLBACK_MODEL"}
    assert Recovery.from_environment(without).fallback_model is None


def test_answers_are_not_stored_where_that_is_off() -> None:
    assert SessionStore.from_environment(ENVIRONMENT | {"STORE_ANSWERS": "false"}).store_answers is False


@pytest.mark.parametrize(("disabled", "traced"), [("true", False), ("1", False), ("TRUE", False), ("false", True)])
def test_tracing_is_powertools_own_switch(disabled: str, traced: bool) -> None:
    assert tracing({"POWERTOOLS_TRACE_DISABLED": disabled}) is traced


def test_invocations_are_not_traced_where_nothing_says_so() -> None:
    assert tracing({}) is False


def test_one_variable_moves_every_endpoint() -> None:
    moved = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/"}
    assert bedrock(**moved).endpoint == user_pool(**moved).endpoint == "http://127.0.0.1:4566"


def test_a_services_own_variable_wins() -> None:
    moved = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:1"}
    assert bedrock(**moved).endpoint == "http://127.0.0.1:1"
    assert user_pool(**moved).endpoint == "http://127.0.0.1:4566"


def test_frames_are_queued_where_the_services_or_the_topics_own_variable_says() -> None:
    def endpoint(**moved: str) -> str:
        return FramesTopic.from_environment(ENVIRONMENT | moved).endpoint

    assert endpoint(AWS_ENDPOINT_URL="http://127.0.0.1:4566/") == "http://127.0.0.1:4566"
    assert endpoint(AWS_ENDPOINT_URL="http://127.0.0.1:4566", AWS_ENDPOINT_URL_SNS="http://127.0.0.1:1") == (
        "http://127.0.0.1:1"
    )


def test_moving_cognito_moves_its_keys_and_not_the_issuer() -> None:
    moved = user_pool(AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER="http://127.0.0.1:4566")
    assert moved.jwks_url == "http://127.0.0.1:4566/eu-west-1_pool/.well-known/jwks.json"
    assert moved.issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool"


def test_the_keys_are_the_pools() -> None:
    assert user_pool().jwks_url == f"{user_pool().issuer}/.well-known/jwks.json"


def test_connections_are_written_to_where_their_own_variable_says_and_no_other() -> None:
    general = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}
    own = {"AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": "http://127.0.0.1:1/dev/"}
    template = ENVIRONMENT["WEBSOCKET_ENDPOINT"]
    assert WebSocketApi.from_environment(ENVIRONMENT | general).endpoint == template
    assert WebSocketApi.from_environment(ENVIRONMENT | general | own).endpoint == "http://127.0.0.1:1/dev"


def test_frames_are_published_where_the_template_says_whatever_moves_the_services() -> None:
    """An API has a host of its own; the edge is none of the SDK's endpoints."""
    moved = ENVIRONMENT | {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "AWS_ENDPOINT_URL_APPSYNC": "http://127.0.0.1:1",
    }
    assert GraphQLApi.from_environment(moved).endpoint == ENVIRONMENT["GRAPHQL_ENDPOINT"]
    assert PromptQueue.from_environment(moved).url == ENVIRONMENT["PROMPT_QUEUE_URL"]


@pytest.mark.parametrize(
    ("read", "needed"),
    [
        (GraphQLApi.from_environment, "GRAPHQL_ENDPOINT"),
        (PromptQueue.from_environment, "PROMPT_QUEUE_URL"),
        (prompt_max_receives, "PROMPT_MAX_RECEIVES"),
        (direct_send, "DIRECT_SEND"),
        (FramesTopic.from_environment, "FRAMES_TOPIC"),
        (FramesQueue.from_environment, "FRAMES_QUEUE_URL"),
        (Recovery.from_environment, "RECOVERY_ATTEMPTS"),
        (StateMachine.from_environment, "RECOVERY_STATE_MACHINE"),
        (StreamFunction.from_environment, "STREAM_FUNCTION"),
    ],
)
def test_a_function_of_the_queues_needs_no_other_variables(
    read: Callable[[Mapping[str, str]], object], needed: str
) -> None:
    assert read({"AWS_REGION": "eu-west-1", needed: ENVIRONMENT[needed]})
