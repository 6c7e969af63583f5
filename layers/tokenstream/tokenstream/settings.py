"""The environment, typed. A value that is missing or wrong fails the cold start by its name.

Nothing else reads it, but for the keys in it that `credentials` finds. A function reads the parts that it needs, and
the template sets no others for it. Times are in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast
from urllib.parse import urlsplit

BedrockApi = Literal["auto", "invoke", "converse"]


class SettingsError(RuntimeError):
    """An environment variable is missing or not what it has to be."""


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A Bedrock guardrail that every answer passes."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class UserPool:
    """Whose users may call."""

    region: str
    id: str
    client_id: str
    endpoint: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            id=read.text("USER_POOL_ID"),
            client_id=read.text("USER_POOL_CLIENT_ID"),
            endpoint=read.endpoint("COGNITO_IDENTITY_PROVIDER", "cognito-idp"),
        )

    @property
    def issuer(self) -> str:
        """Who signs the users' tokens."""
        return f"https://cognito-idp.{self.region}.amazonaws.com/{self.id}"

    @property
    def jwks_url(self) -> str:
        """Where the issuer's keys are."""
        return f"{self.endpoint}/{self.id}/.well-known/jwks.json"


@dataclass(frozen=True, slots=True)
class SessionStore:
    """Where sessions are kept, how many seconds, and whether with prompt and answer."""

    region: str
    endpoint: str
    table: str
    ttl: int
    store_answers: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            endpoint=read.endpoint("DYNAMODB", "dynamodb"),
            table=read.text("SESSIONS_TABLE"),
            ttl=read.positive("SESSION_TTL_SECONDS"),
            store_answers=read.choice("STORE_ANSWERS", "true", "false") == "true",
        )


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What a request may ask for; the first model is the default."""

    allowed_models: tuple[str, ...]
    max_tokens_cap: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(allowed_models=read.items("ALLOWED_MODELS"), max_tokens_cap=read.positive("MAX_TOKENS_CAP"))


@dataclass(frozen=True, slots=True)
class BedrockRuntime:
    """How the models are called."""

    region: str
    endpoint: str
    api: BedrockApi
    guardrail: Guardrail | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        guardrail_id = environment.get("GUARDRAIL_ID", "")
        return cls(
            region=read.region,
            endpoint=read.endpoint("BEDROCK_RUNTIME", "bedrock-runtime"),
            api=cast("BedrockApi", read.choice("BEDROCK_API", "auto", "invoke", "converse")),
            guardrail=Guardrail(guardrail_id, read.text("GUARDRAIL_VERSION")) if guardrail_id else None,
        )


@dataclass(frozen=True, slots=True)
class ConnectionStore:
    """Where the open WebSocket connections are kept."""

    region: str
    endpoint: str
    table: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            endpoint=read.endpoint("DYNAMODB", "dynamodb"),
            table=read.text("CONNECTIONS_TABLE"),
        )


@dataclass(frozen=True, slots=True)
class WebSocketApi:
    """The stage whose connections are written to: `https://<host>/<stage>`."""

    region: str
    endpoint: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        # `AWS_ENDPOINT_URL` leads to no stage: unlike with the other services it is no substitute.
        override = environment.get("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", "").rstrip("/")
        return cls(region=read.region, endpoint=override or read.text("WEBSOCKET_ENDPOINT"))


@dataclass(frozen=True, slots=True)
class StreamFunction:
    """The function that streams to WebSocket connections."""

    region: str
    endpoint: str
    name: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            endpoint=read.endpoint("LAMBDA", "lambda"),
            name=read.text("STREAM_FUNCTION"),
        )


@dataclass(frozen=True, slots=True)
class GraphQLApi:
    """The API that frames are published to: `https://<host>/graphql`."""

    region: str
    endpoint: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(region=read.region, endpoint=read.text("GRAPHQL_ENDPOINT"))


@dataclass(frozen=True, slots=True)
class PromptQueue:
    """The queue in front of the model."""

    region: str
    endpoint: str
    url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            endpoint=read.endpoint("SQS", "sqs"),
            url=read.text("PROMPT_QUEUE_URL"),
        )


@dataclass(frozen=True, slots=True)
class FramesTopic:
    """The topic that frames are queued by."""

    region: str
    arn: str
    endpoint: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            arn=read.text("FRAMES_TOPIC"),
            endpoint=read.endpoint("SNS", "sns"),
        )


@dataclass(frozen=True, slots=True)
class FramesQueue:
    """The queue behind that topic."""

    region: str
    endpoint: str
    url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            endpoint=read.endpoint("SQS", "sqs"),
            url=read.text("FRAMES_QUEUE_URL"),
        )


@dataclass(frozen=True, slots=True)
class Recovery:
    """What follows attempts that were given up: how many more, and by which model; None is the session's own."""

    attempts: int
    fallback_model: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            attempts=read.whole("RECOVERY_ATTEMPTS"), fallback_model=environment.get("FALLBACK_MODEL", "") or None
        )


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The state machine that recovers sessions."""

    region: str
    endpoint: str
    arn: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; raises `SettingsError` that names the one at fault."""
        read = _Reader(environment)
        return cls(
            region=read.region,
            endpoint=read.endpoint("SFN", "states"),
            arn=read.text("RECOVERY_STATE_MACHINE"),
        )


def direct_send(environment: Mapping[str, str]) -> bool:
    """Tell whether frames go to the clients directly, unless a request wants it otherwise; raises `SettingsError`."""
    return _Reader(environment).choice("DIRECT_SEND", "true", "false") == "true"


def flush_interval(environment: Mapping[str, str]) -> float:
    """Read how many seconds at least there are from one send of a stream to the next; raises `SettingsError`."""
    return _Reader(environment).whole("FLUSH_INTERVAL_MS") / 1000


def prompt_max_receives(environment: Mapping[str, str]) -> int:
    """Read how often a prompt is delivered before it counts as dead; raises `SettingsError`."""
    return _Reader(environment).positive("PROMPT_MAX_RECEIVES")


def allowed_origins(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Read whose web pages may call; raises `SettingsError`."""
    return _Reader(environment).items("ALLOWED_ORIGINS")


def tracing(environment: Mapping[str, str]) -> bool:
    """Tell whether invocations are traced: Powertools' own switch."""
    return environment.get("POWERTOOLS_TRACE_DISABLED", "true").lower() not in {"true", "1"}


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.region = self.text("AWS_REGION")

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

    def whole(self, name: str) -> int:
        value = self.text(name)
        if not value.isascii() or not value.isdecimal():
            raise SettingsError(f"environment variable {name} has to be a whole number, it is {value!r}")
        return int(value)

    def choice(self, name: str, *choices: str) -> str:
        value = self.text(name)
        if value not in choices:
            raise SettingsError(f"environment variable {name} has to be one of {', '.join(choices)}, it is {value!r}")
        return value

    def endpoint(self, service: str, host: str) -> str:
        # The SDKs' own variables, so that one setting moves every client.
        default = f"https://{host}.{self.region}.amazonaws.com"
        names = (f"AWS_ENDPOINT_URL_{service}", "AWS_ENDPOINT_URL")
        for name in names:
            if endpoint := self._environment.get(name, "").rstrip("/"):
                if urlsplit(endpoint).path:
                    raise SettingsError(f"environment variable {name} has to be an address without a path")
                return endpoint
        return default
