from collections.abc import Iterator
from contextlib import closing

import pytest
from msgspec.json import decode

from tests.contract.sinks import FrameSinkContract
from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import BROKEN
from tests.fakes.graphql_api import CREDENTIALS, REGION, GraphQLApi, graphql_api
from tokenstream.publish_token import PublishToken
from tokenstream.retries import TIMEOUT_SECONDS
from tokenstream.signing import SignedConnection
from tokenstream.sinks.appsync import AppSyncSink

OWNER = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"


class Subscriber:
    """A subscriber behind the real mutations. AppSync tells nobody that one has left: it leaves when AppSync fails."""

    def __init__(self, api: GraphQLApi, publish: PublishToken) -> None:
        self._api = api
        self.sink = AppSyncSink(publish, OWNER)

    def frames(self) -> list[bytes]:
        return [event["frame"].encode() for event in self._api.events]

    def text(self) -> str:
        """Return the text as a simple client shows it, that doesn't look into the frames."""
        text = "".join(event["token"] for event in self._api.events if event["type"] == "token")
        assert text == "".join(frame["token"] for frame in map(decode, self.frames()) if frame["type"] == "token")
        return text

    def leave(self) -> None:
        self._api.always(BROKEN)


class TestAppSyncSink(FrameSinkContract):
    @pytest.fixture
    def client(self) -> Iterator[Subscriber]:
        clock = FakeClock()
        with graphql_api() as api:

            def connect() -> SignedConnection:
                return SignedConnection(api.url, "appsync", REGION, CREDENTIALS, read_timeout=TIMEOUT_SECONDS)

            with closing(PublishToken(connect, api.url, clock=clock, wait=clock.advance)) as publish:
                yield Subscriber(api, publish)
