from pathlib import Path

import pytest

from benchmarks.comparison import report
from benchmarks.picture import CONDITIONS, draw, tokens_drawn
from benchmarks.result import Result, Row, merged, read, write
from benchmarks.table import full, summary

ROW = '{"what": "a", "case": "b", "unit": "", "rounds": [1.0]}'


def result(*rows: Row, machine: str = "2 cores") -> Result:
    return Result("2026-11-21T10:00:00+00:00", machine, "abc1234", rows)


def lag(*rounds: float, case: str = "websocket, 80/s", reach: float | None = 15) -> Row:
    return Row("lag p50", case, "ms", rounds, reach)


def test_a_result_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    written = result(lag(1.5, 2.5), lag(3.0, case="url", reach=None))
    write(written, tmp_path / "bench.json")
    assert read(tmp_path / "bench.json") == written


@pytest.mark.parametrize(
    "rows", ["5", '[{"what": "a", "case": "b", "unit": "", "rounds": []}]', "[" + ", ".join([ROW] * 2) + "]"]
)
def test_a_file_that_is_no_result_is_refused_by_its_name(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(f'{{"date": "", "machine": "", "commit": "", "rows": {rows}}}')
    with pytest.raises(ValueError, match=r"bench\.json is no result"):
        read(path)


def test_the_rounds_of_a_figure_are_put_together_and_others_kept_apart() -> None:
    rounds = [[lag(1.0), lag(7.0, case="url")], [lag(3.0), lag(8.0, case="url")], [lag(2.0)]]
    assert merged(rounds) == [lag(1.0, 3.0, 2.0), lag(7.0, 8.0, case="url")]


def test_the_median_decides_not_the_best_or_the_worst_round() -> None:
    assert lag(1.0, 14.0, 99.0).reached
    assert not lag(1.0, 16.0, 17.0).reached
    assert (lag(1.0, 16.0, 17.0).figure, lag(1.0, 16.0, 17.0).spread) == (16.0, (1.0, 17.0))
    assert lag(1000.0, reach=None).reached


def test_a_figure_that_misses_its_limit_is_seen_in_the_summary_whatever_the_others_do() -> None:
    rows = [lag(1.0, case="websocket, 80/s"), lag(16.0, case="websocket, 300/s"), lag(3.0, case="appsync, 80/s")]
    lines = summary(result(*rows, Row("only told", "url", "s", (5.0,))))
    assert [line.split()[0] for line in lines if "lag p50" in line] == ["MISSED", "reached"]
    assert any("websocket, 300/s" in line for line in lines)
    assert not any("only told" in line for line in lines)
    assert lines[-1] == "2 of 3 figures reach their limit."


def test_every_figure_can_be_asked_for() -> None:
    assert [line.split("  ")[0] for line in full(result(lag(1.0), lag(16.0), lag(5.0, reach=None)))][1:] == [
        "reached",
        "MISSED",
        "",
    ]


def test_a_regression_is_told_first_by_its_factor() -> None:
    before = result(lag(1.0, 1.1), lag(10.0, 10.5, case="url"), lag(5.0, case="sns"))
    after = result(lag(2.0, 2.2), lag(5.0, 5.2, case="url"), lag(20.0, case="sns"), lag(1.0, case="appsync"))
    lines, worse = report(before, after)
    assert worse
    assert [line.split()[0] for line in lines[1:]] == ["worse", "worse", "better"]
    assert "sns" in lines[1]
    assert "3 figures in both" in lines[0]


def test_noise_is_no_regression() -> None:
    overlapping = report(result(lag(1.0, 3.0)), result(lag(2.5, 4.5)))
    close = report(result(lag(1.0)), result(lag(1.1)))
    for lines, worse in (overlapping, close):
        assert not worse
        assert lines[-1] == "nothing has changed beyond noise"


def test_a_slower_naive_way_is_nobodys_regression() -> None:
    before, after = (result(Row("naive: CPU for 1,000 tokens", "sns", "s", (seconds,))) for seconds in (1.0, 9.0))
    assert report(before, after)[1] is False


def test_a_figure_that_was_nothing_before_is_worse_when_it_is_something() -> None:
    assert report(result(lag(0.0)), result(lag(1.0)))[1]
    assert not report(result(lag(0.0)), result(lag(0.0)))[1]


def test_results_without_a_common_figure_are_not_said_to_be_the_same() -> None:
    with pytest.raises(ValueError, match="no figure in common"):
        report(result(lag(1.0)), result(lag(1.0, case="url")))


def test_results_of_two_machines_are_said_to_be_such() -> None:
    lines, _ = report(result(lag(1.0)), result(lag(1.0), machine="64 cores"))
    assert "only ratios" in lines[1]


def drawable() -> Result:
    rows = []
    for sink in ("websocket", "appsync", "sns"):
        case = f"{sink}, {CONDITIONS}"
        for way, figure in (("", 12.0), ("naive: ", 9000.0)):
            rows += [Row(f"{way}lag of token {number}", case, "ms", (figure,)) for number in tokens_drawn(500)]
            rows.append(Row(f"{way}CPU for 1,000 tokens", case, "s", (0.25,)))
    return result(*rows, machine="2 cores <& more>")


def test_the_picture_names_its_date_machine_and_commit_and_breaks_no_markup() -> None:
    from xml.etree import ElementTree  # noqa: PLC0415 - of our own making

    picture = draw(drawable())
    text = " ".join(ElementTree.fromstring(picture).itertext())  # noqa: S314 - the same
    assert "2026-11-21, 2 cores <& more>, commit abc1234" in text
    assert picture.count("<polyline") == 6


def test_a_result_without_what_is_drawn_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="lag of token"):
        draw(result(lag(1.0)))
