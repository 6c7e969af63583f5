"""Enhanced subscription filters: every operator, groups, and what isn't one."""

from typing import Any

import pytest

from local.edge.appsync_filter import MalformedFilterError, SubscriptionFilter

EVENT = {
    "text": "streaming",
    "number": 5,
    "ratio": 0.5,
    "flag": True,
    "nothing": None,
    "tags": ["a", "b", 1],
    "inner": {"text": "deep", "more": {"number": 7}},
}


def rule(name: str, operator: str, value: Any) -> dict[str, Any]:
    return {"fieldName": name, "operator": operator, "value": value}


def admits(*groups: list[dict[str, Any]]) -> bool:
    return SubscriptionFilter.parse({"filterGroup": [{"filters": group} for group in groups]}).admits(EVENT)


@pytest.mark.parametrize(
    ("operator", "name", "passing", "failing"),
    [
        ("eq", "text", ["streaming"], ["Streaming", "", 5, True]),
        ("eq", "number", [5, 5.0], [6, "5", True]),
        ("eq", "flag", [True], [False, 1, "true"]),
        ("eq", "nothing", [], ["", 0, False]),
        ("eq", "absent", [], ["x", 0, False]),
        ("eq", "inner.text", ["deep"], ["text"]),
        ("eq", "inner.more.number", [7], [8]),
        ("eq", "text.more", [], ["x"]),
        ("ne", "text", ["x", 5], ["streaming"]),
        ("ne", "absent", ["x"], []),
        ("ne", "flag", [False, 1], [True]),
        ("lt", "number", [6, 5.5], [5, 4, "6"]),
        ("le", "number", [5, 6], [4]),
        ("lte", "number", [5, 6], [4]),
        ("gt", "number", [4], [5, 6]),
        ("ge", "number", [5, 4], [6]),
        ("gte", "number", [5, 4], [6]),
        ("gt", "text", ["stream"], ["t", 1]),
        ("lt", "nothing", [], [1, "x"]),
        ("gt", "flag", [], [0]),
        ("between", "number", [[5, 5], [1, 9], [4.5, 5.5]], [[6, 9], [1, 4], ["1", "9"]]),
        ("between", "absent", [], [[0, 1]]),
        ("contains", "text", ["ream", ""], ["x", 5]),
        ("contains", "tags", ["a", 1], ["c", True]),
        ("contains", "nothing", [], ["x"]),
        ("notContains", "text", ["x"], ["ream"]),
        ("notContains", "absent", ["x"], []),
        ("beginsWith", "text", ["stream", ""], ["ream"]),
        ("beginsWith", "number", [], ["5"]),
        ("in", "text", [["x", "streaming"]], [["x"], []]),
        ("in", "flag", [[True]], [[1]]),
        ("notIn", "text", [["x"], []], [["streaming"]]),
        ("notIn", "absent", [["x"]], []),
        ("containsAny", "tags", [["z", "b"]], [["z"], []]),
        ("containsAny", "text", [["z", "ream"]], [["z"]]),
    ],
)
def test_an_operator_lets_pass_what_it_says(operator: str, name: str, passing: list[Any], failing: list[Any]) -> None:
    for value in passing:
        assert admits([rule(name, operator, value)]), value
    for value in failing:
        assert not admits([rule(name, operator, value)]), value


def test_every_rule_of_a_group_and_any_of_the_groups() -> None:
    yes, no = rule("number", "eq", 5), rule("number", "eq", 6)
    assert admits([yes, yes])
    assert not admits([yes, no])
    assert admits([no], [yes])
    assert not admits([no, yes], [yes, no])
    assert not admits()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        "x",
        {"filterGroup": {}},
        {"filterGroup": [{}]},
        {"filterGroup": [{"filters": []}]},
        {"filterGroup": [{"filters": [{}]}]},
        {"filterGroup": [{"filters": [rule("x", "like", 1)]}]},
        {"filterGroup": [{"filters": [{"fieldName": "x", "operator": "eq"}]}]},
        {"filterGroup": [{"filters": [rule("x", "eq", None)]}]},
        {"filterGroup": [{"filters": [rule("x", "eq", ["x"])]}]},
        {"filterGroup": [{"filters": [rule("x", "in", "x")]}]},
        {"filterGroup": [{"filters": [rule("x", "between", [1])]}]},
        {"filterGroup": [{"filters": [rule("x", "gt", True)]}]},
    ],
)
def test_what_is_no_filter_lets_nobody_subscribe(document: Any) -> None:
    with pytest.raises(MalformedFilterError):
        SubscriptionFilter.parse(document)
