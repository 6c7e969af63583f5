import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.frames import MODEL, SESSION, Attempt
from tests.fakes.frames_queue import delivered, frames_of, read
from tests.fakes.table import TABLE, Table, sessions_table
from tests.fakes.topic import FakeTopic
from tokenstream.delivery import AppSyncDelivery, WayOut, WebSocketDelivery
from tokenstream.frames import BEGINNING, Delivery, Position, Sealed, encode_heartbeat
from tokenstream.lease import Lease, Verdict
from tokenstream.queued_frames import QueuedReply, read_record
from tokenstream.session import NewSession, Recipient
from tokenstream.sessions import Sessions
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.appsync import AppSyncSink
from tokenstream.sinks.failover import CIRCUIT_SECONDS
from tokenstream.sinks.sns import INTERVAL_SECONDS
from tokenstream.sinks.websocket import WebSocketSink

OWNER = "user"
FIRST = Recipient("first=", BEGINNING, "ticket-1")


class Post:
    """`@connections`; `outcome` gives what a message for a connection meets."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        self.outcome: Callable[[str], Exception | None] = lambda connection_id: None

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        if failure := self.outcome(connection_id):
            raise failure
        self.received.setdefault(connection_id, []).append(message)

    def fails(self) -> None:
        self.outcome = lambda connection_id: DeliveryFailed("status 503")

    def closed(self, *connections: str) -> None:
        self.outcome = lambda connection_id: ClientGone() if connection_id in connections else None


class Stack:
    """A function's ways to WebSocket connections; without `direct_send` it has no direct one."""

    def __init__(self, *, direct_send: bool = True) -> None:
        self.post = Post()
        self.topic = FakeTopic()
        self.clock = FakeClock()
        self.delivery = WebSocketDelivery(self.topic, self.post if direct_send else None, self.clock)


class Streaming(Stack):
    """A worker that holds a session, and the way to its client."""

    def __init__(self, table: Table, delivery: Delivery = "direct", *, direct_send: bool = True) -> None:
        super().__init__(direct_send=direct_send)
        self.sessions = Sessions(table, TABLE, ttl=3600, store_answers=True)
        new = NewSession(str(uuid4()), OWNER, "websocket", delivery, MODEL, b"{}")
        self.session_id = new.session_id
        self.sessions.accept(new, FIRST, self.clock(), begin_within=90)
        claim = self.sessions.claim(new.session_id, "worker", self.clock())
        self.lease = Lease(self.sessions, claim, self.clock)
        self.frames = Attempt(new.session_id)
        self.way: WayOut = self.delivery.stream(self.lease, new.session_id, FIRST.connection_id, delivery)

    def send(self, *frames: Sealed) -> None:
        """Send frames as the pump does."""
        self.lease.keep(frames)
        self.way.sink.send(frames)

    def comes_back(self, after: Position, connection_id: str = "second=", ticket: str = "ticket-2") -> None:
        """Let the client resume, and the worker see it."""
        assert self.sessions.redirect(self.session_id, OWNER, Recipient(connection_id, after, ticket))
        assert self.lease.look() is Verdict.MOVED

    def found_gone(self, recipient: Recipient = FIRST) -> None:
        """Let whoever delivers find the connection closed, and the worker see it."""
        self.sessions.client_gone(self.session_id, recipient)
        self.lease.look()

    def ids(self) -> list[str]:
        return [message.deduplication_id.removeprefix(self.session_id) for message in self.topic.queued]


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    with sessions_table() as table:
        yield table


