import threading
from collections.abc import Callable, Iterator
from threading import Barrier, Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.clock import FakeClock
from tests.fakes.frames import MODEL, SESSION
from tests.fakes.keeper import FakeKeeper
from tests.fakes.observed import PATIENCE_SECONDS
from tests.fakes.sink import HEARTBEAT, FakeSink
from tests.fakes.source import Break, FakeSource, Step
from tokenstream import pump as pump_module
from tokenstream.errors import ErrorCode, ModelAccess, ModelError, Throttled, TokenstreamError
from tokenstream.frames import Complete, Error, Reasoning, Sealed, Start, Token, Usage, is_terminal
from tokenstream.lease import Verdict
from tokenstream.pump import Ending, Outcome, Pump
from tokenstream.relay import Relay
from tokenstream.sinks import ClientGone
from tokenstream.sources import Delta, Finished, ReasoningDelta

OFTEN = 0.002
"""Seconds between two looks, where a test needs many."""
NEVER = 10 * PATIENCE_SECONDS
"""Seconds that a test doesn't see the end of."""
DEADLINE = 600.0
GRACE = 30.0
FINISHED = Finished("end_turn", Usage(3, 5))
PASSING = Throttled("Too many requests.", retryable=True)
LASTING = ModelAccess("No access to the model.")


