from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests.fakes.frames import MODEL, SESSION, Attempt
from tests.fakes.keeper import FakeKeeper
from tests.fakes.observed import Observed
from tests.fakes.source import FakeSource
from tokenstream.frames import Complete, Sealed
from tokenstream.pump import Pump
from tokenstream.relay import Relay
from tokenstream.sinks import ClientGone, DeliveryFailed
from tokenstream.sinks.appsync import AppSyncSink
from tokenstream.sources import Delta

OWNER = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"


class FakePublish(Observed):
    """Publishes unless told otherwise; `tries` has each one, with the patience it was made with."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[str, Sealed]] = []
        self.tries: list[tuple[Sealed, bool]] = []
        self.outcome: Callable[[Sealed], Exception | None] = lambda sealed: None

    def __call__(self, owner: str, sealed: Sealed, *, patient: bool = True) -> None:
        with self.changed:
            self.tries.append((sealed, patient))
            self.changed.notify_all()
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


def refuses(call: Callable[[], Any]) -> None:
    with pytest.raises(ClientGone):
        call()


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


def test_frames_that_did_not_get_through_leave_first_and_unchanged(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    first, second, third = frames.start(), frames.token("a"), frames.token("b")
    publish.fails()
    refuses(lambda: sink.send([first, second]))
    publish.works()
    sink.send([third])
    assert [sealed for _, sealed in publish.published] == [first, second, third]


def test_frames_that_wait_get_through_while_the_model_is_silent(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    token = frames.token("a")
    publish.fails()
    refuses(lambda: sink.send([token]))
    publish.works()
    sink.heartbeat(SESSION)
    assert publish.published == [(OWNER, token)]


def test_a_silent_models_heartbeat_does_not_say_that_a_failing_way_works(
    sink: AppSyncSink, publish: FakePublish, frames: Attempt
) -> None:
    publish.fails()
    refuses(lambda: sink.send([frames.token("a")]))
    for _ in range(3):
        refuses(lambda: sink.heartbeat(SESSION))
    assert [patient for _, patient in publish.tries] == [True, False, False, False]


def test_a_stream_that_nobody_can_get_is_stopped_though_its_model_thinks_for_long(
    sink: AppSyncSink, publish: FakePublish
) -> None:
    """The way fails, and between two heartbeats the model says nothing."""
    source, grace = FakeSource(Delta("Hel")), 0.2
    publish.fails()
    relay = Relay(
        session_id=SESSION,
        attempt=1,
        model=MODEL,
        path="appsync",
        delivery="direct",
        started_at=0.0,
        max_frame_bytes=sink.max_frame_bytes,
    )
    ticks = count()
    outcome = Pump(
        source=source,
        relay=relay,
        sink=sink,
        keeper=FakeKeeper(),
        clock=lambda: next(ticks) * 0.001,
        deadline=5.0,
        look_every=0.002,
        heartbeat_after=0.002,
        disconnect_grace=grace,
    ).run()
    assert isinstance(outcome.terminal, Complete)
    assert outcome.terminal.stop_reason == "cancelled"
    assert source.aborted
