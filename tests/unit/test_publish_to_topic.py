import logging
from collections.abc import Iterator
from urllib.parse import parse_qsl

import botocore.session
import pytest
from botocore.credentials import Credentials
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import LOST_ANSWER, NO_ANSWER, Fault
from tests.fakes.frames import SESSION
from tests.fakes.graphql_api import CREDENTIALS, REGION
from tests.fakes.publishing import publish_to_topic
from tests.fakes.topics_api import BROKEN, FORBIDDEN, THROTTLED, TOPIC, Published, TopicsApi, failing, topics_api
from tests.integration.scripted_endpoint import Exchange, refused, scripted_endpoint
from tokenstream.publish_to_topic import MAX_MESSAGE_BYTES, PublishToTopic
from tokenstream.retries import BUDGET_SECONDS
from tokenstream.signing import SignedConnection
from tokenstream.sinks import DeliveryFailed, Refused

ID = f"{SESSION}-1-7"


@pytest.fixture
def api() -> Iterator[TopicsApi]:
    with topics_api() as api:
        yield api


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def publish(api: TopicsApi, clock: FakeClock) -> Iterator[PublishToTopic]:
    with publish_to_topic(api.url, clock) as publish:
        yield publish


# What is published


@pytest.mark.parametrize(
    "text", ["Hello", " ", AWKWARD_TEXT.replace("\x00", ""), "a=b&c=d;e+f%20%zz", "\t\r\n", "👩\u200d🚀" * 999], ids=len
)
def test_a_message_arrives_as_it_is(api: TopicsApi, publish: PublishToTopic, text: str) -> None:
    publish(SESSION, ID, text)
    assert api.queued == [Published(SESSION, ID, text)]


def test_the_longest_message_that_sns_takes_arrives(api: TopicsApi, publish: PublishToTopic) -> None:
    publish(SESSION, ID, "\x7f" * MAX_MESSAGE_BYTES)
    assert [len(message.text) for message in api.queued] == [MAX_MESSAGE_BYTES]
    with pytest.raises(Refused):
        publish(SESSION, f"{ID}-2", "x" * (MAX_MESSAGE_BYTES + 1))


def test_a_request_says_what_the_sdks_own_would(api: TopicsApi, publish: PublishToTopic) -> None:
    publish(SESSION, ID, AWKWARD_TEXT.replace("\x00", ""))
    model = botocore.session.Session().get_service_model("sns")
    parameters = {
        "TopicArn": TOPIC,
        "MessageGroupId": SESSION,
        "MessageDeduplicationId": ID,
        "Message": AWKWARD_TEXT.replace("\x00", ""),
    }
    expected = create_serializer("query").serialize_to_request(parameters, model.operation_model("Publish"))
    [request] = api.endpoint.requests
    assert dict(parse_qsl(request.body.decode(), keep_blank_values=True)) == expected["body"]
    assert request.headers["content-type"].split(";")[0] == expected["headers"]["Content-Type"].split(";")[0]


def test_the_stand_ins_errors_are_worded_as_the_sdk_reads_sns() -> None:
    """Else what is told apart below would be told apart by the stand-in alone."""
    answers: list[bytes] = []

    class Recording:
        def raw(self, data: bytes) -> None:
            answers.append(data)

    failing("Throttling").script(Recording())  # type: ignore[arg-type] # all that the script uses
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    shape = botocore.session.Session().get_service_model("sns").operation_model("Publish").output_shape
    assert shape is not None
    parsed = create_parser("query").parse({"status_code": 400, "headers": {}, "body": body}, shape)
    assert parsed["Error"]["Code"] == "Throttling"


def test_many_messages_share_one_connection_failed_ones_included(api: TopicsApi, publish: PublishToTopic) -> None:
    api.fails(THROTTLED, BROKEN)
    for number in range(20):
        publish(SESSION, f"{SESSION}-1-{number}", "Hello")
    assert [message.deduplication_id for message in api.queued] == [f"{SESSION}-1-{number}" for number in range(20)]
    assert api.endpoint.connections == 1


def test_a_signature_of_somebody_else_is_none(clock: FakeClock) -> None:
    """The stand-in looks at signatures: what passes here is signed as AWS wants it."""
    another = Credentials(CREDENTIALS.access_key, "another", CREDENTIALS.token)
    with pytest.raises((AssertionError, DeliveryFailed)), topics_api(another) as api:  # noqa: SIM117
        with publish_to_topic(api.url, clock) as publish:
            publish(SESSION, ID, "Hello", patient=False)