class Stream:
    """A pump between fakes, run on a thread of its own so that the test can step in."""

    def __init__(
        self,
        source: FakeSource,
        *,
        keeper: FakeKeeper | None = None,
        recoverable: bool = False,
        starts_early: bool = False,
        look_every: float = OFTEN,
        flush_interval: float = 0.0,
        heartbeat_after: float = PATIENCE_SECONDS,
    ) -> None:
        self.source = source
        self.sink = FakeSink()
        self.sink.starts_early = starts_early
        self.keeper = keeper or FakeKeeper()
        self.clock = FakeClock()
        self.rejoin: Callable[[], None] = lambda: None
        self._outcome: Outcome | None = None
        self._raised: Exception | None = None
        self._thread = Thread(target=self._run, name="pump", daemon=True)
        self._pump = Pump(
            source=source,
            relay=Relay(
                session_id=SESSION,
                attempt=1,
                model=MODEL,
                path="url",
                delivery="direct",
                started_at=self.clock(),
                max_frame_bytes=self.sink.max_frame_bytes,
            ),
            sink=self.sink,
            keeper=self.keeper,
            clock=self.clock,
            deadline=self.clock() + DEADLINE,
            recoverable=recoverable,
            rejoin=lambda: self.rejoin(),  # noqa: PLW0108 - the one of the moment
            look_every=look_every,
            flush_interval=flush_interval,
            heartbeat_after=heartbeat_after,
            disconnect_grace=GRACE,
        )

    def begin(self) -> "Stream":
        self._thread.start()
        return self

    def end(self) -> Outcome:
        """Wait for the outcome, or raise what `run` has raised."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the pump did not end"
        if self._raised is not None:
            raise self._raised
        assert self._outcome is not None
        return self._outcome

    def move(self) -> Outcome:
        return self.begin().end()

    def _run(self) -> None:
        try:
            self._outcome = self._pump.run()
        except Exception as error:  # noqa: BLE001 - raised again by `end`
            self._raised = error


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


def text(frames: list[Sealed]) -> str:
    return "".join(sealed.frame.token for sealed in frames if isinstance(sealed.frame, Token))


def kinds(frames: list[Sealed]) -> list[type]:
    return [type(sealed.frame) for sealed in frames]


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome.terminal, Complete)
    return outcome.terminal.stop_reason


def code(outcome: Outcome) -> ErrorCode:
    assert isinstance(outcome.terminal, Error)
    return outcome.terminal.error.code


def assert_whole(stream: Stream, outcome: Outcome) -> None:
    """Assert what holds for every stream that has ended with a terminal frame, whatever that says."""
    frames = stream.sink.frames
    assert [sealed.frame.sequence for sealed in frames] == list(range(1, len(frames) + 1))
    assert [is_terminal(sealed.frame) for sealed in frames] == [False] * (len(frames) - 1) + [True]
    assert isinstance(frames[0].frame, Start)
    assert (outcome.ending, outcome.terminal) == (Ending.TERMINAL, frames[-1].frame)
    # The record takes the terminal frame itself; the others are stored.
    assert stream.keeper.kept == frames[:-1]
    assert [terminal for _, terminal in stream.keeper.settled] == [frames[-1]]
    assert not stream.keeper.released
    assert stream.source.closed


# A whole answer


def test_an_answer_arrives_whole_and_is_settled_as_complete() -> None:
    stream = Stream(FakeSource(ReasoningDelta("Hm"), Delta("Hel"), Delta("lo"), FINISHED, Break.OFF))
    outcome = stream.move()
    assert_whole(stream, outcome)
    assert text(stream.sink.frames) == "Hello"
    assert (reason(outcome), outcome.terminal.usage) == ("end_turn", Usage(3, 5))  # type: ignore[union-attr] # by then
    assert [status for status, _ in stream.keeper.settled] == ["complete"]


def test_the_first_token_leaves_while_the_model_is_silent_behind_it() -> None:
    stream = Stream(FakeSource(Delta("H"))).begin()
    stream.sink.wait_until(lambda: bool(stream.sink.sends))
    assert kinds(stream.sink.sends[0]) == [Start, Token]
    stream.source.says(FINISHED, Break.OFF)
    assert_whole(stream, stream.end())


def test_an_answer_without_a_token_leaves_in_one_piece() -> None:
    """Only so can a sink still turn a failure into a rejection."""
    stream = Stream(FakeSource(LASTING))
    assert_whole(stream, stream.move())
    assert [kinds(send) for send in stream.sink.sends] == [[Start, Error]]


def test_what_arrives_while_the_sink_is_busy_leaves_in_one_send() -> None:
    stream = Stream(FakeSource(Delta("first")))
    stream.sink.block()
    stream.begin()
    stream.sink.wait_until(lambda: stream.sink.busy)
    piled_up = [f"{number} " for number in range(100)]
    stream.source.says(*map(Delta, piled_up))
    stream.source.wait_until_heard()
    stream.sink.unblock()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 2)
    assert kinds(stream.sink.sends[1]) == [Token]
    assert text(stream.sink.sends[1]) == "".join(piled_up)
    stream.source.says(FINISHED, Break.OFF)
    assert_whole(stream, stream.end())


# The start ahead


def test_a_sink_that_has_a_way_to_open_gets_the_start_while_the_model_thinks() -> None:
    stream = Stream(FakeSource(), starts_early=True).begin()
    stream.sink.wait_until(lambda: bool(stream.sink.sends))
    stream.source.says(Delta("Hello"), FINISHED, Break.OFF)
    assert_whole(stream, stream.end())
    start, *text_and_end = stream.sink.sends
    assert kinds(start) == [Start]
    assert [kind for send in text_and_end for kind in kinds(send)] == [Token, Complete]


def test_a_start_that_takes_long_holds_up_neither_model_nor_deadline() -> None:
    stream = Stream(FakeSource(), starts_early=True)
    stream.sink.block()
    stream.begin()
    stream.sink.wait_until(lambda: stream.sink.busy)
    stream.source.says(Delta("Hel"), Delta("lo"))
    stream.source.wait_until_heard()
    stream.clock.advance(DEADLINE)
    stream.source.wait_until(lambda: stream.source.aborted)
    stream.sink.unblock()
    outcome = stream.end()
    assert_whole(stream, outcome)
    assert reason(outcome) == "deadline"
    assert [kinds(send) for send in stream.sink.sends] == [[Start], [Token], [Complete]]


def test_a_client_that_is_gone_before_the_start_finds_it_stored() -> None:
    stream = Stream(FakeSource(), starts_early=True)
    stream.sink.leave()
    stream.begin()
    stream.sink.wait_until(lambda: stream.sink.refused == 1)
    stream.sink.come_back()
    stream.source.says(Delta("a"), FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"
    assert kinds(stream.keeper.kept) == [Start, Token]
    assert kinds(stream.sink.frames) == [Token, Complete]


# Fewer and longer frames


def held_back(*, by_the_sink: bool = False, heartbeat_after: float = PATIENCE_SECONDS) -> Stream:
    """Return a stream that has sent its first token, and lets what comes behind it pile up for longer than a test."""
    stream = Stream(
        FakeSource(Delta("a")), flush_interval=0.0 if by_the_sink else NEVER, heartbeat_after=heartbeat_after
    )
    stream.sink.interval = NEVER if by_the_sink else 0.0
    stream.begin()
    # The first token waits for nothing.
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.source.says(Delta("b"), Delta("c"))
    stream.source.wait_until_heard()
    stream.keeper.wait_for_looks()
    assert text(stream.sink.frames) == "a"
    return stream


@pytest.mark.parametrize("by_the_sink", [False, True], ids=["as set", "as the sink wants it"])
def test_what_arrives_within_the_interval_leaves_joined_and_the_end_does_not_wait_for_it(by_the_sink: bool) -> None:
    stream = held_back(by_the_sink=by_the_sink, heartbeat_after=OFTEN)
    stream.source.says(FINISHED, Break.OFF)
    assert_whole(stream, stream.end())
    assert [text(send) for send in stream.sink.sends] == ["a", "bc", ""]
    # What waits here is no silence.
    assert stream.sink.heartbeats == 0


def test_what_waits_leaves_when_the_interval_is_over_though_the_model_has_fallen_silent() -> None:
    stream = Stream(FakeSource(), flush_interval=0.05).begin()
    for sends, piece in enumerate("abc", 1):
        stream.source.says(Delta(piece))
        stream.sink.wait_until(lambda sends=sends: len(stream.sink.sends) == sends)  # type: ignore[misc] # the loop's
    stream.source.says(FINISHED, Break.OFF)
    assert_whole(stream, stream.end())


def test_what_comes_when_the_interval_is_long_over_leaves_at_once() -> None:
    stream = Stream(FakeSource(Delta("a")), flush_interval=0.05, look_every=0.1).begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    # Between three looks there are two tenths of a second.
    stream.keeper.wait_for_looks()
    stream.source.says(Delta("b"))
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 2)
    stream.source.says(FINISHED, Break.OFF)
    assert_whole(stream, stream.end())


def test_a_sink_that_falls_behind_in_mid_stream_gets_fewer_frames_from_there_on() -> None:
    stream = Stream(FakeSource(Delta("a")))

    def fall_behind() -> None:
        stream.sink.interval = NEVER if stream.sink.sends else 0.0

    stream.sink.before_send = fall_behind
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.source.says(Delta("b"))
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 2)
    stream.source.says(Delta("c"), Delta("d"), FINISHED, Break.OFF)
    assert_whole(stream, stream.end())
    assert [text(send) for send in stream.sink.sends] == ["a", "b", "cd", ""]


@pytest.mark.parametrize("starts_early", [False, True])
def test_neither_the_start_nor_a_heartbeat_holds_the_first_token_back(starts_early: bool) -> None:
    stream = Stream(FakeSource(), starts_early=starts_early, flush_interval=NEVER, heartbeat_after=OFTEN).begin()
    stream.sink.wait_until(lambda: stream.sink.heartbeats > 0)
    stream.source.says(Delta("a"))
    stream.sink.wait_until(lambda: text(stream.sink.frames) == "a")
    stream.source.says(FINISHED, Break.OFF)
    assert_whole(stream, stream.end())


@pytest.mark.parametrize("way", ["cancel", "deadline", "failure"])
def test_whatever_stops_a_stream_does_not_wait_for_the_interval(way: str) -> None:
    stream = held_back()
    match way:
        case "cancel":
            stream.keeper.verdict = Verdict.CANCEL
        case "deadline":
            stream.clock.advance(DEADLINE)
        case _:
            stream.source.says(LASTING)
    assert_whole(stream, stream.end())
    assert [text(send) for send in stream.sink.sends] == ["a", "bc", ""]


def test_a_lost_lease_does_not_wait_for_the_interval_and_sends_nothing_of_what_waits() -> None:
    stream = held_back()
    stream.keeper.verdict = Verdict.LOST
    assert stream.end() == Outcome(Ending.LOST)
    assert text(stream.sink.frames) == "a"


def test_a_client_that_comes_back_elsewhere_does_not_wait_for_the_interval() -> None:
    stream = Stream(FakeSource(Delta("a")), flush_interval=NEVER)
    moves = Moves(stream)
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.source.says(Delta("b"))
    stream.source.wait_until_heard()
    moves.move()
    stream.source.says(FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"
    assert text(moves.caught_up[0]) == "a"
    assert received_behind(stream, moves)[-2:] == [3, 4]


def test_the_deadline_does_not_wait_for_the_interval_though_the_table_is_silent() -> None:
    """Who looks at the deadline besides the sender is held up."""
    answers = Event()
    stream = Stream(FakeSource(Delta("a")), flush_interval=NEVER)
    stream.keeper.before_look = lambda: answers.wait(PATIENCE_SECONDS)
    stream.clock.advance(DEADLINE - 0.05)
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.source.says(Delta("b"))
    stream.sink.wait_until(lambda: text(stream.sink.frames) == "ab")
    stream.clock.advance(0.05)
    stream.source.wait_until(lambda: stream.source.aborted)
    answers.set()
    outcome = stream.end()
    assert_whole(stream, outcome)
    assert reason(outcome) == "deadline"


# A whole answer, whatever happens


@given(
    answer=st.lists(st.builds(Delta, st.text(max_size=5)) | st.builds(ReasoningDelta, st.text(max_size=5))),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_the_answer_is_exact_whatever_the_speed_of_the_sink(
    answer: list[Delta | ReasoningDelta], data: st.DataObject
) -> None:
    source = FakeSource(*answer, FINISHED, Break.OFF)
    # Without an interval, with one that is over at times, with one that never is.
    flush_interval = data.draw(st.sampled_from([0.0, 0.0001, NEVER]))
    stream = Stream(source, starts_early=data.draw(st.booleans()), flush_interval=flush_interval)
    # The first send returns when the model has said so much, the second when it has said so much more, …
    paces = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=len(answer))))
    stream.sink.before_send = lambda: source.wait_until_heard(paces.pop(0) if paces else 0)
    assert_whole(stream, stream.move())
    for kind, delta_kind in ((Token, Delta), (Reasoning, ReasoningDelta)):
        received = [sealed.frame.token for sealed in stream.sink.frames if isinstance(sealed.frame, kind)]
        assert "".join(received) == "".join(delta.text for delta in answer if isinstance(delta, delta_kind))


# The model fails


@pytest.mark.parametrize("told", [[], [Delta("Hel"), Delta("lo")]], ids=["before a token", "after tokens"])
@pytest.mark.parametrize("error", [PASSING, LASTING])
def test_a_failing_model_ends_the_answer_with_its_error(told: list[Delta], error: TokenstreamError) -> None:
    stream = Stream(FakeSource(*told, error))
    outcome = stream.move()
    assert_whole(stream, outcome)
    assert (code(outcome), text(stream.sink.frames)) == (error.code, "".join(delta.text for delta in told))
    assert [status for status, _ in stream.keeper.settled] == ["failed"]


def test_a_stream_that_breaks_off_is_never_complete() -> None:
    stream = Stream(FakeSource(Delta("Hel"), Break.OFF))
    outcome = stream.move()
    assert_whole(stream, outcome)
    assert code(outcome) is ErrorCode.MODEL_ERROR
    assert [status for status, _ in stream.keeper.settled] == ["failed"]


def test_a_fault_of_ours_ends_the_answer_without_telling_its_text(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream(FakeSource(Delta("Hel"), RuntimeError("secret")))
    outcome = stream.move()
    assert_whole(stream, outcome)
    assert code(outcome) is ErrorCode.INTERNAL
    assert b"secret" not in stream.sink.frames[-1].json
    assert [record.name for record in caplog.records] == ["tokenstream.pump"]


@pytest.mark.parametrize("behind", [ModelError("Reset."), RuntimeError("odd"), Delta("more"), FINISHED])
def test_what_comes_behind_the_models_last_event_changes_nothing(behind: Step) -> None:
    stream = Stream(FakeSource(Delta("Hello"), FINISHED, behind))
    outcome = stream.move()
    assert_whole(stream, outcome)
    assert (reason(outcome), text(stream.sink.frames)) == ("end_turn", "Hello")


@pytest.mark.parametrize("behind", [Delta("more"), FINISHED, Break.OFF])
def test_an_answer_that_went_well_leaves_no_error_in_the_log(behind: Step, caplog: pytest.LogCaptureFixture) -> None:
    Stream(FakeSource(Delta("Hello"), FINISHED, behind)).move()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (PASSING, ErrorCode.THROTTLED),
        (Break.OFF, ErrorCode.MODEL_ERROR),
        (RuntimeError("odd"), ErrorCode.INTERNAL),
    ],
)
def test_an_attempt_that_another_one_follows_ends_without_a_terminal_frame_and_says_why(
    fault: Step, failure: ErrorCode
) -> None:
    source = FakeSource(Delta("Hel"))
    stream = Stream(source, recoverable=True).begin()
    stream.sink.wait_until(lambda: bool(stream.sink.sends))
    source.says(fault)
    assert stream.end() == Outcome(Ending.GIVEN_UP)
    assert kinds(stream.sink.frames) == [Start, Token]
    assert (stream.keeper.released, stream.keeper.failure) == (True, failure)
    assert stream.keeper.settled == []
    assert source.closed


def test_an_attempt_that_could_not_be_given_up_is_not_said_to_be_open_to_the_next() -> None:
    stream = Stream(FakeSource(Delta("Hel"), PASSING), recoverable=True)
    stream.keeper.releases = False
    assert stream.move() == Outcome(Ending.LOST)
    assert stream.keeper.settled == []


def test_a_fault_that_no_other_attempt_can_mend_ends_a_recoverable_one() -> None:
    stream = Stream(FakeSource(LASTING), recoverable=True)
    outcome = stream.move()
    assert_whole(stream, outcome)
    assert code(outcome) is ErrorCode.MODEL_ACCESS


# Somebody stops it


@pytest.mark.parametrize("when_aborted", [None, ModelError("Closed."), OSError("closed")])
def test_a_cancel_closes_the_models_stream_and_tells_what_was_counted(when_aborted: Exception | None) -> None:
    stream = Stream(FakeSource(Delta("Hel"), when_aborted=when_aborted)).begin()
    stream.sink.wait_until(lambda: bool(stream.sink.sends))
    stream.source.usage = Usage(3, 1)
    stream.keeper.verdict = Verdict.CANCEL
    outcome = stream.end()
    assert_whole(stream, outcome)
    assert stream.source.aborted
    assert (reason(outcome), outcome.terminal.usage) == ("cancelled", Usage(3, 1))  # type: ignore[union-attr] # a Complete
    assert [status for status, _ in stream.keeper.settled] == ["cancelled"]


def test_the_deadline_ends_the_answer_before_the_function_is_cut() -> None:
    stream = Stream(FakeSource(Delta("Hel"))).begin()
    stream.sink.wait_until(lambda: bool(stream.sink.sends))
    stream.clock.advance(DEADLINE)
    outcome = stream.end()
    assert_whole(stream, outcome)
    assert reason(outcome) == "deadline"
    assert stream.source.aborted
    assert [status for status, _ in stream.keeper.settled] == ["complete"]


def test_a_deadline_that_comes_during_the_last_send_leaves_the_ending_as_it_was() -> None:
    stream = Stream(FakeSource(Delta("Hello"), FINISHED, Break.OFF))
    stream.sink.block()
    stream.begin()
    stream.sink.wait_until(lambda: stream.sink.busy)
    stream.source.wait_until_heard(2)
    stream.clock.advance(DEADLINE)
    stream.keeper.verdict = Verdict.CANCEL
    stream.keeper.wait_for_looks()
    stream.sink.unblock()
    outcome = stream.end()
    assert_whole(stream, outcome)
    assert reason(outcome) == "end_turn"


@pytest.mark.parametrize("finished", [False, True], ids=["model at work", "model finished"])
def test_a_lost_lease_leaves_the_last_word_to_another_worker(finished: bool) -> None:
    stream = Stream(FakeSource(Delta("Hel")))
    stream.sink.block()
    stream.begin()
    stream.sink.wait_until(lambda: stream.sink.busy)
    stream.source.says(Delta("lo"))
    if finished:
        stream.source.says(FINISHED)
    stream.source.wait_until_heard()
    stream.keeper.verdict = Verdict.LOST
    stream.source.wait_until(lambda: stream.source.aborted)
    stream.sink.unblock()
    assert stream.end() == Outcome(Ending.LOST)
    assert text(stream.sink.frames) == "Hel"
    assert kinds(stream.sink.frames) == [Start, Token]
    assert stream.keeper.settled == []
    assert not stream.keeper.released
    assert stream.source.closed


@pytest.mark.parametrize("steps", [[Delta("Hello"), FINISHED, Break.OFF], [LASTING]], ids=["text", "error alone"])
def test_an_ending_that_the_session_does_not_take_is_not_sent(steps: list[Step]) -> None:
    stream = Stream(FakeSource(*steps), keeper=FakeKeeper(settles=False))
    assert stream.move() == Outcome(Ending.LOST)
    assert not any(is_terminal(sealed.frame) for sealed in stream.sink.frames)
    assert stream.source.closed


def race(verdict: Verdict) -> tuple[Stream, Outcome]:
    """Let the model's last event and the verdict meet."""
    line = Barrier(2)
    stream = Stream(FakeSource(Delta("Hello"), lambda: line.wait(PATIENCE_SECONDS), FINISHED, Break.OFF))
    first = iter([True])
    stream.keeper.verdict = verdict
    stream.keeper.before_look = lambda: line.wait(PATIENCE_SECONDS) if next(first, False) else None
    return stream, stream.move()


