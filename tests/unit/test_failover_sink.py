from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.fakes.frames import SESSION, Attempt
from tests.fakes.frames_queue import delivered, frames_of
from tests.fakes.topic import FakeTopic
from tests.fakes.topics_api import Published
from tokenstream.frames import Sealed, encode_heartbeat, unseal
from tokenstream.sinks import ClientGone, DeliveryFailed, Refused, Sink
from tokenstream.sinks.failover import CIRCUIT_SECONDS, Circuit, FailoverSink
from tokenstream.sinks.sns import INTERVAL_SECONDS, SnsSink
from tokenstream.sinks.websocket import WebSocketSink

CONNECTION = "VqYb2cO1IAMCIhw="
HEARTBEAT = encode_heartbeat(SESSION)


class Direct:
    """The direct way; `outcome` gives what a message meets, `taken` whether one that fails arrives all the same."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.tries: list[bytes] = []
        self.outcome: Callable[[bytes], Exception | None] = lambda message: None
        self.taken: Callable[[], bool] = lambda: False

    def __call__(self, connection_id: str, message: bytes, *, patient: bool = True) -> None:
        self.tries.append(message)
        failure = self.outcome(message)
        if failure is None or self.taken():
            self.received.append(message)
        if failure is not None:
            raise failure

    def fails(self, reason: str = "status 503") -> None:
        self.outcome = lambda message: DeliveryFailed(reason)

    def works(self) -> None:
        self.outcome = lambda message: None


class Function:
    """A warm function that sends one stream after the other, each to a client of its own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.circuit = Circuit(self.clock)
        self.failovers: list[str] = []

    def stream(self) -> "Stream":
        return Stream(self)


class Stream:
    def __init__(self, function: Function) -> None:
        self.direct = Direct()
        self.topic = FakeTopic()
        self.gone = False
        self.behind = False
        self.frames = Attempt()
        queued = SnsSink(
            self.topic,
            SESSION,
            max_frame_bytes=WebSocketSink.max_frame_bytes,
            heartbeats=True,
            client_gone=lambda: self.gone,
            behind=lambda: self.behind,
        )
        self.sink = FailoverSink(
            WebSocketSink(self.direct, CONNECTION), queued, function.circuit, function.failovers.append
        )

    def received(self) -> list[Sealed]:
        """Return the client's frames as they arrive: first those of the direct way."""
        return [unseal(json) for json in self.direct.received if json != HEARTBEAT] + frames_of(self.topic.queued)


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def stream(function: Function) -> Stream:
    return function.stream()


def fails_at(*positions: int) -> Callable[[bytes], Exception | None]:
    """Let the frames with these sequence numbers fail."""
    return lambda message: DeliveryFailed("status 503") if unseal(message).frame.sequence in positions else None


# The switch


def test_as_long_as_the_direct_way_works_nothing_is_queued(function: Function, stream: Stream) -> None:
    answer = stream.frames.answer("a", "b")
    stream.sink.send(answer[:2])
    stream.sink.heartbeat(SESSION)
    stream.sink.send(answer[2:])
    assert stream.direct.received == [answer[0].json, answer[1].json, HEARTBEAT, answer[2].json, answer[3].json]
    assert (stream.topic.tries, function.failovers, function.circuit.is_open) == ([], [], False)


@pytest.mark.parametrize("broken_at", range(1, 6))
def test_wherever_the_direct_way_breaks_each_frame_goes_one_way_and_the_end_arrives(
    function: Function, stream: Stream, broken_at: int
) -> None:
    answer = stream.frames.answer("a", "b", "c")
    stream.direct.outcome = fails_at(broken_at)
    stream.sink.send(answer[:3])
    stream.sink.send(answer[3:])
    assert stream.direct.received == [sealed.json for sealed in answer[: broken_at - 1]]
    assert frames_of(stream.topic.queued) == answer[broken_at - 1 :]
    assert function.failovers == ["status 503"]


