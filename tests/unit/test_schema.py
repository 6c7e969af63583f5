import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import UNSET

from tests.fakes.frames import Attempt
from tokenstream.errors import ErrorCode
from tokenstream.frames import (
    Complete,
    Delivery,
    Error,
    ErrorDetail,
    Frame,
    Reasoning,
    Start,
    StopReason,
    Timings,
    Token,
    Usage,
    encode_heartbeat,
    seal,
)
from tokenstream.frames import (
    Path as FramePath,
)
from tokenstream.schema import frames_schema, main

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "docs" / "frames.schema.json"

validator = Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))

positive = st.integers(1, 2**53)
counts = st.integers(0, 2**53)
numbered: dict[str, st.SearchStrategy[Any]] = {
    "session_id": st.uuids().map(str),
    "attempt": positive,
    "sequence": positive,
}
texts = st.text(max_size=50)
details = st.builds(ErrorDetail, st.sampled_from(ErrorCode), texts, st.booleans(), st.just(UNSET) | texts)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Start,
        **numbered,
        model=texts,
        path=st.sampled_from(get_args(FramePath)),
        delivery=st.sampled_from(get_args(Delivery)),
    ),
    st.builds(Token, **numbered, token=texts),
    st.builds(Reasoning, **numbered, token=texts),
    st.builds(
        Complete,
        **numbered,
        stop_reason=st.sampled_from(get_args(StopReason)),
        usage=st.builds(Usage, counts, counts),
        timings=st.builds(Timings, st.none() | counts, counts),
        model_stop_reason=st.just(UNSET) | texts,
    ),
    st.builds(Error, **numbered, error=details),
)


@given(frames)
@settings(max_examples=300, deadline=None)
def test_every_frame_that_can_be_made_is_as_published(frame: Frame) -> None:
    validator.validate(json.loads(seal(frame).json))


def test_a_heartbeat_is_as_published() -> None:
    validator.validate(json.loads(encode_heartbeat("session")))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "tokens"},
        {"sequence": 0},
        {"attempt": 0},
        {"sequence": "1"},
        {"token": None},
        {"sessionId": 1},
    ],
)
def test_what_is_no_frame_is_not_as_published(change: dict[str, object]) -> None:
    """A schema that takes everything would prove nothing."""
    document = json.loads(Attempt().token("a").json)
    assert validator.is_valid(document)
    assert not validator.is_valid(document | change)


@pytest.mark.parametrize("made", [Attempt.start, Attempt.complete, lambda attempt: attempt.token("a")])
def test_no_field_of_a_frame_can_be_left_out(made: Any) -> None:
    document = json.loads(made(Attempt()).json)
    for field in document:
        assert not validator.is_valid({name: value for name, value in document.items() if name != field}), field


def test_the_published_schema_is_a_schema_and_up_to_date() -> None:
    Draft202012Validator.check_schema(json.loads(frames_schema()))
    assert PUBLISHED.read_text(encoding="utf-8") == frames_schema()
    assert main(["--check", str(PUBLISHED)]) == 0


def test_a_schema_that_is_out_of_date_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "frames.schema.json"
    stale.write_text(frames_schema().replace('"retryable"', '"temporary"'), encoding="utf-8")
    assert main(["--check", str(stale)]) == 1
    assert str(stale) in capsys.readouterr().err
    assert main([str(stale)]) == 0
    assert main(["--check", str(stale)]) == 0


def test_the_schema_is_the_same_in_every_process(tmp_path: Path) -> None:
    """An order that follows the hashes of strings would make the check fail at random."""
    for seed in ("1", "2"):
        written = tmp_path / seed
        subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "tokenstream.schema", str(written)],
            check=True,
            env={"PYTHONPATH": str(REPOSITORY / "layers" / "tokenstream"), "PYTHONHASHSEED": seed},
        )
        assert written.read_text(encoding="utf-8") == frames_schema()