def test_a_cancel_that_meets_the_models_end_gives_one_terminal_frame() -> None:
    for _ in range(200):
        stream, outcome = race(Verdict.CANCEL)
        assert_whole(stream, outcome)
        assert reason(outcome) in {"end_turn", "cancelled"}
        assert stream.keeper.settled[0][0] == ("complete" if reason(outcome) == "end_turn" else "cancelled")


def test_a_lease_lost_at_the_models_end_gives_one_terminal_frame_or_none() -> None:
    for _ in range(200):
        stream, outcome = race(Verdict.LOST)
        if outcome.ending is Ending.TERMINAL:
            assert_whole(stream, outcome)
        else:
            assert outcome == Outcome(Ending.LOST)
            assert not any(is_terminal(sealed.frame) for sealed in stream.sink.frames)
            assert stream.keeper.settled == []


# The client goes


def test_a_client_that_is_gone_for_long_stops_the_model() -> None:
    stream = Stream(FakeSource(Delta("a"))).begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.sink.leave()
    stream.source.says(Delta("b"))
    stream.sink.wait_until(lambda: stream.sink.refused == 1)
    stream.clock.advance(GRACE - 1)
    stream.source.says(Delta("c"))
    stream.sink.wait_until(lambda: stream.sink.refused == 2)
    stream.keeper.wait_for_looks()
    assert not stream.source.aborted
    # The grace counts from when it was first missed.
    stream.clock.advance(1)
    outcome = stream.end()
    assert reason(outcome) == "cancelled"
    assert stream.source.aborted
    assert text(stream.sink.frames) == "a"
    assert text(stream.keeper.kept) == "abc"
    assert [status for status, _ in stream.keeper.settled] == ["cancelled"]


