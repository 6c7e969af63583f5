from collections.abc import Callable

import pytest

from tests.fakes.frames import SESSION, Attempt
from tokenstream.frames import Sealed
from tokenstream.sinks import ClientGone, DeliveryFailed, Refused
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


def test_a_failure_says_which_frames_are_left_and_tries_none_of_those_behind_it(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    """Whoever sends them another way sends them all, in order, and none twice that got through."""
    answer = frames.answer("a", "b", "c")
    outcomes = iter([None, None, DeliveryFailed("throttled")])
    post.outcome = lambda connection_id: next(outcomes)
    with pytest.raises(DeliveryFailed, match="throttled") as raised:
        sink.send(answer)
    assert raised.value.undelivered == answer[2:]
    assert post.received[OLD] == jsons(*answer[:2])


def test_what_a_service_refuses_is_left_like_what_it_fails_to_take(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    token = frames.token("a")
    post.outcome = lambda connection_id: Refused("status 413")
    with pytest.raises(DeliveryFailed) as raised:
        sink.send([token])
    assert raised.value.undelivered == [token]


def test_frames_that_failed_are_the_callers_and_do_not_come_again_by_themselves(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    post.fails()
    refuses(lambda: sink.send([frames.token("a")]))
    refuses(lambda: sink.heartbeat(SESSION))
    post.works()
    later = frames.token("b")
    sink.heartbeat(SESSION)
    sink.send([later])
    assert post.received[OLD] == [HEARTBEAT, later.json]


def test_each_message_is_tried_for_long(sink: WebSocketSink, post: FakePost, frames: Attempt) -> None:
    post.fails()
    for _ in range(2):
        refuses(lambda: sink.send([frames.token("a"), frames.token("b")]))
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


def test_a_client_that_goes_in_the_midst_of_frames_is_gone_and_no_failure_of_the_way(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    outcomes = iter([None, ClientGone()])
    post.outcome = lambda connection_id: next(outcomes)
    with pytest.raises(ClientGone) as raised:
        sink.send(frames.answer("a", "b"))
    assert not isinstance(raised.value, DeliveryFailed)
    assert len(post.tries) == 2


def test_whoever_asks_with_nothing_to_send_learns_that_the_client_is_gone(
    sink: WebSocketSink, post: FakePost, frames: Attempt
) -> None:
    sink.send([])
    post.closed(OLD)
    refuses(lambda: sink.send([frames.token("a")]))
    refuses(lambda: sink.send([]))


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
