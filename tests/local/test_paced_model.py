import asyncio
import json
import math
import selectors
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.model.faults import BLOCKED_MESSAGE, FaultSyntaxError, parse_fault
from local.model.interface import (
    Batch,
    ErrorType,
    MessageStart,
    MessageStop,
    ModelError,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    Turn,
    WireFaultError,
    WireFaultKind,
)
from local.model.marks import MarkError, parse_marks
from local.model.paced import Pace, PacedModel
from local.model.standing_faults import StandingFaults
from local.model.text import compose, expected_text

T = TypeVar("T")


class WaitsForEverError(Exception):
    pass


class VirtualSelector(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise WaitsForEverError
        self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = VirtualSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def in_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await main()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


@dataclass
class Heard:
    """What a model said, each batch with its seconds since the request; `error` if it broke off."""

    batches: list[tuple[float, Batch]] = field(default_factory=list)
    error: Exception | None = None

    @property
    def events(self) -> list[ModelEvent]:
        return [event for _, batch in self.batches for event in batch]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def stop(self) -> MessageStop:
        last = self.events[-1]
        assert isinstance(last, MessageStop)
        return last

    @property
    def token_seconds(self) -> list[float]:
        return [
            seconds
            for seconds, batch in self.batches
            for event in batch
            if isinstance(event, TextDelta | ReasoningDelta)
        ]


def listen(request: ModelRequest, model: PacedModel | None = None, reading: float = 0) -> Heard:
    """All that the model says, read by a client that takes `reading` seconds for each batch."""
    heard = Heard()

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            async for batch in (model or PacedModel()).stream(request):
                heard.batches.append((clock() - start, batch))
                await asyncio.sleep(reading)
        except (ModelError, WireFaultError, WaitsForEverError) as error:
            heard.error = error

    try:
        in_virtual_time(main)
    except WaitsForEverError as error:
        heard.error = error
    return heard


def ask(prompt: str, **members: Any) -> ModelRequest:
    return ModelRequest(turns=(Turn("user", prompt),), **members)


class TestText:
    def test_the_answer_can_be_known_to_the_character(self) -> None:
        request = ask("Tell me about “rivers” & 🌊")
        assert listen(request).text == expected_text(request)
        assert "“Tell me about “rivers” & 🌊”" in expected_text(request)

    def test_it_has_the_length_asked_for(self) -> None:
        assert len(listen(ask("[[tokens=1000 rate=inf]] hello")).token_seconds) == 1000
        assert len(listen(ask("hello"), PacedModel(length=7)).token_seconds) == 7
        assert listen(ask("[[tokens=0]] hello")).text == ""

    def test_the_pace_does_not_change_the_text(self) -> None:
        assert expected_text(ask("hi")) == expected_text(ask("[[rate=3 ttft=9 reasoning=4]] hi"))

    def test_a_lost_turn_changes_the_text(self) -> None:
        turns = (Turn("user", "one"), Turn("assistant", "two"), Turn("user", "three"))
        whole, short = expected_text(ModelRequest(turns)), expected_text(ModelRequest(turns[2:]))
        assert whole.startswith("Turn 3. ")
        assert short.startswith("Turn 1. ")
        assert whole.split("\n\n", 1)[1] != short.split("\n\n", 1)[1]

    def test_an_altered_turn_or_system_prompt_changes_the_text(self) -> None:
        def text(first: str, system: str | None) -> str:
            return expected_text(
                ModelRequest((Turn("user", first), Turn("assistant", "x"), Turn("user", "y")), system=system)
            )

        assert len({text("a", None), text("b", None), text("a", "be brief")}) == 3

    def test_marks_of_earlier_turns_are_no_orders(self) -> None:
        turns = (Turn("user", "[[fault=access tokens=3]] one"), Turn("assistant", "two"), Turn("user", "three"))
        heard = listen(ModelRequest(turns))
        assert heard.error is None
        assert len(heard.token_seconds) == 120

    @given(st.text())
    def test_dictated_text_comes_back_whole_in_small_pieces(self, text: str) -> None:
        answer = compose(ask("x"), parse_marks(f"[[say={json.dumps(text)}]]")[1])
        assert "".join(answer.text) == text
        assert all(1 <= len(token) <= 12 for token in answer.text)

    @given(st.text(min_size=1), st.integers(1, 400))
    def test_any_prompt_gives_tokens_of_realistic_size(self, prompt: str, tokens: int) -> None:
        answer = compose(ask("[[]] " + prompt.replace("[[", "")), parse_marks(f"[[tokens={tokens}]]")[1])
        assert len(answer.text) == tokens
        assert all(1 <= len(token) <= 12 for token in answer.text)

    def test_a_long_answer_holds_what_breaks_careless_code(self) -> None:
        text = expected_text(ask("[[tokens=3000]] x"))
        assert all(piece in text for piece in ('"', "\\", "\n", "👩‍🚀", "<b>", "東京", "מכתב"))

    def test_max_tokens_cuts_and_says_so(self) -> None:
        whole = listen(ask("[[reasoning=4 tokens=20]] x"))
        cut = listen(ask("[[reasoning=4 tokens=20]] x", max_tokens=10))
        assert (whole.stop.reason, whole.stop.output_tokens) == ("end_turn", 24)
        assert (cut.stop.reason, cut.stop.output_tokens) == ("max_tokens", 10)
        assert len([event for event in cut.events if isinstance(event, TextDelta)]) == 6
        assert listen(ask("[[reasoning=4 tokens=20]] x", max_tokens=24)).stop.reason == "end_turn"
        assert listen(ask("[[reasoning=4 tokens=20]] x", max_tokens=3)).stop.output_tokens == 3

    def test_the_stop_sequence_that_is_complete_first_ends_the_text_before_itself(self) -> None:
        request = ask('[[say="alpha beta gamma delta"]]', stop_sequences=("pha beta ga", "eta", "nowhere"))
        heard = listen(request)
        assert heard.text == expected_text(request) == "alpha b"
        assert (heard.stop.reason, heard.stop.stop_sequence) == ("stop_sequence", "eta")

    def test_reasoning_comes_before_the_text_and_is_no_part_of_it(self) -> None:
        request = ask("[[reasoning=5 tokens=8]] x")
        kinds = [type(event) for event in listen(request).events]
        assert kinds == [MessageStart, *[ReasoningDelta] * 5, *[TextDelta] * 8, MessageStop]
        assert listen(request).text == expected_text(request)


class TestPace:
    def test_tokens_keep_to_the_schedule(self) -> None:
        heard = listen(ask("[[ttft=2 rate=10 tokens=40]] x"))
        assert heard.token_seconds == pytest.approx([2 + i / 10 for i in range(40)])
        assert len(heard.batches) == 40

    def test_a_slow_reader_makes_tokens_late_but_does_not_shift_the_schedule(self) -> None:
        seconds = listen(ask("[[ttft=1 rate=100 tokens=300]] x"), reading=0.25).token_seconds
        assert all(0 <= at - (1 + i / 100) <= 0.26 for i, at in enumerate(seconds))

    def test_tokens_due_together_leave_together(self) -> None:
        heard = listen(ask("[[ttft=1 rate=100 tokens=300]] x"), reading=0.25)
        assert max(len(batch) for _, batch in heard.batches) >= 20
        assert heard.text == expected_text(ask("[[tokens=300]] x"))

    def test_an_unpaced_answer_takes_no_time_but_comes_in_bounded_batches(self) -> None:
        heard = listen(ask("[[ttft=0 rate=inf tokens=1000]] x"))
        assert heard.batches[-1][0] == 0
        assert all(len(batch) <= 66 for _, batch in heard.batches)

    def test_the_message_starts_with_the_first_token_unless_asked(self) -> None:
        together, early = listen(ask("[[ttft=3]] x")), listen(ask("[[ttft=3 head=0.5]] x"))
        assert (together.batches[0][0], len(together.batches[0][1])) == (3, 2)
        assert (early.batches[0][0], len(early.batches[0][1]), early.batches[1][0]) == (0.5, 1, 3)

    def test_an_empty_answer_takes_its_time_too(self) -> None:
        [(seconds, batch)] = listen(ask('[[ttft=3 say=""]] x')).batches
        assert seconds == 3
        assert [type(event) for event in batch] == [MessageStart, MessageStop]

    @given(st.floats(0, 1), st.integers(1, 200))
    def test_jitter_delays_within_the_interval_and_keeps_the_order(self, jitter: float, tokens: int) -> None:
        due = Pace(ttft=1, rate=10, jitter=jitter).schedule(tokens)
        assert due[0] == 1
        assert due == sorted(due)
        assert all(-1e-9 <= at - (1 + i / 10) <= jitter / 10 + 1e-9 for i, at in enumerate(due))
        assert due == Pace(ttft=1, rate=10, jitter=jitter).schedule(tokens)

    def test_marks_override_the_models_own_pace(self) -> None:
        model = PacedModel(Pace(ttft=5, rate=1), length=3)
        assert listen(ask("x"), model).token_seconds == pytest.approx([5, 6, 7])
        assert listen(ask("[[rate=2]] x"), model).token_seconds == pytest.approx([5, 5.5, 6])


class TestMarks:
    def test_they_are_taken_out_of_the_prompt(self) -> None:
        text, marks = parse_marks('Say [[ttft=2 rate=inf]]it[[say="a ]] \\"b\\"\\u0000\\ud83d\\ude42"  tokens=3]] now')
        assert text == "Say it now"
        assert (marks.ttft, marks.rate, marks.tokens, marks.say) == (2, math.inf, 3, 'a ]] "b"\x00🙂')

    @pytest.mark.parametrize("prompt", ["if [[ -f x ]]; then", "[[Wiki link]]", "a[[0]]", "[[", "]]", "x [[y"])
    def test_a_prompts_own_brackets_stay(self, prompt: str) -> None:
        assert parse_marks(prompt)[0] == prompt

    @pytest.mark.parametrize(
        ("prompt", "named"),
        [
            ("[[speed=3]]", "'speed'"),
            ("[[ttft=fast]]", "'ttft'"),
            ("[[ttft=-1]]", "'-1'"),
            ("[[ttft=nan]]", "'nan'"),
            ("[[rate=0]]", "'rate'"),
            ("[[jitter=2]]", "'jitter'"),
            ("[[tokens=1.5]]", "'1.5'"),
            ("[[tokens=100001]]", "'100001'"),
            ("[[reasoning=]]", "'reasoning'"),
            ("[[ttft=1 ttft=2]]", "'ttft'"),
            ("[[ttft=1", "ttft=1|without an end"),
            ("[[ttft=1] x", "without an end"),
            ('[[say="open]]', "'say'"),
            ('[[say="\\ud800"]]', "'say'"),
            ("[[fault=broken]]", "'broken'"),
            ("[[fault=break]]", "'break'"),
            ("[[fault=break:x]]", "'x'"),
            ("[[fault=break:1:2:3]]", "'break:1:2:3'"),
            ("[[fault=throttle:-1]]", "'-1'"),
            ("[[fault=exception:accessDeniedException:3]]", "accessDeniedException"),
            ("[[fault=end:]]", "'end:'"),
            ("[[model=haiku]]", "'model' without a fault"),
        ],
    )
    def test_a_bad_mark_is_refused_by_name(self, prompt: str, named: str) -> None:
        with pytest.raises(MarkError, match=named):
            parse_marks(prompt)
        error = listen(ask(prompt)).error
        assert isinstance(error, ModelError)
        assert error.type is ErrorType.VALIDATION


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("throttle", ErrorType.THROTTLING),
            ("access", ErrorType.ACCESS_DENIED),
            ("notfound", ErrorType.RESOURCE_NOT_FOUND),
            ("validation", ErrorType.VALIDATION),
            ("internal", ErrorType.INTERNAL),
            ("unavailable", ErrorType.SERVICE_UNAVAILABLE),
            ("timeout", ErrorType.MODEL_TIMEOUT),
            ("modelerror", ErrorType.MODEL_ERROR),
            ("notready", ErrorType.MODEL_NOT_READY),
            ("quota", ErrorType.SERVICE_QUOTA_EXCEEDED),
        ],
    )
    def test_a_refusal_comes_before_anything_else(self, fault: str, error: ErrorType) -> None:
        heard = listen(ask(f"[[fault={fault}]] x"))
        assert heard.batches == []
        assert isinstance(heard.error, ModelError)
        assert heard.error.type is error

    def test_the_first_tries_of_one_conversation_fail_then_it_goes_on(self) -> None:
        model, request = PacedModel(), ask("[[fault=throttle:2]] x")
        outcomes = [listen(request, model).error is None for _ in range(4)]
        assert outcomes == [False, False, True, True]
        assert listen(ask("[[fault=throttle:2]] y"), model).error is not None

    def test_a_break_can_be_for_the_first_try_only(self) -> None:
        model, request = PacedModel(), ask("[[fault=break:3:1]] x")
        assert isinstance(listen(request, model).error, WireFaultError)
        assert listen(request, model).text == expected_text(request)

    @pytest.mark.parametrize("fault", ["throttle", "throttle:2", "break:3", "hang:3", "guardrail", "end:pause_turn"])
    def test_a_fault_of_one_model_leaves_the_one_that_takes_its_place_alone(self, fault: str) -> None:
        prompt = f"[[fault={fault} model=haiku]] x"
        model, healthy = PacedModel(), ask(prompt, model="eu.anthropic.claude-sonnet-4-5-v1:0")
        broken = listen(ask(prompt, model="eu.anthropic.claude-haiku-4-5-v1:0"), model)
        assert broken.text != expected_text(healthy) or broken.stop.reason == "pause_turn"
        whole = listen(healthy, model)
        assert (whole.text, whole.stop.reason) == (expected_text(healthy), "end_turn")

    @pytest.mark.parametrize("pace", ["rate=50", "rate=inf", "rate=50 head=0"])
    @pytest.mark.parametrize("tokens", [0, 1, 7])
    @pytest.mark.parametrize("kind", list(WireFaultKind))
    def test_a_stream_breaks_after_exactly_so_many_tokens(self, kind: WireFaultKind, tokens: int, pace: str) -> None:
        request = ask(f"[[fault={kind}:{tokens} {pace} reasoning=2]] x")
        heard = listen(request)
        assert isinstance(heard.error, WireFaultError)
        assert heard.error.kind is kind
        assert heard.events[0] == MessageStart(compose(request, parse_marks("")[1]).input_tokens)
        assert len(heard.token_seconds) == tokens
        assert expected_text(request).startswith(heard.text)

    def test_a_short_answer_breaks_before_its_end(self) -> None:
        heard = listen(ask("[[fault=truncate:50 tokens=5]] x"))
        assert isinstance(heard.error, WireFaultError)
        assert len(heard.token_seconds) == 5
        assert not any(isinstance(event, MessageStop) for event in heard.events)

    def test_an_exception_comes_in_mid_stream(self) -> None:
        heard = listen(ask("[[fault=exception:modelStreamErrorException:4]] x"))
        assert isinstance(heard.error, ModelError)
        assert heard.error.type is ErrorType.MODEL_STREAM_ERROR
        assert len(heard.token_seconds) == 4

    def test_a_hanging_model_waits_for_ever(self) -> None:
        heard = listen(ask("[[fault=hang:4]] x"))
        assert isinstance(heard.error, WaitsForEverError)
        assert len(heard.token_seconds) == 4

    def test_a_guardrails_message_stands_in_place_of_the_answer(self) -> None:
        heard = listen(ask("[[fault=guardrail]] x"))
        assert (heard.text, heard.stop.reason) == (BLOCKED_MESSAGE, "guardrail_intervened")

    @pytest.mark.parametrize(("fault", "reason"), [("refusal", "refusal"), ("end:pause_turn", "pause_turn")])
    def test_the_answer_ends_with_another_reason(self, fault: str, reason: str) -> None:
        request = ask(f"[[fault={fault}]] x")
        heard = listen(request)
        assert (heard.text, heard.stop.reason) == (expected_text(request), reason)


class TestStandingFaults:
    def test_a_fault_holds_for_its_number_of_requests(self) -> None:
        faults = StandingFaults()
        faults.put({"fault": "throttle", "times": 2})
        assert [faults.take("m") is not None for _ in range(3)] == [True, True, False]

    def test_without_a_number_it_stands_until_cleared(self) -> None:
        faults = StandingFaults()
        faults.put({"fault": "break:3"})
        assert all(faults.take("m") == parse_fault("break:3").fault for _ in range(5))
        faults.clear()
        assert faults.take("m") is None

    def test_a_fault_of_one_model_leaves_the_others_alone(self) -> None:
        faults = StandingFaults()
        faults.put({"fault": "access", "model": "a"})
        assert faults.take("b") is None
        assert faults.take("a") is not None

    @pytest.mark.parametrize(
        "wish",
        [
            None,
            {},
            {"fault": 3},
            {"fault": "nonsense"},
            {"fault": "throttle", "times": 0},
            {"fault": "throttle", "times": True},
            {"fault": "throttle", "model": 1},
            {"fault": "throttle", "time": 1},
        ],
    )
    def test_what_cannot_be_read_is_refused(self, wish: object) -> None:
        with pytest.raises(FaultSyntaxError):
            StandingFaults().put(wish)