def test_a_client_that_comes_back_in_time_keeps_its_answer_going() -> None:
    stream = Stream(FakeSource(Delta("a"))).begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.sink.leave()
    stream.source.says(Delta("b"))
    stream.sink.wait_until(lambda: stream.sink.refused == 1)
    stream.clock.advance(GRACE - 1)
    stream.sink.come_back()
    stream.source.says(Delta("c"))
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 2)
    # Heard again by the pump, not only by the sink, once something follows.
    stream.source.says(Delta("d"))
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 3)
    stream.clock.advance(GRACE + 1)
    stream.keeper.wait_for_looks()
    stream.source.says(FINISHED, Break.OFF)
    outcome = stream.end()
    assert reason(outcome) == "end_turn"
    assert text(stream.keeper.kept) == "abcd"
    assert [sealed.frame.sequence for sealed in stream.keeper.kept] == [1, 2, 3, 4, 5]
    assert [sealed.frame.sequence for sealed in stream.sink.frames] == [1, 2, 4, 5, 6]


def test_a_client_that_is_gone_at_the_end_finds_the_answer_stored() -> None:
    stream = Stream(FakeSource(Delta("a"), FINISHED, Break.OFF))
    stream.sink.leave()
    outcome = stream.move()
    assert reason(outcome) == "end_turn"
    assert text(stream.keeper.kept) == "a"
    assert [terminal.frame for _, terminal in stream.keeper.settled] == [outcome.terminal]


