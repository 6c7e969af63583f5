import hashlib
import hmac
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import (
    BROKEN,
    FORBIDDEN,
    LOST_ANSWER,
    NO_ANSWER,
    STAGE,
    THROTTLED,
    ConnectionsApi,
    Fault,
    connections_api,
)
from tests.fakes.observed import PATIENCE_SECONDS
from tests.integration.scripted_endpoint import Exchange, Received, refused, scripted_endpoint
from tokenstream.post_to_connection import PostToConnection
from tokenstream.retries import BUDGET_SECONDS, TIMEOUT_SECONDS
from tokenstream.signing import SignedConnection
from tokenstream.sinks import ClientGone, DeliveryFailed

CLIENT = "VqYb2cO1IAMCIhw="
ANOTHER = "VqYb2cO1IAMCIhx="
REGION = "eu-west-1"
SECRET = "secret"
MESSAGE = '{"type":"token","token":"é 👋"}'.encode()


class Posting:
    """The way to the clients of a stage, on a clock that moves while it waits."""

    def __init__(self, endpoint: str, *, jitter: float = 1.0, read_timeout: float = PATIENCE_SECONDS) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        credentials = Credentials("AKIDEXAMPLE", SECRET, "session-token")
        self.post = PostToConnection(
            lambda: SignedConnection(endpoint, "execute-api", REGION, credentials, read_timeout=read_timeout),
            endpoint,
            clock=self.clock,
            wait=self._wait,
            jitter=lambda: jitter,
        )

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


@contextmanager
def posting(endpoint: str, **options: float) -> Iterator[Posting]:
    way = Posting(endpoint, **options)
    with closing(way.post):
        yield way


@pytest.fixture
def api() -> Iterator[ConnectionsApi]:
    with connections_api() as api:
        yield api


@pytest.fixture
def way(api: ConnectionsApi) -> Iterator[Posting]:
    with posting(api.url) as way:
        yield way


# What is sent


def test_a_message_reaches_its_connection_to_the_byte(api: ConnectionsApi, way: Posting) -> None:
    way.post(CLIENT, MESSAGE)
    way.post(ANOTHER, b"")
    assert (api.raw(CLIENT), api.raw(ANOTHER)) == ([MESSAGE], [b""])
    assert way.waits == []


