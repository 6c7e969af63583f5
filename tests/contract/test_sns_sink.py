from collections.abc import Iterator

import pytest

from tests.contract.sinks import FrameSinkContract
from tests.contract.test_sinks import text
from tests.fakes.clock import FakeClock
from tests.fakes.frames import SESSION
from tests.fakes.frames_queue import delivered
from tests.fakes.publishing import publish_to_topic
from tests.fakes.topics_api import BROKEN, TopicsApi, topics_api
from tokenstream.sinks.appsync import AppSyncSink
from tokenstream.sinks.sns import SnsSink
from tokenstream.sinks.websocket import WebSocketSink


class Reader:
    """A client behind topic and queue, who gets what those hold in its order."""

    def __init__(self, api: TopicsApi, sink: SnsSink) -> None:
        self._api = api
        self.sink = sink

    def frames(self) -> list[bytes]:
        return delivered(self._api.queued)

    def text(self) -> str:
        return text(self.frames())

    def leave(self) -> None:
        """Nobody tells: it leaves when the way fails."""
        self._api.always(BROKEN)


class WebSocketReader(Reader):
    """One whose leaving is found out by whoever delivers, and noted with the session."""

    gone = False

    def leave(self) -> None:
        self.gone = True


@pytest.fixture
def api() -> Iterator[TopicsApi]:
    with topics_api() as api:
        yield api


class TestSnsSinkForWebSocket(FrameSinkContract):
    @pytest.fixture
    def client(self, api: TopicsApi) -> Iterator[WebSocketReader]:
        with publish_to_topic(api.url, FakeClock()) as publish:
            sink = SnsSink(
                publish,
                SESSION,
                max_frame_bytes=WebSocketSink.max_frame_bytes,
                heartbeats=True,
                client_gone=lambda: reader.gone,
            )
            reader = WebSocketReader(api, sink)
            yield reader


class TestSnsSinkForAppSync(FrameSinkContract):
    @pytest.fixture
    def client(self, api: TopicsApi) -> Iterator[Reader]:
        with publish_to_topic(api.url, FakeClock()) as publish:
            sink = SnsSink(publish, SESSION, max_frame_bytes=AppSyncSink.max_frame_bytes, heartbeats=False)
            yield Reader(api, sink)
