"""From settings to the live parts that functions share: made once a sandbox, at its cold start.

botocore alone, without boto3's resource layer, spares a fifth of the import time.
"""

from collections.abc import Mapping
from functools import cache
from time import monotonic, sleep, time
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials

from tokenstream import settings
from tokenstream.auth import TokenVerifier
from tokenstream.connections import Connections
from tokenstream.delivery import AppSyncDelivery, WebSocketDelivery
from tokenstream.message_queue import MessageQueue
from tokenstream.post_to_connection import PostToConnection
from tokenstream.prompt_queue import PromptQueue
from tokenstream.publish_to_topic import PublishToTopic
from tokenstream.publish_token import PublishToken
from tokenstream.recoveries import Recoveries
from tokenstream.request import Limits
from tokenstream.retries import TIMEOUT_SECONDS
from tokenstream.sessions import Sessions
from tokenstream.signing import SignedConnection
from tokenstream.sources.bedrock import Bedrock

MODEL_SILENCE_SECONDS = 120.0
"""How long a model may send nothing before its stream counts as dead; reasoning models think for long."""

# Tables and asynchronous invokes answer in milliseconds. What takes longer is tried again rather than waited for,
# within a lease's time.
_QUICK = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}, tcp_keepalive=True
)


@cache
def _aws() -> botocore.session.Session:
    return botocore.session.get_session()


@cache
def _dynamodb(region: str) -> Any:
    return _aws().create_client("dynamodb", region_name=region, config=_QUICK)


def sessions(store: settings.SessionStore) -> Sessions:
    """Return the sessions table."""
    return Sessions(_dynamodb(store.region), store.table, ttl=store.ttl, store_answers=store.store_answers)


def connections(store: settings.ConnectionStore) -> Connections:
    """Return the table of the open WebSocket connections."""
    return Connections(_dynamodb(store.region), store.table)


def bedrock(models: settings.BedrockRuntime) -> Bedrock:
    """Return the models."""
    credentials = _credentials()

    def connect() -> SignedConnection:
        return SignedConnection(
            models.endpoint, "bedrock", models.region, credentials, read_timeout=MODEL_SILENCE_SECONDS
        )

    return Bedrock(connect, api=models.api, guardrail=models.guardrail)


def post_to_connection(api: settings.WebSocketApi) -> PostToConnection:
    """Return the way to the clients of the WebSocket API."""
    credentials = _credentials()

    def connect() -> SignedConnection:
        return SignedConnection(api.endpoint, "execute-api", api.region, credentials, read_timeout=TIMEOUT_SECONDS)

    return PostToConnection(connect, api.endpoint, clock=monotonic, wait=sleep)


def publish_token(api: settings.GraphQLApi) -> PublishToken:
    """Return the way to the subscribers of the AppSync API."""
    credentials = _credentials()

    def connect() -> SignedConnection:
        return SignedConnection(api.endpoint, "appsync", api.region, credentials, read_timeout=TIMEOUT_SECONDS)

    return PublishToken(connect, api.endpoint, clock=monotonic, wait=sleep)


def publish_to_topic(topic: settings.FramesTopic) -> PublishToTopic:
    """Return the way into the queue of the frames."""
    credentials = _credentials()

    def connect() -> SignedConnection:
        return SignedConnection(topic.endpoint, "sns", topic.region, credentials, read_timeout=TIMEOUT_SECONDS)

    return PublishToTopic(connect, topic.arn, clock=monotonic, wait=sleep)


def websocket_delivery(environment: Mapping[str, str]) -> WebSocketDelivery:
    """Return the ways to WebSocket connections; where the direct one is switched off nothing of it is asked for."""
    topic = publish_to_topic(settings.FramesTopic.from_environment(environment))
    direct = settings.direct_send(environment)
    post = post_to_connection(settings.WebSocketApi.from_environment(environment)) if direct else None
    return WebSocketDelivery(topic, post, monotonic, sleep)


def appsync_delivery(environment: Mapping[str, str]) -> AppSyncDelivery:
    """Return the ways to AppSync's subscribers; where the direct one is switched off nothing of it is asked for."""
    topic = publish_to_topic(settings.FramesTopic.from_environment(environment))
    direct = settings.direct_send(environment)
    publish = publish_token(settings.GraphQLApi.from_environment(environment)) if direct else None
    return AppSyncDelivery(topic, publish, monotonic, sleep)


def limits(environment: Mapping[str, str]) -> Limits:
    """Return what a request on one of the paths that push may ask for."""
    models = settings.ModelLimits.from_environment(environment)
    return Limits(
        models.allowed_models,
        models.max_tokens_cap,
        deliveries=("direct", "queued"),
        direct_send=settings.direct_send(environment),
    )


def prompt_queue(queue: settings.PromptQueue) -> PromptQueue:
    """Return the queue in front of the model."""
    return PromptQueue(_messages(queue.region, queue.url))


def frames_queue(queue: settings.FramesQueue) -> MessageQueue:
    """Return the queue of the frames."""
    return _messages(queue.region, queue.url)


def recoveries(machine: settings.StateMachine) -> Recoveries:
    """Return the state machine that recovers sessions."""
    client = _aws().create_client("stepfunctions", region_name=machine.region, config=_QUICK)
    return Recoveries(client, machine.arn)


def _messages(region: str, url: str) -> MessageQueue:
    return MessageQueue(_aws().create_client("sqs", region_name=region, config=_QUICK), url)


def functions(region: str) -> Any:
    """Return Lambda's client, to start other functions with."""
    return _aws().create_client("lambda", region_name=region, config=_QUICK)


def token_verifier(pool: settings.UserPool) -> TokenVerifier:
    """Return what verifies the users' tokens."""
    return TokenVerifier.of(pool, clock=time)


def _credentials() -> Credentials:
    credentials = _aws().get_credentials()
    if credentials is None:
        raise settings.SettingsError("there are no AWS credentials")
    return credentials