def sdk_request(endpoint: str, connection_id: str) -> None:
    """Send a message with the SDK's own client."""
    client: Any = botocore.session.Session().create_client(
        "apigatewaymanagementapi",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
        aws_session_token="session-token",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.post_to_connection(ConnectionId=connection_id, Data=MESSAGE)
    client.close()


def true_signature(received: Received) -> str:
    """Sign what has arrived as AWS does when it verifies (IAM user guide, "Create a signed AWS API request")."""
    authorization = received.headers["authorization"]
    parts = dict(part.split("=", 1) for part in authorization.partition(" ")[2].split(", "))
    scope = parts["Credential"].partition("/")[2]
    signed = parts["SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            received.method,
            quote(received.target, safe="/~"),  # the path is encoded once more
            "",
            *(f"{name}:{received.headers[name]}" for name in signed),
            "",
            parts["SignedHeaders"],
            hashlib.sha256(received.body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", received.headers["x-amz-date"], scope, digest])
    key = f"AWS4{SECRET}".encode()
    for word in [*scope.split("/"), to_sign]:
        key = hmac.digest(key, word.encode(), "sha256")
    return key.hex()


@pytest.mark.parametrize("path", ["/dev", "/_aws/execute-api/w1x2y3z4a5/dev"], ids=["AWS", "local"])
@pytest.mark.parametrize("connection_id", [CLIENT, "a+b/c==", "é ~_.-%3D"])
def test_the_request_is_the_one_that_the_sdk_sends_and_aws_verifies(path: str, connection_id: str) -> None:
    def ok(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with scripted_endpoint(ok, ok) as endpoint:
        sdk_request(endpoint.url + path, connection_id)
        with posting(endpoint.url + path) as way:
            way.post(connection_id, MESSAGE)
    sdks, ours = endpoint.requests
    assert (ours.method, ours.target, ours.body) == (sdks.method, sdks.target, sdks.body)
    for received in (sdks, ours):
        authorization = received.headers["authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert f"/{REGION}/execute-api/aws4_request," in authorization
        assert "host;" in authorization
        assert received.headers["x-amz-security-token"] == "session-token"
        assert authorization.endswith(f"Signature={true_signature(received)}")


def test_many_messages_share_one_connection(api: ConnectionsApi, way: Posting) -> None:
    for number in range(200):
        way.post(CLIENT, b"%d" % number)
    assert api.raw(CLIENT) == [b"%d" % number for number in range(200)]
    assert api.endpoint.connections == 1


def test_a_refusal_does_not_cost_the_shared_connection(api: ConnectionsApi, way: Posting) -> None:
    api.fails(CLIENT, THROTTLED, BROKEN)
    api.close("gone")
    api.always("forbidden", FORBIDDEN)
    way.post(CLIENT, MESSAGE)
    for connection_id in ("gone", "forbidden"):
        with pytest.raises(ClientGone):
            way.post(connection_id, MESSAGE)
    way.post(CLIENT, MESSAGE)
    assert api.raw(CLIENT) == [MESSAGE, MESSAGE]
    assert api.endpoint.connections == 1


# What does not arrive at once


@pytest.mark.parametrize(
    "fault",
    [THROTTLED, BROKEN, Fault(refused(503)), NO_ANSWER],
    ids=["throttled", "broken", "unavailable", "no answer"],
)
def test_what_fails_for_a_moment_arrives_once(api: ConnectionsApi, way: Posting, fault: Fault) -> None:
    api.fails(CLIENT, fault, fault, fault)
    way.post(CLIENT, MESSAGE)
    assert api.raw(CLIENT) == [MESSAGE]


def test_a_message_whose_answer_was_lost_is_sent_again_with_the_same_bytes(api: ConnectionsApi, way: Posting) -> None:
    api.fails(CLIENT, LOST_ANSWER)
    way.post(CLIENT, MESSAGE)
    assert api.raw(CLIENT) == [MESSAGE, MESSAGE]


def test_an_answer_that_takes_too_long_is_not_waited_for(api: ConnectionsApi) -> None:
    api.fails(CLIENT, Fault(Exchange.await_leaving))
    with posting(api.url, read_timeout=0.1) as way:
        way.post(CLIENT, MESSAGE)
    assert api.raw(CLIENT) == [MESSAGE]


def test_a_kept_connection_that_was_closed_in_the_meantime_costs_no_wait(api: ConnectionsApi, way: Posting) -> None:
    way.post(CLIENT, b"1")
    api.endpoint.close_connections()
    way.post(CLIENT, b"2")
    assert api.raw(CLIENT) == [b"1", b"2"]
    assert way.waits == []


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_pauses_grow_and_vary_by_half(api: ConnectionsApi, jitter: float, share: float) -> None:
    api.always(CLIENT, THROTTLED)
    with posting(api.url, jitter=jitter) as way, pytest.raises(DeliveryFailed):
        way.post(CLIENT, MESSAGE)
    longest = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert way.waits == pytest.approx([share * pause for pause in longest[: len(way.waits)]])
    assert len(way.waits) >= 5


@given(jitter=st.floats(0, 1, exclude_max=True), slow=st.floats(0, 3))
def test_a_message_is_given_up_within_its_time(jitter: float, slow: float) -> None:
    """At a deadline what is left of the function's time has to do for it."""
    clock = FakeClock()
    tries: list[float] = []

    class Throttling:
        status = 429

        def exchange(self, *request: Any) -> "tuple[Throttling, bytes]":
            tries.append(clock())
            clock.advance(slow)
            return self, b""

    post = PostToConnection(
        Throttling,  # type: ignore[arg-type] # as much of a connection as is used
        "https://host/dev",
        clock=clock,
        wait=clock.advance,
        jitter=lambda: jitter,
    )
    begun_at = clock()
    with pytest.raises(DeliveryFailed):
        post(CLIENT, MESSAGE)
    # The last try begins in time; it may take as long as a try does.
    assert tries[-1] < begun_at + BUDGET_SECONDS
    assert clock() < begun_at + BUDGET_SECONDS + TIMEOUT_SECONDS + 1e-6


@pytest.mark.parametrize("fault", [THROTTLED, BROKEN, NO_ANSWER], ids=["throttled", "broken", "no answer"])
def test_an_impatient_sender_gets_one_try(api: ConnectionsApi, way: Posting, fault: Fault) -> None:
    api.always(CLIENT, fault)
    with pytest.raises(DeliveryFailed):
        way.post(CLIENT, MESSAGE, patient=False)
    assert way.waits == []
    assert len(api.endpoint.requests) == 1
    api.always(CLIENT, None)
    way.post(CLIENT, MESSAGE, patient=False)
    assert api.raw(CLIENT) == [MESSAGE]


def test_an_api_that_cannot_be_reached_is_a_failed_delivery(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_endpoint() as nobody:
        pass
    with posting(nobody.url + STAGE) as way, pytest.raises(DeliveryFailed):
        way.post(CLIENT, MESSAGE)
    [record] = caplog.records
    assert (record.levelno, record.__dict__["connection_id"]) == (logging.WARNING, CLIENT)


# What never will


def test_a_closed_connection_is_reported_as_gone_at_once(api: ConnectionsApi, way: Posting) -> None:
    api.close(CLIENT)
    with pytest.raises(ClientGone) as raised:
        way.post(CLIENT, MESSAGE)
    assert not isinstance(raised.value, DeliveryFailed)
    assert len(api.endpoint.requests) == 1


@pytest.mark.parametrize("status", [301, 400, 403, 404, 413])
def test_what_another_try_cannot_mend_is_tried_once_and_its_reason_logged(
    api: ConnectionsApi, way: Posting, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    api.always(CLIENT, Fault(refused(status, "SomeException")))
    with pytest.raises(DeliveryFailed):
        way.post(CLIENT, MESSAGE)
    assert len(api.endpoint.requests) == 1
    assert way.waits == []
    [record] = caplog.records
    logged = record.__dict__
    assert (logged["connection_id"], logged["status"], logged["reason"]) == (CLIENT, status, "SomeException")
    # The service's own text may repeat what was sent.
    assert "details of theirs" not in str(logged)


def test_no_log_line_has_the_message_in_it(api: ConnectionsApi, way: Posting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.always("throttled", THROTTLED)
    api.always("forbidden", FORBIDDEN)
    for connection_id in ("throttled", "forbidden"):
        with pytest.raises(DeliveryFailed):
            way.post(connection_id, b"mark-7f3a9c")
    way.post(CLIENT, b"mark-7f3a9c")
    assert {record.name for record in caplog.records} >= {"tokenstream.post_to_connection"}
    assert "mark-7f3a9c" not in str([record.__dict__ for record in caplog.records])
