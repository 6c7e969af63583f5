"""What is said of a race, as a table and as JSON."""

# ruff: noqa: RUF001 - the dash for what there is no figure for

import json
import re
from typing import Any, cast

from tokenstream_client.assembler import Arrivals
from tokenstream_client.client import Client
from tokenstream_client.command.contestant import UNFINISHED, Contestant, Run
from tokenstream_client.command.entries import Entry
from tokenstream_client.command.race_document import document
from tokenstream_client.command.race_table import progress_lines, table
from tokenstream_client.figures import Figures

FIGURES = Figures(time_to_first_token_ms=212.34, median_gap_ms=9.94, p95_gap_ms=18.26, total_ms=1912.04)


def raced(entry: Entry, *runs: Run) -> Contestant:
    contestant = Contestant(entry, cast("Client", object()))
    contestant.runs.extend(runs)
    return contestant


def run(**fields: Any) -> Run:
    usual = {"outcome": "end_turn", "delivery": "direct", "attempt": 1, "connect_ms": 31.0, "text": "Hello"}
    return Run(**{**usual, "figures": FIGURES, "arrivals": Arrivals(received=60), **fields})


def rejected() -> Run:
    return Run(outcome="throttled", message="No.", connect_ms=31.0)


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def row(*runs: Run) -> dict[str, str]:
    head, line, *_ = table([raced(Entry("websocket"), *runs)])
    return dict(zip(cells(head), cells(line), strict=True))


def test_the_table_has_a_line_for_everybody_and_its_columns_stand_below_each_other() -> None:
    lines = table(
        [
            raced(Entry("url"), run()),
            raced(Entry("appsync", "queued"), run(delivery="queued", figures=Figures(time_to_first_token_ms=1234))),
            raced(Entry("rest"), rejected()),
            Contestant(Entry("websocket", "queued"), None),
        ]
    )
    assert lines == [
        "path       delivery  first token  median gap  p95 gap     total  messages  duplicates  order  outcome",
        "url        direct         212 ms      9.9 ms    18 ms  1,912 ms        60           0  kept   end_turn",
        "appsync    queued       1,234 ms           –        –         –        60           0  kept   end_turn",
        "rest       –                   –           –        –         –         –           –  –      throttled: No.",
        "websocket  queued              –           –        –         –         –           –  –      not deployed",
        "All texts are the same: 5 characters.",
    ]


def test_messages_that_came_twice_late_or_behind_a_lost_connection_are_told_apart() -> None:
    told = row(run(arrivals=Arrivals(received=70, duplicates=8, reordered=3), resumes=2, attempt=2))
    assert told["messages"] == "62"
    assert told["duplicates"] == "8"
    assert told["order"] == "repaired 3, resumed 2"
    assert told["outcome"] == "end_turn, attempt 2"


def test_of_several_rounds_medians_and_every_outcome_are_shown() -> None:
    slow = run(figures=Figures(time_to_first_token_ms=999), arrivals=Arrivals(received=64, duplicates=2), resumes=1)
    contestants = [raced(Entry("websocket"), run(), slow, run(), rejected())]
    lines = table(contestants)
    assert cells(lines[1])[2] == "212 ms"
    assert cells(lines[1])[6:] == ["60", "2", "resumed 1", "3x end_turn, 1x throttled: No."]
    assert lines[2:] == [
        "Times and messages are medians of 4 rounds; duplicates and order are of all of them.",
        "All texts are the same: 5 characters.",
    ]


def test_an_answer_that_was_cut_short_does_not_count_among_whole_ones() -> None:
    early = Figures(time_to_first_token_ms=1, total_ms=2)
    told = row(run(), run(outcome="cancelled", figures=early), run(outcome=UNFINISHED, figures=early))
    assert (told["first token"], told["total"]) == ("212 ms", "1,912 ms")
    assert row(run(outcome="cancelled", figures=early))["total"] == "2.0 ms"


def test_different_texts_are_no_error_and_nothing_is_said_of_them() -> None:
    lines = table([raced(Entry("url"), run()), raced(Entry("rest"), run(text="Hallo"))])
    assert len(lines) == 3
    assert len(table([raced(Entry("url"), run())])) == 2


def test_who_was_not_started_is_told() -> None:
    assert row()["outcome"] == "not started"


def test_the_document_has_every_round_in_milliseconds() -> None:
    failed = run(
        outcome="model_error",
        message="It broke off.",
        arrivals=Arrivals(received=9, duplicates=2, reordered=3, void=1),
        resumes=4,
        figures=Figures(),
        delivery="queued",
    )
    absent = Contestant(Entry("appsync", "queued"), None)
    told = document([raced(Entry("websocket"), run(), failed), absent], interrupted=True)
    figures = {"firstTokenMs": 212.3, "medianGapMs": 9.9, "p95GapMs": 18.3, "totalMs": 1912.0}
    none: dict[str, None] = dict.fromkeys(figures)
    assert json.loads(json.dumps(told)) == {
        "interrupted": True,
        "sameText": False,
        "contestants": [
            {
                "path": "websocket",
                "delivery": "queued",
                "deployed": True,
                "medians": {**figures, "messages": 60},
                "rounds": [
                    {
                        "outcome": "end_turn",
                        "error": None,
                        "delivery": "direct",
                        "attempt": 1,
                        "connectMs": 31.0,
                        **figures,
                        "messages": 60,
                        "duplicates": 0,
                        "reordered": 0,
                        "void": 0,
                        "resumes": 0,
                        "characters": 5,
                    },
                    {
                        "outcome": "model_error",
                        "error": {"code": "model_error", "message": "It broke off."},
                        "delivery": "queued",
                        "attempt": 1,
                        "connectMs": 31.0,
                        **none,
                        "messages": 7,
                        "duplicates": 2,
                        "reordered": 3,
                        "void": 1,
                        "resumes": 4,
                        "characters": 5,
                    },
                ],
            },
            {
                "path": "appsync",
                "delivery": "queued",
                "deployed": False,
                "medians": {**none, "messages": None},
                "rounds": [],
            },
        ],
    }


def test_a_line_on_the_way_says_who_is_how_far() -> None:
    on_its_way = raced(Entry("websocket", "queued"))
    on_its_way.progress.state = "connecting"
    assert progress_lines([on_its_way])[1:] == ["websocket:queued  connecting"]
    on_its_way.progress.state = "streaming"
    on_its_way.progress.first_token_ms = 212.3
    on_its_way.progress.characters, on_its_way.progress.messages = 1204, 31
    assert progress_lines([on_its_way]) == [
        "path              state              first token  characters  messages",
        "websocket:queued  streaming               212 ms       1,204        31",
    ]
