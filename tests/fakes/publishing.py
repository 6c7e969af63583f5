"""The ways to the services on loopback, on a clock that moves while they wait."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.fakes.clock import FakeClock
from tests.fakes.graphql_api import CREDENTIALS, REGION
from tests.fakes.topics_api import TOPIC
from tokenstream.post_to_connection import PostToConnection
from tokenstream.publish_to_topic import PublishToTopic
from tokenstream.publish_token import PublishToken
from tokenstream.retries import TIMEOUT_SECONDS
from tokenstream.signing import SignedConnection


@contextmanager
def publish_to_topic(url: str, clock: FakeClock) -> Iterator[PublishToTopic]:
    """Give the way to the topic."""

    def connect() -> SignedConnection:
        return SignedConnection(url, "sns", REGION, CREDENTIALS, read_timeout=TIMEOUT_SECONDS)

    with closing(PublishToTopic(connect, TOPIC, clock=clock, wait=clock.advance)) as publish:
        yield publish


@contextmanager
def post_to_connection(url: str, clock: FakeClock) -> Iterator[PostToConnection]:
    """Give the way to WebSocket connections."""

    def connect() -> SignedConnection:
        return SignedConnection(url, "execute-api", REGION, CREDENTIALS, read_timeout=TIMEOUT_SECONDS)

    with closing(PostToConnection(connect, url, clock=clock, wait=clock.advance)) as post:
        yield post


@contextmanager
def publish_token(url: str, clock: FakeClock) -> Iterator[PublishToken]:
    """Give the way to AppSync's subscribers."""

    def connect() -> SignedConnection:
        return SignedConnection(url, "appsync", REGION, CREDENTIALS, read_timeout=TIMEOUT_SECONDS)

    with closing(PublishToken(connect, url, clock=clock, wait=clock.advance)) as publish:
        yield publish
