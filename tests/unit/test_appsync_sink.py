from collections.abc import Callable

import pytest

from tests.fakes.frames import SESSION, Attempt
from tokenstream.frames import Sealed
from tokenstream.sinks import DeliveryFailed, Refused
from tokenstream.sinks.appsync import AppSyncSink

OWNER = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"


class FakePublish:
    """Publishes unless told otherwise; `tries` has each one, with the patience it was made with."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Sealed]] = []
        self.tries: list[tuple[Sealed, bool]] = []
        self.outcome: Callable[[Sealed], Exception | None] = lambda sealed: None

    def __call__(self, owner: str, sealed: Sealed, *, patient: bool = True) -> None:
        self.tries.append((sealed, patient))
        if failure := self.outcome(sealed):
            raise failure
        self.published.append((owner, sealed))

    def fails(self) -> None:
        self.outcome = lambda sealed: DeliveryFailed("throttled")

    def works(self) -> None:
        self.outcome = lambda sealed: None


@pytest.fixture
def publish() -> FakePublish:
    return FakePublish()


@pytest.fixture
def sink(publish: FakePublish) -> AppSyncSink:
    return AppSyncSink(publish, OWNER)


@pytest.fixture
def frames() -> Attempt:
    return Attempt()


def test_each_frame_is_published_for_its_owner_in_order(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    answer = frames.answer("a", "b")
    sink.send(answer)
    assert publish.published == [(OWNER, sealed) for sealed in answer]


def test_a_heartbeat_publishes_nothing(sink: AppSyncSink, publish: FakePublish, frames: Attempt) -> None:
    sink.send([frames.start()])
    sink.heartbeat(SESSION)
    assert len(publish.tries) == 1


def test_a_failure_says_which_frames_are_left_and_tries_none_of_those_behind_it(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    """Whoever sends them another way sends them all, in order, and none twice that got through."""
    answer = frames.answer("a", "b", "c")
    publish.outcome = lambda sealed: DeliveryFailed("status 503") if sealed is answer[2] else None
    with pytest.raises(DeliveryFailed, match="status 503") as raised:
        sink.send(answer)
    assert raised.value.undelivered == answer[2:]
    assert [sealed for _, sealed in publish.published] == answer[:2]
    assert [sealed for sealed, _ in publish.tries] == answer[:3]


def test_what_a_service_refuses_is_left_like_what_it_fails_to_take(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    token = frames.token("a")
    publish.outcome = lambda sealed: Refused("status 400")
    with pytest.raises(DeliveryFailed) as raised:
        sink.send([token])
    assert raised.value.undelivered == [token]


def test_frames_that_failed_are_the_callers_and_do_not_come_again_by_themselves(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    publish.fails()
    with pytest.raises(DeliveryFailed):
        sink.send([frames.token("a")])
    publish.works()
    later = frames.token("b")
    sink.heartbeat(SESSION)
    sink.send([later])
    assert publish.published == [(OWNER, later)]


def test_each_frame_is_tried_for_long(sink: AppSyncSink, publish: FakePublish, frames: Attempt) -> None:
    publish.fails()
    for _ in range(2):
        with pytest.raises(DeliveryFailed):
            sink.send([frames.token("a")])
    assert [patient for _, patient in publish.tries] == [True, True]