# The client comes back on another connection


class Moves:
    """A client that is moved to another connection; there it first gets what of the answer is kept.

    It moves when a look finds that out, or, where it does so `at_the_end`, when the session is settled.
    """

    def __init__(self, stream: Stream, *, at_the_end: bool = False) -> None:
        self._stream = stream
        self._at_the_end = at_the_end
        self.count = 0
        self.raises: Exception | None = None
        self.threads: set[str] = set()
        self.caught_up: list[list[Sealed]] = []
        stream.rejoin = self._rejoin

    def move(self) -> None:
        """Let the next look find it elsewhere, and wait until it is served."""
        before = self.count
        self._stream.keeper.verdict = Verdict.MOVED
        self._stream.sink.wait_until(lambda: self.count > before)

    def _rejoin(self) -> None:
        keeper, sink = self._stream.keeper, self._stream.sink
        if keeper.verdict is not Verdict.MOVED and not (self._at_the_end and keeper.settled):
            # Nothing has changed: two looks may find the same.
            if self.count and self.raises is not None:
                raise self.raises
            return
        keeper.verdict = Verdict.GO_ON
        self.threads.add(threading.current_thread().name)
        self.caught_up.append(list(keeper.kept))
        with sink.changed:
            sink.gone = False
            self.count += 1
            sink.changed.notify_all()
        if self.raises is not None:
            raise self.raises
        sink.send(list(keeper.kept))


