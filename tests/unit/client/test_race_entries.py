import argparse

import pytest

from tokenstream_client.command.entries import ALL, Entry, parse_entries


def test_paths_are_named_with_their_delivery_or_without() -> None:
    assert parse_entries("url, appsync:queued,websocket:direct") == (
        Entry("url"),
        Entry("appsync", "queued"),
        Entry("websocket", "direct"),
    )


def test_what_the_help_names_as_the_default_can_be_given() -> None:
    assert parse_entries(",".join(map(str, ALL))) == ALL


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pigeon", "'pigeon' is no path; choose from url, rest, websocket, appsync"),
        ("url,", "'' is no path"),
        ("websocket:slow", "'slow' is no delivery; choose from direct, queued"),
        ("websocket:", "'' is no delivery"),
        ("rest:queued", "rest:queued: the path rest has no queued delivery; websocket and appsync have it"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(text: str, told: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=told):
        parse_entries(text)
