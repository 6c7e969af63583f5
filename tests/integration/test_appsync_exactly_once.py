"""Whatever happens to a message, its session ends once, with one answer."""

import json
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fakes.connections_api import BROKEN, LOST_ANSWER
from tests.fakes.prompts import PATIENCE_SECONDS
from tests.integration.appsync_functions import Cloud, Functions, appsync_cloud, appsync_functions
from tests.integration.scripted_endpoint import Exchange, Script, refused, streamed
from tests.integration.websocket_functions import assert_whole, text
from tests.unit.bedrock_messages import TEXTS, anthropic_answer, exception
from tokenstream.session import ENDED
from tokenstream.sessions import LeaseLost

ANSWER = streamed(anthropic_answer())
MODELS: dict[str, Script] = {
    "answers": ANSWER,
    "breaks off": streamed([*anthropic_answer()[:4], exception("throttlingException")]),
    "refuses": refused(400, "ValidationException"),
}
STEPS = [*MODELS, "worker dies", "put again", "cancel", "publishing fails", "answers of publishing are lost"]
TERMINAL = {"complete", "error"}


class Model:
    """Does what the step says; nobody can tell beforehand whether it is called at all."""

    def __init__(self) -> None:
        self.script = ANSWER

    def __call__(self, exchange: Exchange) -> None:
        self.script(exchange)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with appsync_cloud() as cloud:
        yield cloud


def take(functions: Functions, step: str, model: Model, session_id: str) -> None:
    match step:
        case "cancel":
            functions.cancel(session_id)
        case "put again":
            functions.prompts.put(f'{{"sessionId": "{session_id}", "request": {{"prompt": "Hi"}}}}')
        case "worker dies":
            record = functions.prompts.record(wait=False)
            if record is not None:
                with suppress(LeaseLost):  # it would have found the session ended
                    functions.dies(session_id, "lost")
        case _:
            model.script = MODELS.get(step, ANSWER)
            functions.api.always(BROKEN if step == "publishing fails" else None)
            if step == "answers of publishing are lost":
                functions.api.fails(LOST_ANSWER, LOST_ANSWER)
            deliver_one(functions)
            functions.api.always(None)
    functions.prompts.all_come_back()


def deliver_one(functions: Functions) -> None:
    if (record := functions.prompts.record(wait=False)) is not None:
        functions.prompts.deliver_record(lambda event: functions._process(event, None), record)
    if (record := functions.prompts.record(dead=True, wait=False)) is not None:
        functions.recover(json.loads(record["body"])["sessionId"])
        functions.prompts.deliver_record(lambda event: {"batchItemFailures": []}, record, dead=True)


def drain(functions: Functions) -> None:
    """Deliver until nothing is left."""
    give_up_at = monotonic() + PATIENCE_SECONDS
    while functions.prompts.count() or functions.prompts.count(dead=True):
        assert monotonic() < give_up_at, "a message comes back for ever"
        deliver_one(functions)
        functions.prompts.all_come_back()


def distinct(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what a client keeps: delivery is at least once."""
    return list({(frame["attempt"], frame["sequence"]): frame for frame in frames}.values())


@settings(max_examples=15)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=6))
@example(steps=["breaks off"] * 3)
@example(steps=["breaks off"] * 5)
@example(steps=["worker dies"] * 4)
@example(steps=["breaks off", "cancel", "answers"])
@example(steps=["put again", "put again", "breaks off", "worker dies", "answers"])
@example(steps=["publishing fails"])
def test_a_session_ends_once_with_one_answer(cloud: Cloud, steps: list[str]) -> None:
    model = Model()
    with appsync_functions(cloud) as functions_with:
        functions = functions_with(*[model] * 30)
        session_id = functions.ask()
        for step in steps:
            take(functions, step, model, session_id)
        model.script = ANSWER
        drain(functions)
        status, attempt = functions.status(session_id), int(functions.table.record(session_id)["attempt"]["N"])
        stored, direct, queued = (
            functions.stored(session_id),
            functions.frames(session_id),
            functions.queued(session_id),
        )
        calls = len(functions.model.requests)
    assert status in ENDED
    assert_whole(stored)
    assert {frame["attempt"] for frame in stored} == {attempt}
    if status == "complete":
        assert text(stored) == "".join(TEXTS)
    # An attempt that was given up, and one whose worker was lost, ended without a terminal frame.
    assert {frame["attempt"] for frame in direct + queued if frame["type"] in TERMINAL} <= {attempt}
    for way in (direct, queued):
        assert [frame["attempt"] for frame in way] == sorted(frame["attempt"] for frame in way)
    assert [frame for frame in distinct(direct + queued) if frame["attempt"] == attempt] == stored
    assert calls <= attempt