def received_behind(stream: Stream, moves: Moves) -> list[int]:
    """Return the numbers of what came on the connection that the client was moved to last."""
    return [sealed.frame.sequence for sealed in stream.sink.frames][-len(stream.keeper.kept) - 1 :]


def test_a_client_that_comes_back_elsewhere_while_the_model_is_silent_is_served_at_once() -> None:
    stream = Stream(FakeSource(Delta("a")))  # whose next heartbeat is far away
    moves = Moves(stream)
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    moves.move()
    stream.source.says(FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"
    assert kinds(moves.caught_up[0]) == [Start, Token]
    assert [sealed.frame.sequence for sealed in stream.sink.frames][-3:] == [1, 2, 3]


def test_what_comes_while_a_client_is_served_follows_behind_it() -> None:
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream)
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.sink.block()
    stream.keeper.verdict = Verdict.MOVED
    stream.sink.wait_until(lambda: stream.sink.busy)
    stream.source.says(Delta("b"), Delta("c"))
    stream.source.wait_until_heard()
    stream.sink.unblock()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 3)
    assert [text(send) for send in stream.sink.sends] == ["a", "a", "bc"]
    stream.source.says(FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"
    assert received_behind(stream, moves)[-2:] == [3, 4]


def test_what_had_piled_up_goes_to_the_new_connection_and_not_to_the_old_one() -> None:
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream)
    stream.sink.block()
    stream.begin()
    stream.sink.wait_until(lambda: stream.sink.busy)
    stream.source.says(Delta("b"))
    stream.source.wait_until_heard()
    stream.keeper.verdict = Verdict.MOVED
    stream.keeper.wait_for_looks()
    stream.sink.unblock()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 3)
    # The old connection, what the new one lacked, what had piled up.
    assert [text(send) for send in stream.sink.sends] == ["a", "a", "b"]
    assert text(moves.caught_up[0]) == "a"
    stream.source.says(FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"


def test_one_thread_sends_whatever_moves() -> None:
    """Two would mix up the frames' order."""
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream)
    stream.begin()
    for _ in range(3):
        moves.move()
    stream.source.says(FINISHED, Break.OFF)
    stream.end()
    assert moves.threads == {"pump"}


