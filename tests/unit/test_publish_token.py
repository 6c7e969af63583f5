import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from botocore.credentials import Credentials
from graphql import GraphQLObjectType
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes import graphql_api as graphql_api_module
from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import BROKEN, LOST_ANSWER, NO_ANSWER, Fault
from tests.fakes.frames import SESSION, Attempt
from tests.fakes.graphql_api import (
    CREDENTIALS,
    REGION,
    THROTTLED,
    UNAUTHORIZED,
    GraphQLApi,
    answered,
    failing,
    graphql_api,
)
from tests.integration.scripted_endpoint import Exchange, refused, scripted_endpoint
from tokenstream.errors import Throttled
from tokenstream.frames import Sealed
from tokenstream.publish_token import PublishToken
from tokenstream.retries import BUDGET_SECONDS, TIMEOUT_SECONDS
from tokenstream.signing import SignedConnection
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.appsync import MAX_FRAME_BYTES

OWNER = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"
APPSYNC_MESSAGE_BYTES = 240 * 1024
"""Source: AWS AppSync quotas, the payload of a subscription."""


class Publishing:
    """The way to the subscribers of an API, on a clock that moves while it waits."""

    def __init__(
        self, endpoint: str, *, credentials: Credentials = CREDENTIALS, read_timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        self.publish = PublishToken(
            lambda: SignedConnection(endpoint, "appsync", REGION, credentials, read_timeout=read_timeout),
            endpoint,
            clock=self.clock,
            wait=self._wait,
            jitter=lambda: 1.0,
        )

    def __call__(self, sealed: Sealed, *, patient: bool = True) -> None:
        self.publish(OWNER, sealed, patient=patient)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


@contextmanager
def publishing(endpoint: str, **options: Any) -> Iterator[Publishing]:
    way = Publishing(endpoint, **options)
    with closing(way.publish):
        yield way


@pytest.fixture
def api() -> Iterator[GraphQLApi]:
    with graphql_api() as api:
        yield api


@pytest.fixture
def way(api: GraphQLApi) -> Iterator[Publishing]:
    with publishing(api.url) as way:
        yield way


@pytest.fixture
def token() -> Sealed:
    return Attempt().token("Hello")


# What is published


def test_every_kind_of_frame_reaches_subscribers_whole_and_with_the_fields_beside_it(
    api: GraphQLApi, way: Publishing
) -> None:
    frames = Attempt(attempt=3)
    answer = [
        frames.start(),
        frames.reasoning("Hm"),
        frames.token("Hello"),
        frames.complete(),
        frames.error(Throttled("Too many.", retryable=True)),
    ]
    for sealed in answer:
        way(sealed)
    assert [event.pop("frame").encode() for event in api.events] == [sealed.json for sealed in answer]
    assert [(event["type"], event["token"], event["isComplete"]) for event in api.events] == [
        ("start", None, False),
        ("reasoning", "Hm", False),
        ("token", "Hello", False),
        ("complete", None, True),
        ("error", None, True),
    ]
    assert [event["sequence"] for event in api.events] == [1, 2, 3, 4, 5]
    assert {(event["sessionId"], event["owner"], event["attempt"]) for event in api.events} == {(SESSION, OWNER, 3)}
    assert way.waits == []


def test_subscribers_get_no_null_for_a_field_that_was_not_selected(
    api: GraphQLApi, way: Publishing, token: Sealed
) -> None:
    way(token)
    event_type = graphql_api_module._schema().type_map["TokenEvent"]
    assert isinstance(event_type, GraphQLObjectType)
    [event] = api.events
    assert set(event) == set(event_type.fields)
    assert None not in event.values()


@pytest.mark.parametrize(
    "text",
    [
        AWKWARD_TEXT,
        "",
        '"',
        "\\",
        "\\n",
        "\n\r\n",
        "\x00",
        "\u2028\x85",
        "\ufffe\uffff",
        "👩\u200d🚀",
        "\u202eשל",
        '") {',
    ],
    ids=ascii,
)
def test_a_text_arrives_as_it_is_and_is_no_part_of_the_query(api: GraphQLApi, way: Publishing, text: str) -> None:
    sealed, plain = Attempt().token(text), Attempt().token("plain")
    way(sealed)
    way(plain)
    assert api.events[0]["token"] == json.loads(api.events[0]["frame"])["token"] == text
    assert api.events[0]["frame"].encode() == sealed.json
    assert len(api.queries) == 1


def test_any_text_arrives_as_it_is() -> None:
    with graphql_api() as api, publishing(api.url) as way:

        @given(text=st.text())
        def publish(text: str) -> None:
            api.events.clear()
            way(Attempt().token(text))
            assert [event["token"] for event in api.events] == [text]
            assert json.loads(api.events[0]["frame"])["token"] == text

        publish()
        assert len(api.queries) == 1


@pytest.mark.parametrize(
    "character", ['"', "\\", "\n", "\x00", "\x1f", "\x7f", "x", "é", "\u2028", "👋", '"\x00\\é👋x'], ids=ascii
)
def test_a_subscribers_message_is_within_appsyncs_bounds_whatever_the_text_is(
    api: GraphQLApi, way: Publishing, character: str
) -> None:
    """It has the text twice, and a quote in its JSON's JSON takes four bytes."""
    envelope = len(Attempt().token("").json)
    each = len(Attempt().token(character).json) - envelope
    sealed = Attempt().token(character * ((MAX_FRAME_BYTES - envelope) // each))
    assert len(sealed.json) > MAX_FRAME_BYTES - each
    way(sealed)
    message = {"id": "1" * 36, "type": "data", "payload": {"data": {"onTokenReceived": api.events[0]}}}
    assert len(json.dumps(message, ensure_ascii=False).encode()) < APPSYNC_MESSAGE_BYTES
    assert len(api.endpoint.requests[0].body) < APPSYNC_MESSAGE_BYTES


# The connection


def test_many_frames_share_one_connection(api: GraphQLApi, way: Publishing) -> None:
    frames = Attempt()
    for number in range(100):
        way(frames.token(f"{number} "))
    assert [event["sequence"] for event in api.events] == list(range(1, 101))
    assert api.endpoint.connections == 1


def test_a_failure_does_not_cost_the_shared_connection(api: GraphQLApi, way: Publishing, token: Sealed) -> None:
    api.fails(THROTTLED, BROKEN, failing("ThrottlingException", 429))
    way(token)
    api.fails(UNAUTHORIZED, failing("UnauthorizedException", 401))
    for _ in range(2):
        with pytest.raises(DeliveryFailed):
            way(token)
    way(token)
    assert len(api.events) == 2
    assert api.endpoint.connections == 1


def test_a_signature_of_somebody_else_is_none(token: Sealed) -> None:
    """The stand-in looks at signatures: what passes here is signed as AWS wants it."""

    def publish_as(credentials: Credentials) -> None:
        with graphql_api() as api, publishing(api.url, credentials=credentials) as way:
            way(token, patient=False)

    publish_as(CREDENTIALS)
    with pytest.raises((AssertionError, DeliveryFailed)):
        publish_as(Credentials(CREDENTIALS.access_key, "another", CREDENTIALS.token))


def test_the_path_of_the_endpoint_is_kept(token: Sealed) -> None:
    """A local stand-in has the API below a path of its own."""
    done = answered({"data": {"publishToken": {"sessionId": SESSION}}})
    with scripted_endpoint(done) as endpoint, publishing(f"{endpoint.url}/v1/apis/abc/graphql") as way:
        way(token)
    assert endpoint.requests[0].target == "/v1/apis/abc/graphql"


def test_a_kept_connection_that_was_closed_in_the_meantime_costs_no_wait(api: GraphQLApi, way: Publishing) -> None:
    frames = Attempt()
    way(frames.start())
    api.endpoint.close_connections()
    way(frames.token("a"))
    assert [event["type"] for event in api.events] == ["start", "token"]
    assert way.waits == []


# What does not arrive at once

PASSING = {
    "429": Fault(refused(429)),
    "429 with errors": failing("ThrottlingException", 429),
    "500": BROKEN,
    "502 that is no JSON": Fault(answered("<html>", 502)),
    "503": Fault(refused(503)),
    "hung up": NO_ANSWER,
    "200, throttled": THROTTLED,
    "200, internal": failing("InternalFailure"),
    "200, timed out": failing("ExecutionTimeout"),
    "400, throttled": failing("ThrottlingException", 400),
    "400, throttled, says the header": Fault(refused(400, "ThrottlingException")),
    "200, of no type, in a field": Fault(answered({"data": None, "errors": [{"path": ["publishToken"]}]})),
    "200, nothing": Fault(answered("")),
    "200, no JSON": Fault(answered("<html>")),
    "200, no UTF-8 of a sort": Fault(answered('{"data": "\\ud800"}')),
    "200, no object": Fault(answered([])),
    "200, no data": Fault(answered({"data": None})),
    "200, nothing published": Fault(answered({"data": {"publishToken": None}})),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_fails_for_a_moment_is_published_once(
    api: GraphQLApi, way: Publishing, token: Sealed, fault: Fault
) -> None:
    api.fails(fault, fault, fault)
    way(token)
    assert [event["frame"].encode() for event in api.events] == [token.json]
    assert len(way.waits) == 3


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_keeps_failing_is_given_up_when_its_time_is_up(
    api: GraphQLApi, way: Publishing, token: Sealed, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    api.always(fault)
    begun_at = way.clock()
    with pytest.raises(ClientGone) as raised:
        way(token)
    assert isinstance(raised.value, DeliveryFailed)
    assert BUDGET_SECONDS - 1 <= way.clock() - begun_at < BUDGET_SECONDS
    [record] = caplog.records
    assert (record.levelno, record.__dict__["session_id"]) == (logging.WARNING, SESSION)
    assert "words of theirs" not in str(record.__dict__)


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_an_impatient_sender_gets_one_try(api: GraphQLApi, way: Publishing, token: Sealed, fault: Fault) -> None:
    api.always(fault)
    with pytest.raises(DeliveryFailed):
        way(token, patient=False)
    assert (len(api.endpoint.requests), way.waits) == (1, [])
    api.always(None)
    way(token, patient=False)
    assert len(api.events) == 1


def test_a_frame_whose_answer_was_lost_is_published_again_with_its_bytes(
    api: GraphQLApi, way: Publishing, token: Sealed
) -> None:
    api.fails(LOST_ANSWER)
    way(token)
    assert [event["frame"].encode() for event in api.events] == [token.json, token.json]
    first, second = api.endpoint.requests
    assert first.body == second.body


def test_an_answer_that_takes_too_long_is_not_waited_for(api: GraphQLApi, token: Sealed) -> None:
    api.fails(Fault(Exchange.await_leaving))
    with publishing(api.url, read_timeout=0.1) as way:
        way(token)
    assert len(api.events) == 1


def test_an_answer_that_breaks_off_is_none(api: GraphQLApi, way: Publishing, token: Sealed) -> None:
    def broken_off(exchange: Exchange) -> None:
        exchange.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"data": {"publishToken": {"sess')
        exchange.hang_up()

    api.fails(Fault(broken_off))
    way(token)
    assert len(api.events) == 1
    assert len(way.waits) == 1


def test_an_api_that_cannot_be_reached_is_a_failed_delivery(token: Sealed) -> None:
    with scripted_endpoint() as nobody:
        pass
    with publishing(f"{nobody.url}/graphql") as way, pytest.raises(DeliveryFailed):
        way(token)


# What never will

LASTING = {
    "200, not allowed": (UNAUTHORIZED, "Unauthorized"),
    "200, invalid": (failing("ValidationError"), "ValidationError"),
    "200, doesn't fit the schema": (
        Fault(answered({"data": None, "errors": [{"path": None, "message": "words of theirs"}]})),
        "no type",
    ),
    "200, can't be parsed": (Fault(answered({"errors": [{"message": "words of theirs"}]})), "no type"),
    "400": (failing("BadRequestException", 400), "BadRequestException"),
    "401": (failing("UnauthorizedException", 401), "UnauthorizedException"),
    "401, says the header": (Fault(refused(401, "UnauthorizedException")), "UnauthorizedException"),
    "403": (Fault(refused(403, "WAFForbiddenException")), "WAFForbiddenException"),
    "404": (Fault(answered("<html>", 404)), "no JSON"),
    "413": (Fault(refused(413)), "no data"),
    "301": (Fault(refused(301)), "no data"),
}


@pytest.mark.parametrize(("fault", "reason"), LASTING.values(), ids=LASTING)
def test_what_another_try_cannot_mend_is_tried_once_and_its_reason_logged(
    api: GraphQLApi,
    way: Publishing,
    token: Sealed,
    fault: Fault,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api.always(fault)
    with pytest.raises(DeliveryFailed):
        way(token)
    assert (len(api.endpoint.requests), way.waits) == (1, [])
    [record] = caplog.records
    logged = record.__dict__
    assert (record.levelno, logged["session_id"], logged["reason"]) == (logging.ERROR, SESSION, reason)
    # The service's own words may repeat what was sent.
    assert "theirs" not in str(logged)


def test_an_error_counts_though_there_is_data_beside_it(api: GraphQLApi, way: Publishing, token: Sealed) -> None:
    document = {"data": {"publishToken": {"sessionId": SESSION}}, "errors": [{"errorType": "Unauthorized"}]}
    api.always(Fault(answered(document)))
    with pytest.raises(DeliveryFailed):
        way(token)


def test_no_errors_are_no_failure(token: Sealed) -> None:
    done = answered({"data": {"publishToken": {"sessionId": SESSION}}, "errors": []})
    with scripted_endpoint(done) as endpoint, publishing(f"{endpoint.url}/graphql") as way:
        way(token)


def test_no_log_line_has_the_text_or_the_credentials_in_it(
    api: GraphQLApi, way: Publishing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sealed = Attempt().token("mark-7f3a9c")
    for fault in (*PASSING.values(), *(fault for fault, _ in LASTING.values())):
        api.always(fault)
        with pytest.raises(DeliveryFailed):
            way(sealed)
    api.always(None)
    way(sealed)
    records = [record.__dict__ for record in caplog.records if record.name.startswith("tokenstream")]
    assert len(records) == len(PASSING) + len(LASTING)
    assert "mark-7f3a9c" not in str(caplog.text) + str(records)
    assert "session-token" not in str(records)