# What another try mends

PASSING = {
    "throttled": THROTTLED,
    "throttled, in the words of Publish": failing("Throttled", 429),
    "throttled by the key": failing("KMSThrottling"),
    "throttled like any service": failing("ThrottlingException"),
    "broken": BROKEN,
    "unavailable": failing("ServiceUnavailable", 503),
    "no XML": Fault(refused(502)),
    "no answer": NO_ANSWER,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again_with_the_very_same_bytes(
    api: TopicsApi, publish: PublishToTopic, fault: Fault
) -> None:
    api.fails(fault, fault)
    publish(SESSION, ID, "Hello")
    assert api.queued == [Published(SESSION, ID, "Hello")]
    assert len({request.body for request in api.endpoint.requests}) == 1
    assert len(api.tries) == 3


def test_a_message_whose_answer_was_lost_is_in_the_queue_once(api: TopicsApi, publish: PublishToTopic) -> None:
    api.fails(LOST_ANSWER)
    publish(SESSION, ID, "Hello")
    assert len(api.tries) == 2
    assert api.queued == [Published(SESSION, ID, "Hello")]


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_does_not_pass_is_a_failed_delivery_within_its_time(
    api: TopicsApi, publish: PublishToTopic, clock: FakeClock, fault: Fault
) -> None:
    api.always(fault)
    begun_at = clock()
    with pytest.raises(DeliveryFailed) as raised:
        publish(SESSION, ID, "Hello")
    assert not isinstance(raised.value, Refused)
    assert clock() - begun_at <= BUDGET_SECONDS
    assert len(api.tries) > 3


def test_the_impatient_are_told_at_once(api: TopicsApi, publish: PublishToTopic, clock: FakeClock) -> None:
    api.always(THROTTLED)
    begun_at = clock()
    with pytest.raises(DeliveryFailed):
        publish(SESSION, ID, "Hello", patient=False)
    assert (len(api.tries), clock()) == (1, begun_at)


def test_a_topic_that_cannot_be_reached_is_a_failed_delivery(clock: FakeClock) -> None:
    with scripted_endpoint() as nobody:
        pass
    with publish_to_topic(nobody.url, clock) as publish, pytest.raises(DeliveryFailed):
        publish(SESSION, ID, "Hello")


def test_an_answer_that_takes_too_long_is_not_waited_for(api: TopicsApi, clock: FakeClock) -> None:
    api.fails(Fault(Exchange.await_leaving))

    def connect() -> SignedConnection:
        return SignedConnection(api.url, "sns", REGION, CREDENTIALS, read_timeout=0.1)

    publish = PublishToTopic(connect, TOPIC, clock=clock, wait=clock.advance)
    publish(SESSION, ID, "Hello")
    publish.close()
    assert len(api.queued) == 1


# What never will

LASTING = {
    "AuthorizationError": FORBIDDEN,
    "InvalidParameter": failing("InvalidParameter"),
    "NotFound": failing("NotFound", 404),
    "SignatureDoesNotMatch": failing("SignatureDoesNotMatch", 403),
    "KMSAccessDenied": failing("KMSAccessDenied"),
    "none": Fault(refused(400)),
}


@pytest.mark.parametrize(("code", "fault"), LASTING.items(), ids=LASTING)
def test_what_another_try_cannot_mend_is_tried_once_and_its_code_logged(
    api: TopicsApi, publish: PublishToTopic, code: str, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    api.always(fault)
    with pytest.raises(Refused):
        publish(SESSION, ID, "mark-7f3a9c")
    assert len(api.tries) == 1
    [record] = caplog.records
    logged = record.__dict__
    assert (record.levelno, logged["session_id"], logged["reason"]) == (logging.ERROR, SESSION, code)
    assert "theirs" not in str(logged)


def test_no_log_line_has_the_text_or_the_credentials_in_it(
    api: TopicsApi, publish: PublishToTopic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for fault in (*PASSING.values(), *LASTING.values()):
        api.always(fault)
        with pytest.raises(DeliveryFailed):
            publish(SESSION, ID, "mark-7f3a9c")
    records = [record.__dict__ for record in caplog.records if record.name.startswith("tokenstream")]
    assert len(records) == len(PASSING) + len(LASTING)
    assert "mark-7f3a9c" not in str(caplog.text) + str(records)
    assert "session-token" not in str(records)
