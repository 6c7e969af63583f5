import pytest

from tokenstream.settings import Guardrail, Settings, SettingsError

ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "SESSIONS_TABLE": "sessions",
    "USER_POOL_ID": "eu-west-1_pool",
    "USER_POOL_CLIENT_ID": "client",
    "ALLOWED_MODELS": "first, second ,,third",
    "MAX_TOKENS_CAP": "4096",
    "BEDROCK_API": "auto",
    "GUARDRAIL_ID": "",
    "GUARDRAIL_VERSION": "",
    "ALLOWED_ORIGINS": "https://a.example,https://b.example",
    "STORE_ANSWERS": "true",
    "SESSION_TTL_SECONDS": "3600",
}
REQUIRED = sorted(set(ENVIRONMENT) - {"GUARDRAIL_ID", "GUARDRAIL_VERSION"})


def settings(**changes: str) -> Settings:
    return Settings.from_environment(ENVIRONMENT | changes)


def test_the_templates_environment_is_read() -> None:
    assert settings() == Settings(
        region="eu-west-1",
        sessions_table="sessions",
        user_pool_id="eu-west-1_pool",
        user_pool_client_id="client",
        allowed_models=("first", "second", "third"),
        max_tokens_cap=4096,
        bedrock_api="auto",
        guardrail=None,
        allowed_origins=("https://a.example", "https://b.example"),
        store_answers=True,
        session_ttl=3600,
        tracing=False,
        bedrock_endpoint="https://bedrock-runtime.eu-west-1.amazonaws.com",
        cognito_endpoint="https://cognito-idp.eu-west-1.amazonaws.com",
    )


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_variable_is_named(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        Settings.from_environment(environment)


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_variable_counts_as_missing(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        settings(**{name: ""})


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
        ("STORE_ANSWERS", "yes"),
        ("STORE_ANSWERS", "True"),
    ],
)
def test_a_variable_that_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        settings(**{name: value})


def test_a_guardrail_is_an_id_with_a_version() -> None:
    assert settings(GUARDRAIL_ID="gr-1", GUARDRAIL_VERSION="DRAFT").guardrail == Guardrail("gr-1", "DRAFT")


def test_a_guardrail_without_a_version_names_the_version() -> None:
    with pytest.raises(SettingsError, match="GUARDRAIL_VERSION"):
        settings(GUARDRAIL_ID="gr-1")


def test_a_version_without_a_guardrail_is_no_guardrail() -> None:
    assert settings(GUARDRAIL_VERSION="1").guardrail is None


def test_answers_are_not_stored_where_that_is_off() -> None:
    assert settings(STORE_ANSWERS="false").store_answers is False


@pytest.mark.parametrize(("disabled", "tracing"), [("true", False), ("1", False), ("TRUE", False), ("false", True)])
def test_tracing_is_powertools_own_switch(disabled: str, tracing: bool) -> None:
    assert settings(POWERTOOLS_TRACE_DISABLED=disabled).tracing is tracing


def test_one_variable_moves_every_endpoint() -> None:
    moved = settings(AWS_ENDPOINT_URL="http://127.0.0.1:4566/")
    assert (moved.bedrock_endpoint, moved.cognito_endpoint) == ("http://127.0.0.1:4566", "http://127.0.0.1:4566")


def test_a_services_own_variable_wins() -> None:
    moved = settings(AWS_ENDPOINT_URL="http://127.0.0.1:4566", AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1")
    assert (moved.bedrock_endpoint, moved.cognito_endpoint) == ("http://127.0.0.1:1", "http://127.0.0.1:4566")


def test_moving_cognito_moves_its_keys_and_not_the_issuer() -> None:
    moved = settings(AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER="http://127.0.0.1:4566")
    assert moved.jwks_url == "http://127.0.0.1:4566/eu-west-1_pool/.well-known/jwks.json"
    assert moved.token_issuer == "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool"


def test_the_keys_are_the_pools() -> None:
    assert settings().jwks_url == f"{settings().token_issuer}/.well-known/jwks.json"