def test_a_stream_that_has_switched_stays_with_the_queue_though_the_direct_way_heals(
    function: Function, stream: Stream
) -> None:
    """What is queued would be overtaken."""
    answer = stream.frames.answer("a", "b", "c")
    stream.direct.outcome = fails_at(2)
    stream.sink.send(answer[:2])
    stream.direct.works()
    function.clock.advance(10 * CIRCUIT_SECONDS)
    stream.sink.send(answer[2:4])
    stream.sink.heartbeat(SESSION)
    stream.sink.send(answer[4:])
    assert stream.received() == answer
    assert (len(stream.direct.tries), function.failovers) == (2, ["status 503"])


def test_a_heartbeat_that_fails_turns_the_stream_before_a_frame_has_to(function: Function, stream: Stream) -> None:
    stream.sink.send([stream.frames.start()])
    stream.direct.fails("timed out")
    stream.sink.heartbeat(SESSION)
    stream.sink.heartbeat(SESSION)
    token = stream.frames.token("a")
    stream.sink.send([token])
    assert delivered(stream.topic.queued) == [HEARTBEAT, HEARTBEAT, token.json]
    assert function.failovers == ["timed out"]


def test_what_the_direct_way_refuses_goes_the_queued_one(function: Function, stream: Stream) -> None:
    answer = stream.frames.answer("a")
    stream.direct.outcome = lambda message: Refused("status 403")
    stream.sink.send(answer)
    assert frames_of(stream.topic.queued) == answer
    assert function.failovers == ["status 403"]


def test_a_frame_that_the_direct_way_may_have_taken_is_the_only_one_that_comes_twice(
    function: Function, stream: Stream
) -> None:
    answer = stream.frames.answer("a", "b", "c")
    stream.direct.outcome = fails_at(3)
    stream.direct.taken = lambda: True
    stream.sink.send(answer)
    assert stream.received() == [*answer[:3], *answer[2:]]


def test_the_longest_frame_passes_either_way() -> None:
    class Short:
        max_frame_bytes = 10
        starts_early = True
        interval = 0.0

        def send(self, frames: Sequence[Sealed]) -> None: ...

        def heartbeat(self, session_id: str) -> None: ...

    class Long(Short):
        max_frame_bytes = 20

    def made_of(direct: Sink, queued: Sink) -> int:
        return FailoverSink(direct, queued, Circuit(FakeClock()), lambda reason: None).max_frame_bytes

    assert made_of(Short(), Long()) == made_of(Long(), Short()) == 10


def test_a_queue_that_is_behind_slows_down_what_is_queued_alone(function: Function, stream: Stream) -> None:
    stream.behind = True
    stream.sink.send([stream.frames.start()])
    assert stream.sink.interval == 0.0
    stream.direct.fails()
    stream.sink.send([stream.frames.token("a")])
    assert stream.sink.interval == INTERVAL_SECONDS
    # The next one is queued from its beginning.
    following = function.stream()
    assert following.sink.interval == 0.0
    following.behind = True
    assert following.sink.interval == INTERVAL_SECONDS


# The client


def test_a_client_that_is_gone_is_no_failure_of_the_direct_way(function: Function, stream: Stream) -> None:
    stream.direct.outcome = lambda message: ClientGone()
    calls: list[Callable[[], None]] = [
        lambda: stream.sink.send([stream.frames.start()]),
        lambda: stream.sink.heartbeat(SESSION),
    ]
    for call in calls:
        with pytest.raises(ClientGone) as raised:
            call()
        assert not isinstance(raised.value, DeliveryFailed)
    assert (stream.topic.tries, function.failovers, function.circuit.is_open) == ([], [], False)


def test_a_client_that_goes_behind_the_switch_is_reported(stream: Stream) -> None:
    stream.direct.fails()
    stream.sink.send([stream.frames.start()])
    stream.gone = True
    with pytest.raises(ClientGone):
        stream.sink.send([stream.frames.token("a")])


# Both ways fail


def test_what_waits_for_both_ways_leaves_first_when_the_queue_takes_it(function: Function, stream: Stream) -> None:
    answer = stream.frames.answer("a", "b", "c")
    stream.direct.outcome = fails_at(2)
    stream.topic.fails()
    for frames in (answer[:2], answer[2:4]):
        with pytest.raises(DeliveryFailed):
            stream.sink.send(frames)
    with pytest.raises(DeliveryFailed):
        stream.sink.heartbeat(SESSION)
    stream.direct.works()
    stream.topic.works()
    stream.sink.send(answer[4:])
    assert stream.received() == answer
    assert function.failovers == ["status 503"]


