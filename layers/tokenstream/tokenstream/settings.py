"""The environment, typed. Nothing else reads it; a value that is missing or wrong fails the cold start by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast

BedrockApi = Literal["auto", "invoke", "converse"]


class SettingsError(RuntimeError):
    """An environment variable is missing or not what it has to be."""


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A Bedrock guardrail that every answer passes."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the functions are configured with; the template sets each variable. Times are in seconds."""

    region: str
    sessions_table: str
    user_pool_id: str
    user_pool_client_id: str
    allowed_models: tuple[str, ...]
    max_tokens_cap: int
    bedrock_api: BedrockApi
    guardrail: Guardrail | None
    allowed_origins: tuple[str, ...]
    store_answers: bool
    session_ttl: int
    tracing: bool
    bedrock_endpoint: str
    cognito_endpoint: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        region = read.text("AWS_REGION")
        guardrail_id = environment.get("GUARDRAIL_ID", "")
        return cls(
            region=region,
            sessions_table=read.text("SESSIONS_TABLE"),
            user_pool_id=read.text("USER_POOL_ID"),
            user_pool_client_id=read.text("USER_POOL_CLIENT_ID"),
            allowed_models=read.items("ALLOWED_MODELS"),
            max_tokens_cap=read.positive("MAX_TOKENS_CAP"),
            bedrock_api=cast("BedrockApi", read.choice("BEDROCK_API", "auto", "invoke", "converse")),
            guardrail=Guardrail(guardrail_id, read.text("GUARDRAIL_VERSION")) if guardrail_id else None,
            allowed_origins=read.items("ALLOWED_ORIGINS"),
            store_answers=read.choice("STORE_ANSWERS", "true", "false") == "true",
            session_ttl=read.positive("SESSION_TTL_SECONDS"),
            # Powertools' own switch.
            tracing=environment.get("POWERTOOLS_TRACE_DISABLED", "true").lower() not in {"true", "1"},
            bedrock_endpoint=read.endpoint("BEDROCK_RUNTIME", f"https://bedrock-runtime.{region}.amazonaws.com"),
            cognito_endpoint=read.endpoint("COGNITO_IDENTITY_PROVIDER", f"https://cognito-idp.{region}.amazonaws.com"),
        )

    @property
    def token_issuer(self) -> str:
        """Who signs the users' tokens."""
        return f"https://cognito-idp.{self.region}.amazonaws.com/{self.user_pool_id}"

    @property
    def jwks_url(self) -> str:
        """Where the issuer's keys are."""
        return f"{self.cognito_endpoint}/{self.user_pool_id}/.well-known/jwks.json"


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str:
        value = self._environment.get(name, "")
        if not value:
            raise SettingsError(f"environment variable {name} is not set")
        return value

    def items(self, name: str) -> tuple[str, ...]:
        items = tuple(item.strip() for item in self.text(name).split(",") if item.strip())
        if not items:
            raise SettingsError(f"environment variable {name} has no items")
        return items

    def positive(self, name: str) -> int:
        value = self.text(name)
        if not value.isascii() or not value.isdecimal() or int(value) < 1:
            raise SettingsError(f"environment variable {name} has to be a whole number above 0, it is {value!r}")
        return int(value)

    def choice(self, name: str, *choices: str) -> str:
        value = self.text(name)
        if value not in choices:
            raise SettingsError(f"environment variable {name} has to be one of {', '.join(choices)}, it is {value!r}")
        return value

    def endpoint(self, service: str, default: str) -> str:
        # The SDKs' own variables, so that one setting moves every client.
        names = (f"AWS_ENDPOINT_URL_{service}", "AWS_ENDPOINT_URL")
        return next((self._environment[name] for name in names if self._environment.get(name)), default).rstrip("/")
