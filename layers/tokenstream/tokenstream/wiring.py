"""From settings to the live parts that functions share: made once a sandbox, at its cold start.

No SDK client is made: its import and the service models take most of a cold start's time.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from time import monotonic, sleep, time

from tokenstream import aws_clients, credentials, settings
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
from tokenstream.signing import CONNECT_TIMEOUT_SECONDS, SignedConnection
from tokenstream.sources.bedrock import Bedrock

MODEL_SILENCE_SECONDS = 120.0
"""How long a model may send nothing before its stream counts as dead; reasoning models think for long."""


def sessions(store: settings.SessionStore) -> Sessions:
    """Return the sessions table."""
    return Sessions(
        _dynamodb(store.endpoint, store.region), store.table, ttl=store.ttl, store_answers=store.store_answers
    )


def connections(store: settings.ConnectionStore) -> Connections:
    """Return the table of the open WebSocket connections."""
    return Connections(_dynamodb(store.endpoint, store.region), store.table)


def bedrock(models: settings.BedrockRuntime) -> Bedrock:
    """Return the models."""
    connect = _connect_to(models.endpoint, "bedrock", models.region, read_timeout=MODEL_SILENCE_SECONDS)
    return Bedrock(connect, api=models.api, guardrail=models.guardrail)


def post_to_connection(api: settings.WebSocketApi) -> PostToConnection:
    """Return the way to the clients of the WebSocket API."""
    connect = _connect_to(api.endpoint, "execute-api", api.region, read_timeout=TIMEOUT_SECONDS)
    return PostToConnection(connect, api.endpoint, clock=monotonic, wait=sleep)


def publish_token(api: settings.GraphQLApi) -> PublishToken:
    """Return the way to the subscribers of the AppSync API."""
    connect = _connect_to(api.endpoint, "appsync", api.region, read_timeout=TIMEOUT_SECONDS)
    return PublishToken(connect, api.endpoint, clock=monotonic, wait=sleep)


def publish_to_topic(topic: settings.FramesTopic) -> PublishToTopic:
    """Return the way into the queue of the frames."""
    connect = _connect_to(topic.endpoint, "sns", topic.region, read_timeout=TIMEOUT_SECONDS)
    return PublishToTopic(connect, topic.arn, clock=monotonic, wait=sleep)


def websocket_delivery(environment: Mapping[str, str]) -> WebSocketDelivery:
    """Return the ways to WebSocket connections; where the direct one is switched off nothing of it is asked for."""
    topic = publish_to_topic(settings.FramesTopic.from_environment(environment))
    direct = settings.direct_send(environment)
    post = post_to_connection(settings.WebSocketApi.from_environment(environment)) if direct else None
    return WebSocketDelivery(topic, post, monotonic)


def appsync_delivery(environment: Mapping[str, str]) -> AppSyncDelivery:
    """Return the ways to AppSync's subscribers; where the direct one is switched off nothing of it is asked for."""
    topic = publish_to_topic(settings.FramesTopic.from_environment(environment))
    direct = settings.direct_send(environment)
    publish = publish_token(settings.GraphQLApi.from_environment(environment)) if direct else None
    return AppSyncDelivery(topic, publish, monotonic)


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
    return PromptQueue(_messages(queue))


def frames_queue(queue: settings.FramesQueue) -> MessageQueue:
    """Return the queue of the frames."""
    return _messages(queue)


def recoveries(machine: settings.StateMachine) -> Recoveries:
    """Return the state machine that recovers sessions."""
    client = aws_clients.StepFunctions(_connect_quickly_to(machine.endpoint, "states", machine.region))
    return Recoveries(client, machine.arn)


def functions(function: settings.StreamFunction) -> aws_clients.Lambda:
    """Return Lambda's client, to start that function with."""
    return aws_clients.Lambda(_connect_quickly_to(function.endpoint, "lambda", function.region))


def token_verifier(pool: settings.UserPool) -> TokenVerifier:
    """Return what verifies the users' tokens."""
    return TokenVerifier.of(pool, clock=time)


@cache
def _dynamodb(endpoint: str, region: str) -> aws_clients.DynamoDB:
    return aws_clients.DynamoDB(_connect_quickly_to(endpoint, "dynamodb", region))


@cache
def _sqs(endpoint: str, region: str) -> aws_clients.Sqs:
    return aws_clients.Sqs(_connect_quickly_to(endpoint, "sqs", region))


def _messages(queue: settings.PromptQueue | settings.FramesQueue) -> MessageQueue:
    return MessageQueue(_sqs(queue.endpoint, queue.region), queue.url)


def _connect_quickly_to(endpoint: str, service: str, region: str) -> Callable[[], SignedConnection]:
    return _connect_to(
        endpoint,
        service,
        region,
        read_timeout=aws_clients.READ_TIMEOUT_SECONDS,
        connect_timeout=aws_clients.CONNECT_TIMEOUT_SECONDS,
    )


def _connect_to(
    endpoint: str, service: str, region: str, *, read_timeout: float, connect_timeout: float = CONNECT_TIMEOUT_SECONDS
) -> Callable[[], SignedConnection]:
    return partial(
        SignedConnection,
        endpoint,
        service,
        region,
        _credentials(),
        read_timeout=read_timeout,
        connect_timeout=connect_timeout,
    )


def _credentials() -> credentials.Credentials:
    return credentials.find(os.environ)