def test_a_client_that_comes_back_elsewhere_keeps_its_answer_going() -> None:
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream)
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.sink.leave()
    stream.source.says(Delta("b"))
    stream.sink.wait_until(lambda: stream.sink.refused == 1)
    moves.move()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 2)
    stream.clock.advance(GRACE + 1)
    stream.keeper.wait_for_looks()
    assert not stream.source.aborted
    stream.source.says(Delta("c"), FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"
    assert text(stream.sink.sends[1]) == "ab"


def test_a_client_whose_new_connection_is_gone_as_well_has_its_grace_and_no_more() -> None:
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream)
    moves.raises = ClientGone()
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    moves.move()
    stream.keeper.wait_for_looks()
    stream.clock.advance(GRACE - 1)
    stream.keeper.wait_for_looks()
    assert not stream.source.aborted
    stream.clock.advance(1)
    assert reason(stream.end()) == "cancelled"


def test_the_end_looks_once_more_for_the_client_before_it_leaves() -> None:
    stream = Stream(FakeSource(Delta("a"), FINISHED, Break.OFF))
    order: list[tuple[str, bool]] = []

    def note(what: str) -> None:
        order.append((what, bool(stream.keeper.settled)))

    stream.rejoin = lambda: note("rejoin")
    stream.sink.before_send = lambda: note("send")
    stream.move()
    # Before the session is settled the client may still move; behind it, it finds the session ended.
    assert order == [("send", False), ("rejoin", True), ("send", True)]


def test_an_answer_without_a_token_ends_where_the_client_is_by_now() -> None:
    stream = Stream(FakeSource(LASTING))
    moves = Moves(stream, at_the_end=True)
    outcome = stream.move()
    assert code(outcome) is ErrorCode.MODEL_ACCESS
    # What was caught up is sent again with the end: twice is allowed, a gap is not.
    assert [kinds(frames) for frames in moves.caught_up] == [[Start]]
    assert kinds(stream.sink.sends[-1]) == [Start, Error]


@pytest.mark.parametrize("when", ["midway", "at the end"])
def test_a_client_that_is_gone_where_it_moved_to_costs_no_more_than_its_frames(when: str) -> None:
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream, at_the_end=when == "at the end")
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    moves.raises = ClientGone()
    if when == "midway":
        moves.move()
    stream.source.says(Delta("b"), FINISHED, Break.OFF)
    assert reason(stream.end()) == "end_turn"
    assert text(stream.keeper.kept) == "ab"
    assert [status for status, _ in stream.keeper.settled] == ["complete"]


def test_a_lost_attempt_serves_nobody_any_more() -> None:
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream)
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.keeper.verdict = Verdict.LOST
    assert stream.end() == Outcome(Ending.LOST)
    assert moves.count == 0


@pytest.mark.parametrize("when", ["midway", "at the end"])
def test_a_fault_in_moving_is_reported_and_the_model_stopped(when: str) -> None:
    """The failure destination then ends the session."""
    stream = Stream(FakeSource(Delta("a")))
    moves = Moves(stream, at_the_end=when == "at the end")
    moves.raises = ZeroDivisionError("a bug in moving")
    stream.begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    if when == "midway":
        stream.keeper.verdict = Verdict.MOVED
    else:
        stream.source.says(FINISHED)
    with pytest.raises(ZeroDivisionError):
        stream.end()
    assert stream.source.closed


