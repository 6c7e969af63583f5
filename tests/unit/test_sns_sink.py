from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.frames import MODEL, SESSION, Attempt
from tests.fakes.frames_queue import delivered, frames_of, read
from tests.fakes.keeper import FakeKeeper
from tests.fakes.source import FakeSource
from tests.fakes.topic import FakeTopic
from tests.fakes.topics_api import MAX_MESSAGE_BYTES, Published
from tokenstream.frames import Complete, Sealed
from tokenstream.pump import Pump
from tokenstream.relay import Relay
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.appsync import MAX_FRAME_BYTES
from tokenstream.sinks.sns import INTERVAL_SECONDS, MAX_BATCH_FRAMES, SnsSink
from tokenstream.sources import Delta

CONNECTION = "VqYb2cO1IAMCIhw="


class Way:
    """A sink, its topic, and what `deliver` may have found out."""

    def __init__(
        self,
        *,
        heartbeats: bool = True,
        connection_id: str | None = None,
        ticket: str = "",
    ) -> None:
        self.topic = FakeTopic()
        self.gone = False
        self.behind = False
        self.sink = SnsSink(
            self.topic,
            SESSION,
            max_frame_bytes=MAX_FRAME_BYTES,
            heartbeats=heartbeats,
            client_gone=lambda: self.gone,
            connection_id=connection_id,
            ticket=ticket,
            behind=lambda: self.behind,
        )

    def ids(self) -> list[str]:
        return [message.deduplication_id.removeprefix(SESSION) for message in self.topic.queued]

    def refuses(self, *frames: Sealed) -> None:
        with pytest.raises(ClientGone):
            self.sink.send(frames)


@pytest.fixture
def way() -> Way:
    return Way()


@pytest.fixture
def frames() -> Attempt:
    return Attempt()


# What a message is


def test_frames_that_are_sent_together_are_one_message_of_their_sessions_group(way: Way, frames: Attempt) -> None:
    answer = frames.answer("a", "b")
    way.sink.send(answer[:3])
    way.sink.send(answer[3:])
    assert {message.group for message in way.topic.queued} == {SESSION}
    assert [list(read(message).frames) for message in way.topic.queued] == [answer[:3], answer[3:]]
    assert {read(message).connection_id for message in way.topic.queued} == {None}


def test_a_message_is_named_after_its_attempt_and_first_frame(way: Way) -> None:
    """A repetition is dropped by the topic, an attempt's or a later frame's message never is."""
    for attempt in (1, 2):
        answer = Attempt(attempt=attempt).answer("a", "b")
        way.sink.send(answer[:3])
        way.sink.send(answer[3:])
    assert way.ids() == ["-1-1", "-1-4", "-2-1", "-2-4"]


def test_a_replay_is_for_its_connection_and_no_repetition_of_the_stream(frames: Attempt) -> None:
    way, other = Way(connection_id=CONNECTION, ticket="replay-1"), Way(ticket="replay-2")
    answer = frames.answer("a")
    way.sink.send(answer)
    other.sink.send(answer)
    assert {read(message).connection_id for message in way.topic.queued} == {CONNECTION}
    assert (way.ids(), other.ids()) == (["-1-1-replay-1"], ["-1-1-replay-2"])


