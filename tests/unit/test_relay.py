import json
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.fakes.frames import MODEL, SESSION
from tokenstream.errors import ModelError
from tokenstream.frames import (
    STOP_REASONS,
    Complete,
    Error,
    Reasoning,
    Sealed,
    Start,
    Timings,
    Token,
    Usage,
    is_terminal,
    unseal,
)
from tokenstream.relay import IllegalTransition, Relay, State
from tokenstream.sources import Delta, ReasoningDelta

SMALLEST_FRAME_BYTES = 512
MODEL_FAILED = ModelError("The model failed.", retryable=True)

# What takes more room in JSON than in a text, or breaks where a text is cut at a byte.
awkward_texts = st.text(st.sampled_from('\x00\x1f\x85"\\\n\u2028/é😀👩\u200d🚀\u202e\u05e9\u05dca'), max_size=300)
texts = st.text(max_size=20) | awkward_texts | st.builds(str.__mul__, awkward_texts, st.integers(1, 20))
deltas = st.builds(Delta, texts) | st.builds(ReasoningDelta, texts)


def new_relay(*, max_frame_bytes: int = SMALLEST_FRAME_BYTES, attempt: int = 1) -> Relay:
    return Relay(
        session_id=SESSION,
        attempt=attempt,
        model=MODEL,
        path="appsync",
        delivery="queued",
        started_at=100.0,
        max_frame_bytes=max_frame_bytes,
    )


def joined(sealed: list[Sealed]) -> list[tuple[type, str]]:
    """Return the texts in their order; neighbours of a kind are one."""
    pieces = [(type(s.frame), s.frame.token) for s in sealed if isinstance(s.frame, Token | Reasoning)]
    return [(kind, "".join(text for _, text in run)) for kind, run in groupby(pieces, lambda piece: piece[0])]


def expected(added: list[Delta | ReasoningDelta]) -> list[tuple[type, str]]:
    pieces = [(Token if isinstance(delta, Delta) else Reasoning, delta.text) for delta in added if delta.text]
    return [(kind, "".join(text for _, text in run)) for kind, run in groupby(pieces, lambda piece: piece[0])]


class AnyInterleaving(RuleBasedStateMachine):
    """Asks a relay for everything in any order and holds it to what a client is promised."""

    def __init__(self) -> None:
        super().__init__()
        self.relay = new_relay()
        self.state = State.OPEN
        self.waiting: list[Delta | ReasoningDelta] = []
        self.given: list[Delta | ReasoningDelta] = []
        self.taken: list[Sealed] = []
        self.bytes_when_taken: list[bytes] = []

    @rule(delta=deltas)
    def add(self, delta: Delta | ReasoningDelta) -> None:
        if self.legal(self.state is State.OPEN, lambda: self.relay.add(delta, 101.0)) and delta.text:
            self.waiting.append(delta)

    @rule()
    def take(self) -> None:
        batch = self.relay.take()
        if self.state is State.ABANDONED:
            assert batch == []
        else:
            self.given += self.waiting
            self.waiting = []
        self.keep(batch)

    # One rule for all ends: most runs would be over after a few steps otherwise.
    @rule(
        end=st.sampled_from(["complete", "fail", "abandon"]),
        reason=st.sampled_from(sorted(STOP_REASONS)) | st.text(max_size=10),
    )
    def end(self, end: str, reason: str) -> None:
        match end:
            case "complete":
                move, legal, state = (
                    partial(self.relay.complete, reason, Usage(1, 2), 102.0),
                    {State.OPEN},
                    State.ENDING,
                )
            case "fail":
                move, legal, state = partial(self.relay.fail, MODEL_FAILED), {State.OPEN}, State.ENDING
            case _:
                move, legal, state = partial(self.relay.abandon), {State.OPEN, State.ENDING}, State.ABANDONED
        if self.legal(self.state in legal, move):
            self.state = state
            if state is State.ABANDONED:
                self.waiting = []

    @rule()
    def take_terminal(self) -> None:
        legal = self.state is State.ENDING and not self.waiting and bool(self.taken)
        if self.legal(legal, lambda: self.keep([self.relay.take_terminal()])):
            self.state = State.ENDED

    @invariant()
    def sequence_counts_from_one_without_a_gap(self) -> None:
        assert [sealed.frame.sequence for sealed in self.taken] == list(range(1, len(self.taken) + 1))

    @invariant()
    def start_comes_first_and_once(self) -> None:
        assert [isinstance(sealed.frame, Start) for sealed in self.taken] == [
            index == 0 for index in range(len(self.taken))
        ]

    @invariant()
    def the_terminal_frame_is_the_last_and_the_only_one(self) -> None:
        ends = [index for index, sealed in enumerate(self.taken) if is_terminal(sealed.frame)]
        assert ends == ([len(self.taken) - 1] if self.state is State.ENDED else [])

    @invariant()
    def the_text_is_the_models_in_its_order(self) -> None:
        assert joined(self.taken) == expected(self.given)

    @invariant()
    def a_frame_fits_and_keeps_its_bytes(self) -> None:
        assert [sealed.json for sealed in self.taken] == self.bytes_when_taken
        assert all(len(sealed.json) <= SMALLEST_FRAME_BYTES for sealed in self.taken)

    @invariant()
    def what_waits_is_known(self) -> None:
        assert self.relay.state is self.state
        assert self.relay.pending == bool(self.waiting)

    def keep(self, batch: list[Sealed]) -> None:
        assert [unseal(sealed.json) for sealed in batch] == batch
        self.taken += batch
        self.bytes_when_taken += [bytes(bytearray(sealed.json)) for sealed in batch]

    def legal(self, legal: bool, move: Any) -> bool:
        if legal:
            move()
        else:
            before = self.relay.state
            with pytest.raises(IllegalTransition):
                move()
            assert self.relay.state is before
        return legal


