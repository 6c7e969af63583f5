"""A client of a direct way with the queued one behind it: wherever that breaks, it gets what any client gets."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.contract.sinks import FrameSinkContract
from tests.contract.test_sinks import text
from tests.fakes import connections_api as connections
from tests.fakes import topics_api as topics
from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import connections_api
from tests.fakes.frames import SESSION
from tests.fakes.frames_queue import delivered
from tests.fakes.graphql_api import GraphQLApi, graphql_api
from tests.fakes.publishing import post_to_connection, publish_to_topic, publish_token
from tests.fakes.topics_api import TopicsApi, topics_api
from tokenstream.sinks.appsync import AppSyncSink
from tokenstream.sinks.failover import Circuit, FailoverSink
from tokenstream.sinks.sns import SnsSink
from tokenstream.sinks.websocket import WebSocketSink

CONNECTION = "VqYb2cO1IAMCIhw="
OWNER = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"
NEVER = 10**6


class WebSocketClient:
    """Gets the messages of both ways, the direct ones first: behind the switch nothing goes directly any more."""

    def __init__(self, stack: ExitStack, *, breaks_after: int) -> None:
        self._clock = FakeClock()
        self._direct = stack.enter_context(connections_api())
        self._topic = stack.enter_context(topics_api())
        self._breaks_after = breaks_after
        self._gone = False
        self._failovers: list[str] = []
        self._direct.before = self._break
        direct = WebSocketSink(stack.enter_context(post_to_connection(self._direct.url, self._clock)), CONNECTION)
        queued = SnsSink(
            stack.enter_context(publish_to_topic(self._topic.url, self._clock)),
            SESSION,
            max_frame_bytes=WebSocketSink.max_frame_bytes,
            heartbeats=True,
            client_gone=lambda: self._gone,
        )
        self.sink = FailoverSink(direct, queued, Circuit(self._clock), self._failovers.append)

    def frames(self) -> list[bytes]:
        directly = self._direct.raw(CONNECTION)
        assert len(directly) <= self._breaks_after
        assert len(self._failovers) <= 1
        assert bool(self._failovers) or not self._topic.queued
        return directly + delivered(self._topic.queued)

    def text(self) -> str:
        return text(self.frames())

    def leave(self) -> None:
        self._direct.close(CONNECTION)
        self._gone = True

    def _break(self, connection_id: str, message: bytes) -> None:
        if len(self._direct.raw(CONNECTION)) == self._breaks_after:
            self._direct.always(CONNECTION, connections.BROKEN)


class Subscriber:
    """The same for AppSync, which tells nobody that somebody has left: it leaves when both ways fail."""

    def __init__(self, stack: ExitStack, *, breaks_after: int) -> None:
        self._clock = FakeClock()
        self._direct: GraphQLApi = stack.enter_context(graphql_api())
        self._topic: TopicsApi = stack.enter_context(topics_api())
        self._breaks_after = breaks_after
        self._direct.before = lambda variables: self._break()
        direct = AppSyncSink(stack.enter_context(publish_token(self._direct.url, self._clock)), OWNER)
        queued = SnsSink(
            stack.enter_context(publish_to_topic(self._topic.url, self._clock)),
            SESSION,
            max_frame_bytes=AppSyncSink.max_frame_bytes,
            heartbeats=False,
        )
        self.sink = FailoverSink(direct, queued, Circuit(self._clock), lambda reason: None)

    def frames(self) -> list[bytes]:
        directly = [event["frame"].encode() for event in self._direct.events]
        assert len(directly) <= self._breaks_after
        return directly + delivered(self._topic.queued)

    def text(self) -> str:
        return text(self.frames())

    def leave(self) -> None:
        self._direct.always(connections.BROKEN)
        self._topic.always(topics.BROKEN)

    def _break(self) -> None:
        if len(self._direct.events) == self._breaks_after:
            self._direct.always(connections.BROKEN)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class TestFailoverFromWebSocket(FrameSinkContract):
    @pytest.fixture(params=[NEVER, 0, 1, 2], ids=["never", "from the first", "behind the first", "in the middle"])
    def client(self, stack: ExitStack, request: pytest.FixtureRequest) -> WebSocketClient:
        return WebSocketClient(stack, breaks_after=request.param)


class TestFailoverFromAppSync(FrameSinkContract):
    @pytest.fixture(params=[0, 2], ids=["from the first", "in the middle"])
    def client(self, stack: ExitStack, request: pytest.FixtureRequest) -> Subscriber:
        return Subscriber(stack, breaks_after=request.param)