@pytest.fixture(autouse=True)
def counted(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """Give what has been counted since."""

    def read_metrics() -> list[dict[str, Any]]:
        documents = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        return [document for document in documents if "_aws" in document]

    return read_metrics


def jsons(*frames: Sealed) -> list[bytes]:
    return [sealed.json for sealed in frames]


# Which way a stream goes


def test_a_stream_goes_the_way_that_was_asked_for(table: Table) -> None:
    direct, queued = Streaming(table, "direct"), Streaming(table, "queued")
    for streaming in (direct, queued):
        streaming.send(*streaming.frames.answer("a"))
    assert (len(direct.post.received[FIRST.connection_id]), direct.topic.tries) == (3, [])
    assert (queued.post.received, len(frames_of(queued.topic.queued))) == ({}, 3)
    assert not {read(message).connection_id for message in queued.topic.queued} - {None}


@pytest.mark.parametrize("delivery", ["direct", "queued"])
def test_where_nothing_is_sent_directly_every_stream_is_queued(table: Table, delivery: Delivery) -> None:
    streaming = Streaming(table, delivery, direct_send=False)
    answer = streaming.frames.answer("a")
    streaming.send(*answer)
    assert frames_of(streaming.topic.queued) == answer


def test_a_stream_whose_direct_way_breaks_is_queued_from_there_on_and_counted_once(
    table: Table, counted: Callable[[], list[dict[str, Any]]]
) -> None:
    streaming = Streaming(table)
    answer = streaming.frames.answer("a", "b", "c")
    streaming.send(*answer[:2])
    streaming.post.fails()
    streaming.send(*answer[2:4])
    streaming.send(*answer[4:])
    assert streaming.post.received[FIRST.connection_id] == jsons(*answer[:2])
    assert frames_of(streaming.topic.queued) == answer[2:]
    [document] = counted()
    assert (document["Failovers"], document["path"], document["session_id"]) == (
        [1.0],
        "websocket",
        streaming.session_id,
    )


@pytest.mark.parametrize("delivery", ["direct", "queued"])
def test_no_frame_is_longer_than_a_connection_takes(table: Table, delivery: Delivery) -> None:
    assert Streaming(table, delivery).way.sink.max_frame_bytes == WebSocketSink.max_frame_bytes


# A client that comes back on another connection


def test_a_direct_streams_client_gets_on_its_new_connection_what_it_lacks_and_then_the_rest(table: Table) -> None:
    streaming = Streaming(table)
    answer = streaming.frames.answer("a", "b", "c")
    streaming.send(*answer[:4])
    streaming.comes_back(Position(1, 2))
    streaming.way.rejoin()
    streaming.send(*answer[4:])
    assert streaming.post.received == {
        FIRST.connection_id: jsons(*answer[:4]),
        "second=": jsons(*answer[2:]),
    }


def failed_over(table: Table) -> Streaming:
    streaming = Streaming(table)
    streaming.post.fails()
    return streaming


QUEUED: dict[str, Callable[[Table], Streaming]] = {
    "queued": lambda table: Streaming(table, "queued"),
    "not sent directly": lambda table: Streaming(table, direct_send=False),
    "failed over": failed_over,
}
queued_streams = pytest.mark.parametrize("begin", QUEUED.values(), ids=QUEUED)


@queued_streams
def test_a_queued_streams_client_gets_again_what_it_lacks_though_the_topic_has_had_it(
    table: Table, begin: Callable[[Table], Streaming]
) -> None:
    streaming = begin(table)
    answer = streaming.frames.answer("a", "b", "c")
    streaming.send(*answer[:4])
    streaming.comes_back(Position(1, 0))
    streaming.way.rejoin()
    streaming.comes_back(Position(1, 2), "third=", "ticket-3")
    streaming.way.rejoin()
    streaming.send(*answer[4:])
    assert streaming.ids() == ["-1-1", "-1-1-ticket-2", "-1-3-ticket-3", "-1-5-ticket-3"]
    assert frames_of(streaming.topic.queued[1:2]) == answer[:4]
    assert frames_of(streaming.topic.queued[2:]) == answer[2:]
    # To whom is looked up when they are delivered.
    assert {read(message).connection_id for message in streaming.topic.queued} == {None}


def test_a_client_that_has_moved_is_where_a_stream_fails_over_from(table: Table) -> None:
    streaming = Streaming(table)
    answer = streaming.frames.answer("a", "b")
    streaming.send(*answer[:2])
    streaming.comes_back(Position(1, 2))
    streaming.way.rejoin()
    streaming.post.fails()
    streaming.send(*answer[2:])
    assert streaming.ids() == ["-1-3-ticket-2"]
    assert frames_of(streaming.topic.queued) == answer[2:]


@queued_streams
def test_what_waits_for_a_failing_queue_reaches_a_client_that_has_moved_once(
    table: Table, begin: Callable[[Table], Streaming]
) -> None:
    streaming = begin(table)
    answer = streaming.frames.answer("a", "b")
    streaming.topic.fails()
    with pytest.raises(DeliveryFailed):
        streaming.send(*answer[:3])
    streaming.topic.works()
    streaming.comes_back(BEGINNING)
    streaming.way.rejoin()
    streaming.send(*answer[3:])
    assert frames_of(streaming.topic.queued) == answer


def test_a_direct_client_that_is_gone_is_missed_until_it_is_back(table: Table) -> None:
    streaming = Streaming(table)
    answer = streaming.frames.answer("a", "b")
    streaming.send(*answer[:1])
    streaming.post.closed(FIRST.connection_id)
    with pytest.raises(ClientGone):
        streaming.send(*answer[1:2])
    with pytest.raises(ClientGone):
        streaming.way.rejoin()
    streaming.comes_back(Position(1, 1))
    streaming.way.rejoin()
    streaming.send(*answer[2:])
    assert streaming.post.received["second="] == jsons(*answer[1:])


@queued_streams
def test_a_queued_client_that_is_gone_is_missed_until_it_is_back(
    table: Table, begin: Callable[[Table], Streaming]
) -> None:
    streaming = begin(table)
    answer = streaming.frames.answer("a", "b")
    streaming.send(*answer[:1])
    streaming.found_gone()
    with pytest.raises(ClientGone):
        streaming.send(*answer[1:2])
    with pytest.raises(ClientGone):
        streaming.way.rejoin()
    streaming.comes_back(Position(1, 1))
    streaming.way.rejoin()
    streaming.send(*answer[2:])
    assert frames_of(streaming.topic.queued) == answer


@queued_streams
def test_a_queued_client_that_comes_back_at_the_very_end_gets_the_end(
    table: Table, begin: Callable[[Table], Streaming]
) -> None:
    """Between the worker's last look and the write that ends the session: nobody else would send it."""
    streaming = begin(table)
    *frames, terminal = streaming.frames.answer("a")
    streaming.send(*frames)
    streaming.found_gone()
    assert streaming.sessions.redirect(streaming.session_id, OWNER, Recipient("second=", Position(1, 1), "ticket-2"))
    assert streaming.lease.settle("complete", terminal)
    streaming.way.rejoin()
    streaming.way.sink.send([terminal])
    assert frames_of(streaming.topic.queued[1:]) == [*frames[1:], terminal]


# Replays


def test_a_replay_reaches_the_connection_that_asked_each_way() -> None:
    answer = Attempt().answer("a")
    direct = Stack()
    direct.delivery.replay(SESSION, "asking=", "replay-1", "direct").send(answer)
    assert (direct.post.received, direct.topic.tries) == ({"asking=": jsons(*answer)}, [])
    for stack, delivery in ((Stack(), "queued"), (Stack(direct_send=False), "direct")):
        sink = stack.delivery.replay(SESSION, "asking=", "replay-1", "queued" if delivery == "queued" else "direct")
        sink.send(answer)
        sink.heartbeat(SESSION)
        assert stack.post.received == {}
        assert delivered(stack.topic.queued) == [*jsons(*answer), encode_heartbeat(SESSION)]
        assert {read(message).connection_id for message in stack.topic.queued} == {"asking="}


def test_two_replays_of_one_answer_are_no_repetitions_to_the_topic() -> None:
    stack, answer = Stack(), Attempt().answer("a")
    for ticket in ("replay-1", "replay-2"):
        stack.delivery.replay(SESSION, "asking=", ticket, "queued").send(answer)
    assert frames_of(stack.topic.queued) == answer * 2


# Replies

REPLY = b'{"type":"pong","requestId":"1"}'


def replied(stack: Stack, ticket: str = "ticket-1") -> Delivery:
    return stack.delivery.reply("asking=", REPLY, group=SESSION, ticket=ticket)


def queued_replies(stack: Stack) -> list[tuple[str, object]]:
    return [(message.group, read_record(message.record())) for message in stack.topic.queued]


def test_a_reply_goes_directly_as_long_as_that_works() -> None:
    stack = Stack()
    assert replied(stack) == "direct"
    assert (stack.post.received, stack.topic.tries) == ({"asking=": [REPLY]}, [])


def test_a_reply_is_queued_ahead_of_what_its_session_queues_later(
    counted: Callable[[], list[dict[str, Any]]],
) -> None:
    stack = Stack()
    stack.post.fails()
    assert replied(stack) == "queued"
    # The next one doesn't wait for the direct way to fail again.
    stack.post.outcome = lambda connection_id: None
    assert replied(stack, "ticket-2") == "queued"
    assert queued_replies(stack) == [(SESSION, QueuedReply("asking=", REPLY, 1))] * 2
    assert [document["Failovers"] for document in counted()] == [[1.0]]
    stack.clock.advance(CIRCUIT_SECONDS)
    assert replied(stack, "ticket-3") == "direct"


def test_where_nothing_is_sent_directly_replies_are_queued_too() -> None:
    stack = Stack(direct_send=False)
    assert replied(stack) == "queued"
    assert queued_replies(stack) == [(SESSION, QueuedReply("asking=", REPLY, 1))]


def test_a_reply_to_nobody_is_no_failure_of_the_way() -> None:
    stack = Stack()
    stack.post.closed("asking=")
    with pytest.raises(ClientGone):
        replied(stack)
    assert stack.topic.tries == []


# AppSync


class Publish:
    def __init__(self) -> None:
        self.published: list[tuple[str, Sealed]] = []
        self.fails = False

    def __call__(self, owner: str, sealed: Sealed, *, patient: bool = True) -> None:
        if self.fails:
            raise DeliveryFailed("status 503")
        self.published.append((owner, sealed))


def held(table: Table) -> Lease:
    """Return a worker's lease on a session of AppSync's."""
    sessions, clock = Sessions(table, TABLE, ttl=3600, store_answers=True), FakeClock()
    claim = sessions.begin(NewSession(str(uuid4()), OWNER, "appsync", "queued", MODEL, b"{}"), "worker", clock())
    return Lease(sessions, claim, clock)


def test_subscribers_get_a_stream_the_way_that_was_asked_for(table: Table) -> None:
    answer = Attempt().answer("a")
    for publish, delivery, directly in ((Publish(), "direct", 3), (Publish(), "queued", 0), (None, "direct", 0)):
        topic = FakeTopic()
        ways = AppSyncDelivery(topic, publish, FakeClock())
        way = ways.stream(held(table), SESSION, OWNER, "queued" if delivery == "queued" else "direct")
        assert way.sink.max_frame_bytes == AppSyncSink.max_frame_bytes
        way.sink.send(answer)
        way.sink.heartbeat(SESSION)
        way.rejoin()
        assert len(publish.published if publish else []) == directly
        assert frames_of(topic.queued) == ([] if directly else answer)


def test_subscribers_get_the_rest_by_the_queue_when_appsync_breaks(
    table: Table,
    counted: Callable[[], list[dict[str, Any]]],
) -> None:
    publish, topic, answer = Publish(), FakeTopic(), Attempt().answer("a", "b")
    ways = AppSyncDelivery(topic, publish, FakeClock())
    sink = ways.stream(held(table), SESSION, OWNER, "direct").sink
    sink.send(answer[:2])
    publish.fails = True
    sink.send(answer[2:])
    assert [sealed for _, sealed in publish.published] == answer[:2]
    assert frames_of(topic.queued) == answer[2:]
    # A stream that begins now is queued at once.
    publish.fails = False
    ways.stream(held(table), SESSION, OWNER, "direct").sink.send(Attempt(attempt=2).answer("c"))
    assert len(publish.published) == 2
    [document] = counted()
    assert (document["Failovers"], document["path"]) == ([1.0], "appsync")


# Whoever delivers is behind


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_a_queued_stream_is_slowed_down_once_its_worker_sees_that_its_frames_have_to_wait(
    table: Table, path: str
) -> None:
    streaming = Streaming(table, "queued")
    way = streaming.way
    if path == "appsync":
        way = AppSyncDelivery(FakeTopic(), Publish(), FakeClock()).stream(
            streaming.lease, streaming.session_id, OWNER, "queued"
        )
    streaming.sessions.fallen_behind(streaming.session_id)
    assert way.sink.interval == 0.0
    streaming.lease.look()
    assert way.sink.interval == INTERVAL_SECONDS


def test_a_direct_stream_is_not_slowed_down_by_what_the_queue_has_to_wait(table: Table) -> None:
    streaming = Streaming(table)
    streaming.sessions.fallen_behind(streaming.session_id)
    streaming.lease.look()
    assert streaming.way.sink.interval == 0.0
