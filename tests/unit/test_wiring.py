from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import connections_api
from tests.fakes.frames import SESSION, Attempt
from tests.fakes.frames_queue import frames_of
from tests.fakes.graphql_api import CREDENTIALS, graphql_api
from tests.fakes.topics_api import TOPIC, TopicsApi, topics_api
from tokenstream import wiring
from tokenstream.lease import Lease
from tokenstream.request import Limits
from tokenstream.session import Claim
from tokenstream.sessions import Sessions
from tokenstream.settings import SettingsError

ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "DIRECT_SEND": "true",
    "FRAMES_TOPIC": TOPIC,
    "ALLOWED_MODELS": "m",
    "MAX_TOKENS_CAP": "10",
}
QUEUED = ENVIRONMENT | {"DIRECT_SEND": "false"}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_credentials", lambda: CREDENTIALS)


@pytest.fixture
def topic() -> Iterator[TopicsApi]:
    with topics_api() as api:
        yield api


@pytest.fixture
def lease() -> Lease:
    """A worker's lease, at whose table nobody looks."""
    nowhere = Sessions(None, "sessions", ttl=3600, store_answers=False)
    return Lease(nowhere, Claim(SESSION, 1, "worker", 0.0), FakeClock())


def closed(*parts: Any) -> None:
    """Close the connections of a function's parts."""
    for part in parts:
        part._topic.close()


def test_without_a_direct_way_frames_are_queued_and_nothing_of_that_way_is_in_the_environment(
    topic: TopicsApi,
    lease: Lease,
) -> None:
    environment = QUEUED | {"AWS_ENDPOINT_URL_SNS": topic.url}
    answer = Attempt().answer("a")
    websocket, appsync = wiring.websocket_delivery(environment), wiring.appsync_delivery(environment)
    websocket.replay(SESSION, "asking=", "ticket", "direct").send(answer)
    appsync.stream(lease, SESSION, "user", "direct").sink.send(answer)
    closed(websocket, appsync)
    assert frames_of(topic.queued) == answer * 2


def test_with_a_direct_way_frames_go_to_the_endpoints_that_the_environment_names(
    topic: TopicsApi, lease: Lease
) -> None:
    answer = Attempt().answer("a")
    with connections_api() as connections, graphql_api() as api:
        environment = ENVIRONMENT | {
            "AWS_ENDPOINT_URL_SNS": topic.url,
            "WEBSOCKET_ENDPOINT": connections.url,
            "GRAPHQL_ENDPOINT": api.url,
        }
        websocket, appsync = wiring.websocket_delivery(environment), wiring.appsync_delivery(environment)
        websocket.replay(SESSION, "asking=", "ticket", "direct").send(answer)
        appsync.stream(lease, SESSION, "user", "direct").sink.send(answer)
        for way in (websocket._post, appsync._publish):
            way.close()  # type: ignore[union-attr] # the real ones
        closed(websocket, appsync)
        assert connections.raw("asking=") == [sealed.json for sealed in answer]
        assert [event["frame"].encode() for event in api.events] == [sealed.json for sealed in answer]
    assert topic.tries == []


@pytest.mark.parametrize(
    ("make", "missing"),
    [
        (wiring.websocket_delivery, "WEBSOCKET_ENDPOINT"),
        (wiring.appsync_delivery, "GRAPHQL_ENDPOINT"),
    ],
)
def test_a_direct_way_that_leads_nowhere_is_named_at_the_cold_start(
    make: Callable[[Mapping[str, str]], object], missing: str
) -> None:
    with pytest.raises(SettingsError, match=missing):
        make(ENVIRONMENT)


@pytest.mark.parametrize("make", [wiring.websocket_delivery, wiring.appsync_delivery])
@pytest.mark.parametrize("missing", ["DIRECT_SEND", "FRAMES_TOPIC"])
def test_a_missing_queued_way_is_named_at_the_cold_start(
    make: Callable[[Mapping[str, str]], object], missing: str
) -> None:
    with pytest.raises(SettingsError, match=missing):
        make({name: value for name, value in QUEUED.items() if name != missing})


@pytest.mark.parametrize(("environment", "direct_send"), [(ENVIRONMENT, True), (QUEUED, False)])
def test_on_the_paths_that_push_a_client_may_ask_for_either_delivery(
    environment: dict[str, str], direct_send: bool
) -> None:
    assert wiring.limits(environment) == Limits(("m",), 10, ("direct", "queued"), direct_send)
