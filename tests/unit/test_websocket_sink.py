from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.frames import SESSION, Attempt
from tokenstream.frames import Sealed
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.websocket import WebSocketSink

OLD, NEW = "old=", "new="
HEARTBEAT = b'{"type":"heartbeat","sessionId":"%b"}' % SESSION.encode()


class FakePost:
    """Takes messages unless told otherwise; `tries` has each one, with the patience it was sent with."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {OLD: [], NEW: []}
        self.tries: list[tuple[str, bytes, bool]] = []
        self.outcome: Callable[[str], Exception | None] = lambda connection_id: None

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        self.tries.append((connection_id, message, patient))
        if failure := self.outcome(connection_id):
            raise failure
        self.received[connection_id].append(message)

    def fails(self) -> None:
        self.outcome = lambda connection_id: DeliveryFailed("throttled")

    def works(self) -> None:
        self.outcome = lambda connection_id: None

    def closed(self, *connections: str) -> None:
        self.outcome = lambda connection_id: ClientGone() if connection_id in connections else None


@pytest.fixture
def post() -> FakePost:
    return FakePost()


@pytest.fixture
def sink(post: FakePost) -> WebSocketSink:
    return WebSocketSink(post, OLD)


@pytest.fixture
def frames() -> Attempt:
    return Attempt()


def jsons(*frames: Sealed) -> list[bytes]:
    return [sealed.json for sealed in frames]


def refuses(call: Callable[[], None]) -> None:
    with pytest.raises(ClientGone):
        call()


def test_each_frame_is_a_message_of_its_own(sink: WebSocketSink, post: FakePost, frames: Attempt) -> None:
    answer = frames.answer("a", "b")
    sink.send(answer)
    assert post.received[OLD] == jsons(*answer)


# The way fails


def test_frames_that_did_not_get_through_leave_first_and_unchanged(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    first, second, third = frames.start(), frames.token("a"), frames.token("b")
    post.fails()
    refuses(lambda: sink.send([first, second]))
    post.works()
    sink.send([third])
    assert post.received[OLD] == jsons(first, second, third)


def test_what_got_through_before_the_failure_is_not_sent_again(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    answer = frames.answer("a", "b", "c")
    outcomes = iter([None, None, DeliveryFailed("throttled"), None, None, None])
    post.outcome = lambda connection_id: next(outcomes)
    refuses(lambda: sink.send(answer[:4]))
    sink.send(answer[4:])
    assert post.received[OLD] == jsons(*answer)


def test_frames_that_wait_get_through_with_the_heartbeat_of_a_silent_model(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    token = frames.token("a")
    post.fails()
    refuses(lambda: sink.send([token]))
    refuses(lambda: sink.heartbeat(SESSION))
    post.works()
    sink.heartbeat(SESSION)
    # The frame was the sign of life.
    assert post.received[OLD] == jsons(token)
    sink.heartbeat(SESSION)
    assert post.received[OLD] == [token.json, HEARTBEAT]


def test_while_the_way_fails_a_stream_is_held_up_by_one_try_a_call_and_no_longer(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    post.fails()
    for _ in range(3):
        refuses(lambda: sink.send([frames.token("a"), frames.token("b")]))
    assert [patient for _, _, patient in post.tries] == [True, False, False]
    post.works()
    sink.send([])
    assert [patient for _, _, patient in post.tries[3:]] == [False, True, True, True, True, True]


def test_a_client_that_comes_back_elsewhere_does_not_pay_for_the_old_ways_failing(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    post.fails()
    refuses(lambda: sink.send([frames.start()]))
    post.works()
    sink.move(NEW)
    sink.send([frames.token("a")])
    assert [patient for _, _, patient in post.tries] == [True, True]


# The client is gone


def test_a_closed_connection_is_not_tried_again(sink: WebSocketSink, post: FakePost, frames: Attempt) -> None:
    post.closed(OLD)
    for _ in range(3):
        refuses(lambda: sink.send([frames.token("a")]))
        refuses(lambda: sink.heartbeat(SESSION))
    assert len(post.tries) == 1


def test_a_heartbeat_finds_out_that_the_client_is_gone(sink: WebSocketSink, post: FakePost) -> None:
    post.closed(OLD)
    refuses(lambda: sink.heartbeat(SESSION))


def test_nothing_piles_up_for_a_client_that_is_gone(sink: WebSocketSink, post: FakePost, frames: Attempt) -> None:
    post.closed(OLD)
    for _ in range(100):
        refuses(lambda: sink.send([frames.token("a")]))
    assert not sink._backlog


# The client comes back


@pytest.mark.parametrize("failure", [ClientGone(), DeliveryFailed("throttled"), None], ids=["gone", "failing", "there"])
def test_a_client_that_moved_gets_what_follows_and_nothing_that_waited_for_the_old_connection(
    sink: WebSocketSink, post: FakePost, frames: Attempt, failure: Exception | None
) -> None:
    """What it lacks is sent to it anew, from the frames that are stored."""
    early, late = frames.token("early"), frames.token("late")
    post.outcome = lambda connection_id: failure
    try:
        sink.send([early])
    except ClientGone:
        assert failure is not None
    post.works()
    sink.move(NEW)
    sink.heartbeat(SESSION)
    sink.send([late])
    assert post.received[NEW] == [HEARTBEAT, late.json]


def test_a_client_whose_new_connection_closes_too_is_gone_again(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    post.closed(OLD, NEW)
    refuses(lambda: sink.send([frames.start()]))
    sink.move(NEW)
    refuses(lambda: sink.send([frames.token("a")]))
    assert [connection_id for connection_id, _, _ in post.tries] == [OLD, NEW]


def test_a_gap_is_mended_on_the_connection_that_there_is(sink: WebSocketSink, post: FakePost, frames: Attempt) -> None:
    start, token, more = frames.start(), frames.token("a"), frames.token("b")
    sink.send([start, token])
    sink.move(OLD)
    sink.send([start, token, more])
    assert post.received[OLD] == jsons(start, token, start, token, more)


@given(sizes=st.lists(st.integers(0, 4), max_size=12), failures=st.lists(st.booleans(), max_size=40))
def test_whatever_fails_in_between_a_client_gets_every_frame_once_and_in_order(
    sizes: list[int], failures: list[bool]
) -> None:
    post, frames = FakePost(), Attempt()
    sink = WebSocketSink(post, OLD)
    outcomes = iter(failures)
    post.outcome = lambda connection_id: DeliveryFailed("throttled") if next(outcomes, False) else None
    sent: list[Sealed] = []
    for size in sizes:
        batch = [frames.token(f"{number}") for number in range(size)]
        sent += batch
        before = len(sent)
        try:
            sink.send(batch)
        except ClientGone:
            continue
        assert len(post.received[OLD]) == before, "it said that all had left"
    post.works()
    sink.heartbeat(SESSION)
    received = [message for message in post.received[OLD] if message != HEARTBEAT]
    assert received == jsons(*sent)