# The circuit


def test_a_new_stream_of_the_function_does_not_wait_for_the_direct_way_to_fail_again(
    function: Function, stream: Stream
) -> None:
    stream.direct.fails()
    stream.sink.send([stream.frames.start()])
    function.clock.advance(CIRCUIT_SECONDS - 0.001)
    another = function.stream()
    answer = another.frames.answer("a")
    another.sink.send(answer[:2])
    another.sink.heartbeat(SESSION)
    # It has begun in the queue: it stays there.
    function.clock.advance(CIRCUIT_SECONDS)
    another.sink.send(answer[2:])
    assert another.direct.tries == []
    assert frames_of(another.topic.queued) == answer
    assert function.failovers == ["status 503"], "one failure of the way counts once"


def test_when_the_direct_way_heals_new_streams_use_it_again(function: Function, stream: Stream) -> None:
    stream.direct.fails()
    stream.sink.send([stream.frames.start()])
    function.clock.advance(CIRCUIT_SECONDS)
    another = function.stream()
    answer = another.frames.answer("a")
    another.sink.send(answer)
    assert another.direct.received == [sealed.json for sealed in answer]
    assert another.topic.tries == []


def test_a_direct_way_that_has_not_healed_opens_the_circuit_anew(function: Function) -> None:
    for failures in (1, 2):
        stream = function.stream()
        stream.direct.fails()
        stream.sink.send([stream.frames.start()])
        assert len(function.failovers) == failures
        assert function.circuit.is_open
        function.clock.advance(CIRCUIT_SECONDS)
        assert not function.circuit.is_open


def test_a_stream_that_had_begun_directly_goes_on_so_when_another_ones_way_breaks(function: Function) -> None:
    """Its own way works: a broken connection pool of one is no reason to turn them all."""
    going, broken = function.stream(), function.stream()
    answer = going.frames.answer("a")
    going.sink.send(answer[:1])
    broken.direct.fails()
    broken.sink.send([broken.frames.start()])
    going.sink.send(answer[1:])
    assert going.direct.received == [sealed.json for sealed in answer]


# Whatever happens

FATES = st.lists(st.sampled_from(["good", "good", "good", "failed", "lost"]), max_size=30)


@given(acts=st.lists(st.integers(0, 3), max_size=12), directly=FATES, queued=FATES)
def test_whatever_fails_wherever_a_client_ends_with_the_answer_to_the_character(
    acts: list[int], directly: list[str], queued: list[str]
) -> None:
    """Each act sends so many frames, none of them is a heartbeat."""
    function = Function()
    stream = function.stream()
    fates = {"direct": iter(directly), "queued": iter(queued)}
    fate = {"direct": "good", "queued": "good"}

    def meet(way: str) -> Exception | None:
        fate[way] = next(fates[way], "good")
        return None if fate[way] == "good" else DeliveryFailed(way)

    def meet_queued(message: Published) -> Exception | None:
        return meet("queued")

    stream.direct.outcome = lambda message: meet("direct")
    stream.direct.taken = lambda: fate["direct"] == "lost"
    stream.topic.outcome = meet_queued
    stream.topic.lost = lambda: fate["queued"] == "lost"
    sent: list[Sealed] = []

    def send(frames: list[Sealed]) -> None:
        sent.extend(frames)
        try:
            if frames:
                stream.sink.send(frames)
            else:
                stream.sink.heartbeat(SESSION)
        except DeliveryFailed:
            return
        assert unique(stream.received()) == sent, "it said that all had left"

    send([stream.frames.start()])
    for size in acts:
        send([stream.frames.token(f"{size}") for _ in range(size)])
    stream.direct.works()
    stream.topic.works()
    send([stream.frames.complete()])
    assert unique(stream.received()) == sent
    assert len(stream.received()) <= len(sent) + 1, "more came twice than what was in flight at the switch"
    assert len(function.failovers) <= 1


def unique(frames: list[Sealed]) -> list[Sealed]:
    """De-duplicate as a client does, and leave them in the order of their arrival."""
    return list({sealed.frame.position: sealed for sealed in frames}.values())