TestAnyInterleaving = AnyInterleaving.TestCase
# Long texts take a busy machine long to make.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestAnyInterleaving.settings = settings(unhurried, max_examples=200, stateful_step_count=30)


@given(
    text=texts,
    cuts=st.lists(st.integers(0, 400), max_size=20),
    takes=st.sets(st.integers(0, 20)),
    max_frame_bytes=st.integers(SMALLEST_FRAME_BYTES, 700),
)
@unhurried
def test_a_text_arrives_as_it_is_however_the_model_cuts_it(
    text: str, cuts: list[int], takes: set[int], max_frame_bytes: int
) -> None:
    relay = new_relay(max_frame_bytes=max_frame_bytes)
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    frames: list[Sealed] = []
    for index, (begin, end) in enumerate(pairwise(edges)):
        relay.add(Delta(text[begin:end]), 101.0)
        if index in takes:
            frames += relay.take()
    relay.complete("end_turn", Usage(), 102.0)
    frames += [*relay.take(), relay.take_terminal()]
    assert "".join(json.loads(sealed.json).get("token", "") for sealed in frames) == text
    assert max(len(sealed.json) for sealed in frames) <= max_frame_bytes


def test_deltas_that_pile_up_leave_as_one_frame() -> None:
    relay = new_relay()
    relay.take()
    for text in ("one ", "two ", "three"):
        relay.add(Delta(text), 101.0)
    [sealed] = relay.take()
    assert sealed.frame == Token(session_id=SESSION, attempt=1, sequence=2, token="one two three")


def test_the_first_token_leaves_with_the_first_take() -> None:
    relay = new_relay()
    relay.add(Delta("H"), 101.0)
    start, token = relay.take()
    assert start.frame == Start(
        session_id=SESSION, attempt=1, sequence=1, model=MODEL, path="appsync", delivery="queued"
    )
    assert token.frame == Token(session_id=SESSION, attempt=1, sequence=2, token="H")


def test_reasoning_is_never_joined_with_the_answer() -> None:
    relay = new_relay()
    for delta in (ReasoningDelta("a"), ReasoningDelta("b"), Delta("c"), ReasoningDelta("d"), Delta("e"), Delta("f")):
        relay.add(delta, 101.0)
    assert joined(relay.take()) == [(Reasoning, "ab"), (Token, "c"), (Reasoning, "d"), (Token, "ef")]