def test_a_move_that_meets_the_models_end_loses_nothing() -> None:
    for _ in range(200):
        line = Barrier(2)
        stream = Stream(FakeSource(Delta("Hello"), lambda: line.wait(PATIENCE_SECONDS), FINISHED, Break.OFF))  # noqa: B023 - ended within the round
        moves = Moves(stream, at_the_end=True)
        first = iter([True])

        def look(stream: Stream = stream, line: Barrier = line, first: Iterator[bool] = first) -> None:
            if next(first, False):
                line.wait(PATIENCE_SECONDS)
                stream.keeper.verdict = Verdict.MOVED

        stream.keeper.before_look = look
        assert reason(stream.move()) == "end_turn"
        # Behind the last catching up comes the end, and nothing is missing in between.
        assert stream.sink.sends[-1] == [stream.keeper.settled[0][1]]
        assert stream.sink.sends[-2] == stream.keeper.kept == moves.caught_up[-1]


# Silence


def test_a_silent_model_does_not_let_the_connection_fall_asleep() -> None:
    stream = Stream(FakeSource(), heartbeat_after=OFTEN).begin()
    stream.sink.wait_until(lambda: stream.sink.heartbeats >= 3)
    stream.source.says(Delta("Hello"), FINISHED, Break.OFF)
    assert_whole(stream, stream.end())
    # Whoever waits is told first what for.
    start, heartbeat, *_ = stream.sink.calls
    assert isinstance(start, list)
    assert (kinds(start), heartbeat) == ([Start], HEARTBEAT)


def test_a_client_that_leaves_a_silent_model_is_missed_by_the_heartbeat() -> None:
    stream = Stream(FakeSource(), heartbeat_after=OFTEN).begin()
    stream.sink.wait_until(lambda: stream.sink.heartbeats >= 1)
    stream.sink.leave()
    stream.sink.wait_until(lambda: stream.sink.refused >= 1)
    stream.sink.wait_until(lambda: stream.sink.refused >= 2)
    stream.clock.advance(GRACE)
    assert reason(stream.end()) == "cancelled"


# Faults of the pump's parts


@pytest.mark.parametrize("model", ["silent", "talking", "finished"])
def test_a_sink_that_breaks_is_reported_and_the_model_stopped(model: str) -> None:
    more: dict[str, list[Step]] = {"silent": [], "talking": [Delta("b"), Delta("c")], "finished": [FINISHED, Break.OFF]}
    stream = Stream(FakeSource(Delta("a"), *more[model]))
    stream.sink.broken = ZeroDivisionError("a bug in the sink")
    with pytest.raises(ZeroDivisionError):
        stream.move()
    assert stream.source.closed
    assert stream.keeper.settled == []


def test_a_sink_that_breaks_at_the_end_leaves_nothing_running() -> None:
    stream = Stream(FakeSource(Delta("a"))).begin()
    stream.sink.wait_until(lambda: len(stream.sink.sends) == 1)
    stream.sink.broken = ZeroDivisionError("a bug in the sink")
    stream.source.says(FINISHED)
    with pytest.raises(ZeroDivisionError):
        stream.end()
    assert stream.source.closed


def test_a_settlement_that_breaks_sends_no_ending_and_leaves_nothing_running() -> None:
    stream = Stream(FakeSource(Delta("a"), FINISHED))
    stream.keeper.settle_fails = ZeroDivisionError("a bug in the session")
    with pytest.raises(ZeroDivisionError):
        stream.move()
    assert kinds(stream.sink.frames) == [Start, Token]
    assert stream.source.closed


def test_a_fault_in_looking_after_the_session_costs_neither_answer_nor_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stream(FakeSource(Delta("a")))
    stream.keeper.look_fails = ZeroDivisionError("a bug in the session")
    stream.begin()
    stream.keeper.wait_for_looks()
    stream.clock.advance(DEADLINE)
    outcome = stream.end()
    assert_whole(stream, outcome)
    assert reason(outcome) == "deadline"
    assert "looking after the session failed" in caplog.text


# The model's connection


def test_a_connection_that_was_read_to_its_end_is_left_to_the_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "DRAIN_SECONDS", PATIENCE_SECONDS)
    stream = Stream(FakeSource(Delta("a"), FINISHED)).begin()
    stream.sink.wait_until(lambda: any(is_terminal(sealed.frame) for sealed in stream.sink.frames))
    assert not stream.source.aborted
    stream.source.says(Break.OFF)
    assert_whole(stream, stream.end())
    assert not stream.source.aborted


def test_a_model_that_never_closes_its_stream_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "DRAIN_SECONDS", OFTEN)
    stream = Stream(FakeSource(Delta("a"), FINISHED))
    assert_whole(stream, stream.move())
    assert stream.source.aborted