@pytest.mark.parametrize(
    "character", ["x", '"', "\x00", "\x7f", "é", "\u2028", "\ufffd", "\ufffe", "\uffff", "👋", "\U0010ffff"], ids=ascii
)
def test_a_message_is_within_snss_bounds_whatever_the_text_is(way: Way, frames: Attempt, character: str) -> None:
    envelope = len(frames.token("").json)
    each = len(frames.token(character).json) - envelope
    longest = character * ((MAX_FRAME_BYTES - envelope - 20) // each)
    sent = [frames.token(longest) for _ in range(9)]
    way.sink.send(sent)
    sizes = [len(message.text.encode()) for message in way.topic.queued]
    assert max(sizes) <= MAX_MESSAGE_BYTES
    assert [sealed.frame for sealed in frames_of(way.topic.queued)] == [sealed.frame for sealed in sent]
    # As few as the bounds allow, or nearly so: each message is paid for.
    assert len(sizes) <= sum(sizes) / (MAX_MESSAGE_BYTES / 2) + 1


def test_very_many_short_frames_are_within_snss_bounds_too(way: Way, frames: Attempt) -> None:
    sent = [frames.token("") for _ in range(6_000)]
    way.sink.send(sent)
    assert frames_of(way.topic.queued) == sent
    assert max(len(message.text.encode()) for message in way.topic.queued) <= MAX_MESSAGE_BYTES
    assert len(way.topic.queued) == 6_000 / MAX_BATCH_FRAMES


# The way fails


def test_what_waits_leaves_first_and_a_message_keeps_its_bytes_whatever_comes_in_between(
    way: Way, frames: Attempt
) -> None:
    start, first, second, third = frames.start(), *map(frames.token, "abc")
    way.topic.fails()
    way.refuses(start, first)
    way.refuses(second)
    way.topic.works()
    way.sink.send([third])
    assert way.ids() == ["-1-1", "-1-3", "-1-4"]
    assert frames_of(way.topic.queued) == [start, first, second, third]
    texts: dict[str, set[str]] = {}
    for message, _ in way.topic.tries:
        texts.setdefault(message.deduplication_id, set()).add(message.text)
    assert all(len(each) == 1 for each in texts.values())
    assert [message for message, _ in way.topic.tries[:3]] == [way.topic.queued[0]] * 3


def test_a_message_that_was_taken_though_its_answer_was_lost_is_in_the_queue_once(way: Way, frames: Attempt) -> None:
    """Joined with what comes later it would be dropped for its id, the later frames with it."""
    start, token = frames.start(), frames.token("a")
    way.topic.fails()
    way.topic.lost = lambda: True
    way.refuses(start)
    way.topic.works()
    way.sink.send([token])
    assert frames_of(way.topic.queued) == [start, token]


def test_while_the_way_fails_a_stream_is_held_up_by_one_short_try_a_call(way: Way, frames: Attempt) -> None:
    way.topic.fails()
    for _ in range(3):
        way.refuses(frames.token("a"))
    with pytest.raises(DeliveryFailed):
        way.sink.heartbeat(SESSION)
    assert [patient for _, patient in way.topic.tries] == [True, False, False, False]


@pytest.mark.parametrize("heartbeats", [True, False])
def test_what_waits_leaves_while_the_model_is_silent(frames: Attempt, heartbeats: bool) -> None:
    way, token = Way(heartbeats=heartbeats), frames.token("a")
    way.topic.fails()
    way.refuses(token)
    with pytest.raises(DeliveryFailed):
        way.sink.heartbeat(SESSION)
    way.topic.works()
    way.sink.heartbeat(SESSION)
    # The frame was the sign of life.
    assert delivered(way.topic.queued) == [token.json]


def test_a_stream_that_nobody_can_get_is_stopped_though_its_model_thinks_for_long() -> None:
    """The way fails, and between two heartbeats the model says nothing."""
    way, source = Way(heartbeats=False), FakeSource(Delta("Hel"))
    way.topic.fails()
    relay = Relay(
        session_id=SESSION,
        attempt=1,
        model=MODEL,
        path="appsync",
        delivery="queued",
        started_at=0.0,
        max_frame_bytes=way.sink.max_frame_bytes,
    )
    ticks = count()
    outcome = Pump(
        source=source,
        relay=relay,
        sink=way.sink,
        keeper=FakeKeeper(),
        clock=lambda: next(ticks) * 0.001,
        deadline=5.0,
        look_every=0.002,
        heartbeat_after=0.002,
        disconnect_grace=0.2,
    ).run()
    assert isinstance(outcome.terminal, Complete)
    assert outcome.terminal.stop_reason == "cancelled"
    assert source.aborted


# Heartbeats


def test_each_heartbeat_is_a_message_that_the_topic_does_not_take_for_a_repetition(way: Way, frames: Attempt) -> None:
    way.sink.heartbeat(SESSION)
    way.sink.send([frames.start(), frames.token("a")])
    way.sink.heartbeat(SESSION)
    way.sink.heartbeat(SESSION)
    way.sink.send([frames.token("b")])
    way.sink.heartbeat(SESSION)
    assert [len(read(message).frames) for message in way.topic.queued] == [0, 2, 0, 0, 1, 0]


def test_heartbeats_of_a_later_attempt_are_none_of_the_earlier_ones(way: Way) -> None:
    way.sink.send([Attempt().start()])
    way.sink.heartbeat(SESSION)
    later = Way()
    later.topic = way.topic
    later.sink = SnsSink(way.topic, SESSION, max_frame_bytes=MAX_FRAME_BYTES, heartbeats=True)
    later.sink.send([Attempt(attempt=2).start()])
    later.sink.heartbeat(SESSION)
    assert len(way.topic.queued) == 4


def test_where_the_way_behind_the_queue_keeps_itself_open_no_heartbeat_is_paid_for(frames: Attempt) -> None:
    way = Way(heartbeats=False)
    way.sink.send([frames.start()])
    way.sink.heartbeat(SESSION)
    assert len(way.topic.tries) == 1


# The client


def test_nothing_is_published_nor_piles_up_for_a_client_that_is_gone(way: Way, frames: Attempt) -> None:
    way.topic.fails()
    way.refuses(frames.token("waits"))
    way.topic.works()
    way.gone = True
    tries = len(way.topic.tries)
    for _ in range(3):
        way.refuses(frames.token("a"))
        with pytest.raises(ClientGone):
            way.sink.heartbeat(SESSION)
    assert len(way.topic.tries) == tries
    assert not way.sink._backlog
    # It comes back, and asks for what it lacks.
    way.gone = False
    way.sink.move("ticket-2")
    later = frames.token("b")
    way.sink.send([later])
    assert frames_of(way.topic.queued) == [later]


def test_a_client_that_is_gone_is_no_failure_of_the_way(way: Way, frames: Attempt) -> None:
    way.gone = True
    with pytest.raises(ClientGone) as raised:
        way.sink.send([frames.start()])
    assert not isinstance(raised.value, DeliveryFailed)


def test_what_is_sent_again_to_a_client_that_has_moved_is_no_repetition_to_the_topic(way: Way, frames: Attempt) -> None:
    start, token, more = frames.start(), frames.token("a"), frames.token("b")
    way.sink.send([start, token])
    for ticket in ("ticket-2", "ticket-3"):
        way.sink.move(ticket)
        way.sink.send([start, token])
    way.sink.send([more])
    assert way.ids() == ["-1-1", "-1-1-ticket-2", "-1-1-ticket-3", "-1-3-ticket-3"]


def test_a_client_that_has_moved_does_not_pay_for_what_failed_before(way: Way, frames: Attempt) -> None:
    way.topic.fails()
    way.refuses(frames.start())
    way.topic.works()
    way.sink.move("ticket-2")
    way.sink.send([frames.token("a")])
    assert [patient for _, patient in way.topic.tries] == [True, True]


@given(
    sizes=st.lists(st.integers(0, 4), max_size=12),
    failures=st.lists(st.sampled_from(["none", "failed", "lost"]), max_size=40),
)
def test_whatever_fails_in_between_the_queue_gets_every_frame_once_and_in_order(
    sizes: list[int], failures: list[str]
) -> None:
    way, frames = Way(heartbeats=False), Attempt()
    outcomes = iter(failures)
    meets = "none"

    def meet(message: Published) -> Exception | None:
        nonlocal meets
        meets = next(outcomes, "none")
        return None if meets == "none" else DeliveryFailed("throttled")

    way.topic.outcome = meet
    way.topic.lost = lambda: meets == "lost"
    sent: list[Sealed] = []
    for size in sizes:
        batch = [frames.token(f"{number}") for number in range(size)]
        sent += batch
        try:
            way.sink.send(batch)
        except DeliveryFailed:
            continue
        assert frames_of(way.topic.queued) == sent, "it said that all had left"
    way.topic.works()
    way.sink.heartbeat(SESSION)
    assert frames_of(way.topic.queued) == sent


# Whoever delivers is behind


def test_deltas_have_time_to_pile_up_between_messages_as_soon_as_those_have_to_wait(way: Way, frames: Attempt) -> None:
    way.sink.send([frames.start()])
    assert way.sink.interval == 0.0
    way.behind = True
    assert way.sink.interval == INTERVAL_SECONDS