def test_a_client_that_keeps_alive_sees_start_before_any_token_and_once() -> None:
    relay = new_relay()
    assert [type(sealed.frame) for sealed in relay.take()] == [Start]
    assert relay.take() == []


def test_empty_deltas_make_no_frames_and_are_no_first_token() -> None:
    relay = new_relay()
    relay.add(Delta(""), 101.0)
    relay.add(ReasoningDelta(""), 101.0)
    assert not relay.pending
    assert relay.first_token_at is None
    assert [type(sealed.frame) for sealed in relay.take()] == [Start]


@pytest.mark.parametrize("character", ["a", '"', "\x00", "\x85", "é", "\u2028", "😀"])
def test_a_long_text_of_any_character_fits_the_frames(character: str) -> None:
    relay = new_relay()
    text = character * 100_000
    relay.add(Delta(text), 101.0)
    frames = relay.take()
    assert joined(frames) == [(Token, text)]
    assert max(len(sealed.json) for sealed in frames) <= SMALLEST_FRAME_BYTES


def test_the_client_is_told_how_long_the_first_token_and_the_whole_took() -> None:
    relay = new_relay()
    relay.add(ReasoningDelta("Hm"), 100.25)
    relay.add(Delta("Yes"), 101.0)
    relay.complete("end_turn", Usage(3, 4), 102.5)
    relay.take()
    assert relay.take_terminal().frame == Complete(
        session_id=SESSION,
        attempt=1,
        sequence=4,
        stop_reason="end_turn",
        usage=Usage(3, 4),
        timings=Timings(250, 2500),
    )


def test_an_answer_without_a_token_has_no_time_to_its_first() -> None:
    relay = new_relay()
    relay.complete("refusal", Usage(), 101.0)
    relay.take()
    terminal = relay.take_terminal().frame
    assert isinstance(terminal, Complete)
    assert terminal.timings == Timings(None, 1000)


def test_a_clock_that_is_set_back_gives_no_negative_times() -> None:
    relay = new_relay()
    relay.add(Delta("a"), 99.0)
    relay.complete("end_turn", Usage(), 98.0)
    relay.take()
    terminal = relay.take_terminal().frame
    assert isinstance(terminal, Complete)
    assert terminal.timings == Timings(0, 0)


def test_a_reason_that_nobody_knows_becomes_other_with_the_models_word() -> None:
    relay = new_relay()
    relay.complete("model_context_window_exceeded", Usage(), 101.0)
    relay.take()
    document = json.loads(relay.take_terminal().json)
    assert (document["stopReason"], document["modelStopReason"]) == ("other", "model_context_window_exceeded")


def test_a_failure_tells_code_and_message() -> None:
    relay = new_relay(attempt=3)
    relay.fail(MODEL_FAILED)
    relay.take()
    terminal = relay.take_terminal().frame
    assert isinstance(terminal, Error)
    assert (terminal.attempt, terminal.error.code, terminal.error.retryable) == (3, "model_error", True)


@pytest.mark.parametrize("begun", [False, True])
def test_text_that_waits_is_not_overtaken_by_the_end(begun: bool) -> None:
    relay = new_relay()
    frames = relay.take() if begun else []
    relay.add(Delta("a"), 101.0)
    relay.complete("end_turn", Usage(), 102.0)
    with pytest.raises(IllegalTransition):
        relay.take_terminal()
    assert relay.state is State.ENDING
    frames += [*relay.take(), relay.take_terminal()]
    assert [type(sealed.frame) for sealed in frames] == [Start, Token, Complete]


@pytest.mark.parametrize("ending", [False, True])
def test_of_an_attempt_that_is_given_up_nothing_more_leaves(ending: bool) -> None:
    relay = new_relay()
    relay.take()
    relay.add(Delta("a"), 101.0)
    if ending:
        relay.complete("end_turn", Usage(), 102.0)
    relay.abandon()
    assert not relay.pending
    assert relay.take() == []
    with pytest.raises(IllegalTransition):
        relay.take_terminal()


def test_a_frame_too_small_for_its_envelope_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="512"):
        new_relay(max_frame_bytes=SMALLEST_FRAME_BYTES - 1)
