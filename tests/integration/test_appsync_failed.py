import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.connections_api import BROKEN, LOST_ANSWER
from tests.fakes.graphql_api import THROTTLED
from tests.integration.appsync_functions import (
    Cloud,
    FunctionsFactory,
    appsync_cloud,
    appsync_functions,
)
from tests.integration.scripted_endpoint import PATIENCE_SECONDS, streamed
from tests.integration.websocket_functions import CLAUDE, SUB, Talker, assert_whole, text
from tests.unit.bedrock_messages import anthropic_answer
from tokenstream.session import LEASE_SECONDS

ANSWER = streamed(anthropic_answer())


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with appsync_cloud() as cloud:
        yield cloud


@pytest.fixture
def functions_with(cloud: Cloud) -> Iterator[FunctionsFactory]:
    with appsync_functions(cloud) as start:
        yield start


def dead_letter(session_id: str) -> str:
    return json.dumps({"sessionId": session_id, "request": {"prompt": "Hi"}})


def test_a_prompt_that_used_up_its_deliveries_ends_with_one_error(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.prompts.bury()
    assert functions.deliver_dead()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert frames[0] == {
        "type": "start",
        "sessionId": session_id,
        "attempt": 1,
        "sequence": 1,
        "model": CLAUDE,
        "path": "appsync",
        "delivery": "direct",
    }
    assert (frames[-1]["error"]["code"], frames[-1]["error"]["retryable"]) == ("internal", True)
    assert functions.api.published(session_id)[-1]["isComplete"]
    assert {event["owner"] for event in functions.api.published(session_id)} == {SUB}
    assert functions.status(session_id) == "failed"
    assert functions.stored(session_id) == frames
    assert (functions.prompts.count(), functions.prompts.count(dead=True)) == (0, 0)


def test_an_answer_whose_last_worker_died_ends_as_an_attempt_of_its_own(functions_with: FunctionsFactory) -> None:
    """Nobody can tell what the dead one has sent."""
    functions = functions_with()
    session_id = functions.ask()
    functions.dies(session_id, "Hel")
    functions.prompts.bury()
    assert functions.deliver_dead()
    frames = functions.frames(session_id)
    assert [(frame["attempt"], frame["sequence"], frame["type"]) for frame in frames] == [
        (2, 1, "start"),
        (2, 2, "error"),
    ]
    assert functions.status(session_id) == "failed"


def test_an_answer_that_was_given_up_and_never_taken_again_ends_with_one_error(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id = functions.ask()
    claim, _ = functions.dies(session_id, lease_left=LEASE_SECONDS)
    functions.sessions.release(claim)
    functions.prompts.bury()
    assert functions.deliver_dead()
    assert_whole(functions.frames(session_id))
    assert functions.status(session_id) == "failed"


def test_a_worker_that_lives_keeps_its_answer_and_the_letter_comes_back(functions_with: FunctionsFactory) -> None:
    """It may die later, and then nobody else would end its session."""
    model = Talker()
    functions = functions_with(model)
    session_id = functions.ask()
    working = functions.delivering()
    assert model.called.wait(PATIENCE_SECONDS)
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert not functions.deliver_dead()
    model.says("Hello")
    model.finishes()
    assert working.result(PATIENCE_SECONDS)
    assert_whole(functions.frames(session_id))
    assert text(functions.frames(session_id)) == "Hello"
    before = functions.table.record(session_id), len(functions.api.events)
    functions.prompts.all_come_back()
    assert functions.deliver_dead()
    assert (functions.table.record(session_id), len(functions.api.events)) == before
    assert functions.prompts.count(dead=True) == 0


def test_a_worker_that_dies_later_is_ended_by_the_letter_that_came_back(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    claim, _ = functions.dies(session_id, "Hel", lease_left=LEASE_SECONDS)
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert not functions.deliver_dead()
    functions.sessions.renew(claim, functions.appsync_failed.time() - LEASE_SECONDS - 1)
    functions.prompts.all_come_back()
    assert functions.deliver_dead()
    assert functions.frames(session_id)[-1]["type"] == "error"
    assert functions.status(session_id) == "failed"


@pytest.mark.parametrize("ended", ["complete", "cancelled", "failed"])
def test_an_answer_that_has_ended_is_not_ended_again(functions_with: FunctionsFactory, ended: str) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    if ended == "failed":
        functions.prompts.put(dead_letter(session_id), dead=True)
        assert functions.deliver_dead()
    elif ended == "cancelled":
        functions.cancel(session_id)
    functions.deliver()
    assert functions.status(session_id) == ended
    before = functions.table.record(session_id), functions.api.published(session_id)
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert functions.deliver_dead()
    assert (functions.table.record(session_id), functions.api.published(session_id)) == before


def test_a_letter_that_comes_twice_ends_the_answer_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    for _ in range(2):
        functions.prompts.put(dead_letter(session_id), dead=True)
    assert [functions.deliver_dead(), functions.deliver_dead()] == [True, True]
    assert_whole(functions.frames(session_id))


def test_a_session_that_is_not_there_any_more_needs_no_end(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = str(uuid4())
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert functions.deliver_dead()
    assert functions.sessions.find(session_id) is None
    assert functions.api.events == []


def test_an_answer_that_its_user_had_stopped_is_cancelled_and_not_failed(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.cancel(session_id)
    functions.prompts.bury()
    assert functions.deliver_dead()
    frames = functions.frames(session_id)
    assert_whole(frames)
    assert frames[-1]["stopReason"] == "cancelled"
    assert functions.status(session_id) == "cancelled"


@pytest.mark.parametrize("body", ["no JSON", "[]", '{"sessionId": "mark", "request": {}}', '{"sessionId": null}'])
def test_a_message_that_is_no_prompt_is_done_with_and_wedges_nothing(
    functions_with: FunctionsFactory, body: str
) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.prompts.put(body, dead=True)
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert [functions.deliver_dead(), functions.deliver_dead()] == [True, True]
    assert functions.status(session_id) == "failed"
    assert functions.prompts.count(dead=True) == 0


def test_in_a_batch_each_letter_stands_for_itself(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    waiting, taken = functions.ask(), functions.ask()
    functions.dies(taken, lease_left=LEASE_SECONDS)
    for body in ("no JSON", dead_letter(waiting), dead_letter(taken), dead_letter(waiting)):
        functions.prompts.put(body, dead=True)
    records: list[Any] = [functions.prompts.record(dead=True) for _ in range(4)]
    [back] = [record for record in records if taken in record["body"]]
    assert functions._fail({"Records": records}) == {"batchItemFailures": [{"itemIdentifier": back["messageId"]}]}
    assert_whole(functions.frames(waiting))
    assert (functions.status(waiting), functions.status(taken)) == ("failed", "running")


@pytest.mark.parametrize("faults", [[THROTTLED, BROKEN], [LOST_ANSWER]], ids=["for a moment", "lost answer"])
def test_an_end_that_does_not_get_through_at_once_gets_through(
    functions_with: FunctionsFactory, faults: list[Any]
) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.api.fails(*faults)
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert functions.deliver_dead()
    published = [event["frame"] for event in functions.api.published(session_id)]
    assert_whole([json.loads(frame) for frame in dict.fromkeys(published)])


def test_an_end_that_nobody_can_get_is_there_for_whoever_asks(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.api.always(BROKEN)
    functions.prompts.put(dead_letter(session_id), dead=True)
    assert functions.deliver_dead()
    assert functions.status(session_id) == "failed"
    assert_whole(functions.stored(session_id))
    assert functions.prompts.count(dead=True) == 0


@pytest.mark.parametrize("operation", ["get_item", "update_item", "put_item"])
def test_while_the_table_is_out_no_letter_is_lost(functions_with: FunctionsFactory, operation: str) -> None:
    functions = functions_with()
    session_id = functions.ask()
    functions.prompts.put(dead_letter(session_id), dead=True)

    def out(called: str) -> None:
        functions.table.unreachable = called == operation

    functions.table.before = out
    with pytest.raises(Exception):  # noqa: B017, PT011 - Lambda counts it and logs what it is
        functions.deliver_dead()
    assert functions.api.published(session_id) == []
    functions.table.before = lambda operation: None
    functions.table.unreachable = False
    assert functions.prompts.count(dead=True) == 1
    # What was claimed is free again when its lease has run out.
    if functions.status(session_id) == "running":
        record = functions.table.record(session_id)
        claim = functions.sessions.claim(
            session_id, "another", float(record["leaseUntil"]["N"]) + 1, failed_worker=record["worker"]["S"]
        )
        functions.sessions.release(claim)
    functions.prompts.all_come_back()
    assert functions.deliver_dead()
    assert functions.frames(session_id)[-1]["type"] == "error"
