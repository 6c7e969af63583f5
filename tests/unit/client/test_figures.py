import pytest

from tests.unit.client.fake_stack import JsonFrame, complete, error, numbered, start, token
from tokenstream_client.figures import Figures, figures_of, median_figures, nearest_rank
from tokenstream_client.frames import Frame, Heartbeat, Unknown, parse

NOTHING = Figures()


def arriving(*arrivals: tuple[JsonFrame, float]) -> list[Frame]:
    frames = []
    for message, moment in zip(numbered(*(frame for frame, _ in arrivals)), (at for _, at in arrivals), strict=True):
        frame = parse(message, moment)
        assert not isinstance(frame, Heartbeat | Unknown)
        frames.append(frame)
    return frames


def test_gaps_lie_between_frames_with_text_and_times_count_from_the_request() -> None:
    frames = arriving(
        (start(), 100),
        ({"type": "reasoning", "token": "hm"}, 150),
        (token(""), 160),
        (token("a"), 200),
        (token("b"), 210),
        (token("c"), 250),
        (token("d"), 252),
        (complete(), 300),
    )
    assert figures_of(frames) == Figures(time_to_first_token_ms=200, median_gap_ms=10, p95_gap_ms=40, total_ms=300)


def test_a_single_frame_with_text_has_no_gap() -> None:
    frames = arriving((start(), 1), (token("all"), 5), (complete(), 6))
    assert figures_of(frames) == Figures(time_to_first_token_ms=5, total_ms=6)


def test_a_frame_that_overtook_others_can_be_read_only_behind_them() -> None:
    frames = arriving((start(), 900), (token("a"), 200), (token("b"), 1000), (token("c"), 300), (complete(), 400))
    assert figures_of(frames) == Figures(time_to_first_token_ms=900, median_gap_ms=50, p95_gap_ms=100, total_ms=1000)


def test_an_answer_that_breaks_off_has_no_total_and_one_that_fails_has_one() -> None:
    broken = arriving((start(), 1), (token("a"), 5))
    assert figures_of(broken) == Figures(time_to_first_token_ms=5)
    assert figures_of([*broken, *arriving((error(), 9))]).total_ms == 9


def test_an_answer_without_text_has_no_time_to_its_first_token() -> None:
    assert figures_of(arriving((start(), 1), (complete("cancelled"), 5))) == Figures(total_ms=5)
    assert figures_of([]) == NOTHING


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 95, None),
        ([7], 95, 7),
        (range(1, 21), 95, 19),
        (range(1, 22), 95, 20),
        (range(1, 101), 95, 95),
        (range(100, 0, -1), 50, 50),
        ([3, 1, 2], 0, 1),
        ([3, 1, 2], 100, 3),
    ],
)
def test_the_nearest_rank_is_always_a_value_that_occurred(
    values: list[float], percent: int, expected: float | None
) -> None:
    assert nearest_rank(list(values), percent) == expected


def test_medians_over_rounds_leave_out_what_a_round_has_not() -> None:
    rounds = [
        Figures(time_to_first_token_ms=100, total_ms=900),
        Figures(time_to_first_token_ms=300, median_gap_ms=5),
        Figures(time_to_first_token_ms=120, median_gap_ms=6),
    ]
    assert median_figures(rounds) == Figures(time_to_first_token_ms=120, median_gap_ms=5.5, total_ms=900)
    assert median_figures([]) == NOTHING
