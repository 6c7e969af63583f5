import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError

from tests.contract.sinks import AWKWARD_TEXT
from tests.function_module import Context
from tests.integration.appsync_functions import (
    Cloud,
    FunctionsFactory,
    appsync_cloud,
    appsync_functions,
)
from tests.integration.scripted_endpoint import streamed
from tests.integration.websocket_functions import CLAUDE, STRANGER, SUB
from tests.unit.bedrock_messages import anthropic_answer
from tokenstream.prompt_queue import Prompt
from tokenstream.request import read_request

ANSWER = streamed(anthropic_answer())
MAX_REQUEST_BYTES = 100_000
SESSION = "5e5510a0-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with appsync_cloud() as cloud:
        yield cloud


@pytest.fixture
def functions_with(cloud: Cloud) -> Iterator[FunctionsFactory]:
    with appsync_functions(cloud) as start:
        yield start


# What is asked for


def test_a_prompt_is_recorded_and_queued_and_answered_at_once(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    answer = functions.start(prompt="Hi", system="Brief.", options={"maxTokens": 5, "temperature": 0.5})
    session_id = answer["sessionId"]
    assert answer == {"sessionId": session_id, "status": "accepted"}
    session = functions.sessions.get(session_id, SUB)
    assert (session.status, session.attempt) == ("accepted", 0)
    assert (session.path, session.model, session.delivery) == ("appsync", CLAUDE, "direct")
    assert functions.prompts.count() == 1
    record = functions.prompts.record()
    assert record is not None
    assert json.loads(record["body"]) == {
        "sessionId": session_id,
        "request": {
            "prompt": "Hi",
            "system": "Brief.",
            "options": {"maxTokens": 5, "temperature": 0.5},
            "sessionId": session_id,
        },
    }


@pytest.mark.parametrize(
    ("switch", "asked", "way"),
    [
        ("true", None, "direct"),
        ("true", "queued", "queued"),
        ("false", None, "queued"),
        ("false", "direct", "queued"),
    ],
)
def test_the_record_says_which_way_the_answer_will_go(
    functions_with: FunctionsFactory, switch: str, asked: str | None, way: str
) -> None:
    functions = functions_with(DIRECT_SEND=switch)
    session_id = functions.ask(delivery=asked)
    assert functions.sessions.get(session_id, SUB).delivery == way


def test_what_is_recorded_is_enough_for_another_attempt(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": AWKWARD_TEXT}],
        "system": "Brief.",
        "options": {"maxTokens": 5},
    }
    session_id = functions.start(**asked, delivery="queued", prompt=None)["sessionId"]
    body = functions.sessions.request(session_id)
    assert body is not None
    request = read_request(json.loads(body), functions.appsync_process.limits, session_id)
    assert [message.content for message in request.messages] == [AWKWARD_TEXT]
    assert (request.system, request.options.max_tokens, request.delivery) == ("Brief.", 5, "queued")


def test_nothing_is_queued_that_is_not_recorded(functions_with: FunctionsFactory) -> None:
    """A worker would find no session, and take the message for done."""
    functions = functions_with()
    session_id, recorded = str(uuid4()), []
    functions.sqs.before = lambda operation: recorded.append(functions.status(session_id))
    functions.ask(sessionId=session_id)
    assert recorded == ["accepted"]


def test_a_client_may_name_its_session_and_otherwise_gets_one_of_its_own(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    mine = str(uuid4())
    # The subscription's filter has the one spelling as well.
    assert functions.ask(sessionId=mine.upper()) == mine
    others = {functions.ask() for _ in range(3)}
    assert len(others | {mine}) == 4
    assert all(str(UUID(session_id)) == session_id for session_id in others)


def test_what_a_client_leaves_open_counts_as_absent(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    nothing: dict[str, Any] = dict.fromkeys(["messages", "system", "model", "options", "sessionId", "delivery"])
    assert functions.start(prompt="Hi", **nothing)["status"] == "accepted"
    nested = dict.fromkeys(["maxTokens", "temperature", "topP", "stopSequences"])
    assert functions.start(prompt="Hi", options=nested)["status"] == "accepted"


@pytest.mark.parametrize("text", [AWKWARD_TEXT, "\ufffe\uffff", "\x00", '"}', "{{a}} ${ctx}"], ids=ascii)
def test_a_prompt_reaches_the_worker_and_the_record_to_the_character(
    functions_with: FunctionsFactory, text: str
) -> None:
    functions = functions_with()
    messages = [{"role": "user", "content": text}]
    session_id = functions.start(messages=messages)["sessionId"]
    record = functions.prompts.record()
    assert record is not None
    expected = {"messages": messages, "sessionId": session_id}
    assert Prompt.from_record(record).request == expected
    [kept] = [
        item
        for item in functions.table.items()
        if item["sessionId"]["S"] == session_id and item["item"]["S"] == "request"
    ]
    assert json.loads(kept["request"]["S"]) == expected


def test_where_answers_are_not_stored_the_prompt_is_in_the_queue_alone(functions_with: FunctionsFactory) -> None:
    functions = functions_with(STORE_ANSWERS="false")
    session_id = functions.ask("Grüße")
    items = [item for item in functions.table.items() if item["sessionId"]["S"] == session_id]
    assert [item["item"]["S"] for item in items] == ["session"]
    assert "Grüße" not in str(items)
    assert functions.prompts.count() == 1


# What is refused

BAD: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "invalid_request", "prompt"),
    ({"prompt": ""}, "invalid_request", "prompt"),
    ({"prompt": " \n"}, "invalid_request", "prompt"),
    ({"prompt": None, "messages": None}, "invalid_request", "prompt"),
    ({"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}, "invalid_request", "prompt"),
    ({"messages": []}, "invalid_request", "messages"),
    ({"messages": [{"role": "system", "content": "Hi"}]}, "invalid_request", "messages[0].role"),
    ({"messages": [{"role": "assistant", "content": "Hi"}]}, "invalid_request", "messages[0].role"),
    ({"messages": [{"role": "user", "content": ""}]}, "invalid_request", "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]},
        "invalid_request",
        "messages",
    ),
    ({"prompt": "Hi", "system": ""}, "invalid_request", "system"),
    ({"prompt": "Hi", "model": "gpt"}, "invalid_request", "model"),
    ({"prompt": "Hi", "delivery": "pigeon"}, "invalid_request", "delivery"),
    ({"prompt": "Hi", "options": {"maxTokens": 0}}, "invalid_request", "options.maxTokens"),
    ({"prompt": "Hi", "options": {"maxTokens": 1001}}, "invalid_request", "options.maxTokens"),
    ({"prompt": "Hi", "options": {"temperature": 1.5}}, "invalid_request", "options.temperature"),
    ({"prompt": "Hi", "options": {"topP": -1}}, "invalid_request", "options.topP"),
    ({"prompt": "Hi", "options": {"stopSequences": []}}, "invalid_request", "options.stopSequences"),
    ({"prompt": "Hi", "options": {"stopSequences": ["x"] * 5}}, "invalid_request", "options.stopSequences"),
    ({"prompt": "Hi", "options": {"stopSequences": ["x", ""]}}, "invalid_request", "options.stopSequences[1]"),
    ({"prompt": "Hi", "sessionId": ""}, "invalid_request", "sessionId"),
    ({"prompt": "Hi", "sessionId": "me"}, "invalid_request", "sessionId"),
    ({"prompt": "Hi", "sessionId": UUID(SESSION).hex}, "invalid_request", "sessionId"),
    ({"prompt": "Hi", "sessionId": f"{SESSION}\n"}, "invalid_request", "sessionId"),
    ({"prompt": "\ud800"}, "invalid_request", None),
    ({"prompt": "Hi", "system": "\udc00 "}, "invalid_request", None),
    ({"prompt": "x" * MAX_REQUEST_BYTES}, "too_large", None),
]


@pytest.mark.parametrize(("arguments", "code", "field"), BAD, ids=lambda value: ascii(value)[:60])
def test_bad_input_is_told_by_its_code_and_field_and_leaves_nothing_behind(
    functions_with: FunctionsFactory, arguments: dict[str, Any], code: str, field: str | None
) -> None:
    functions = functions_with()
    before = functions.table.items()
    answer = functions.start(**arguments)
    message = answer["error"].pop("message")
    expected = {"code": code, "retryable": False} | ({"field": field} if field else {})
    assert answer == {"error": expected}
    assert message
    assert functions.table.items() == before
    assert functions.prompts.count() == 0


def test_a_request_of_a_hundred_thousand_bytes_passes_and_one_more_does_not(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    frame = len('{"prompt":""}')
    # Bytes, not characters.
    prompt = "é" * ((MAX_REQUEST_BYTES - frame) // 2) + "x" * ((MAX_REQUEST_BYTES - frame) % 2)
    functions.ask(prompt)
    assert functions.start(prompt=prompt + "x")["error"]["code"] == "too_large"
    assert functions.prompts.count() == 1


def test_the_largest_request_of_nothing_but_escapes_fits_the_queue(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    prompt = "\uffff" * ((MAX_REQUEST_BYTES - 13) // 3)
    functions.ask(prompt)
    record = functions.prompts.record()
    assert record is not None
    assert Prompt.from_record(record).request["prompt"] == prompt


@pytest.mark.parametrize("sub", [SUB, STRANGER])
def test_a_session_id_serves_once(functions_with: FunctionsFactory, sub: str) -> None:
    functions = functions_with(ANSWER)
    session_id = functions.ask()
    for ended in (False, True):
        if ended:
            assert functions.deliver()
        before = functions.table.items(), functions.prompts.count()
        error = functions.start(sub, prompt="Hi", sessionId=session_id)["error"]
        assert (error["code"], error["field"], error["retryable"]) == ("conflict", "sessionId", False)
        assert (functions.table.items(), functions.prompts.count()) == before


# What goes wrong

REFUSED = ClientError({"Error": {"Code": "AccessDenied", "Message": "words of theirs"}}, "SendMessage")


@pytest.mark.parametrize("fails", [None, REFUSED], ids=["unreachable", "refused"])
def test_a_prompt_that_cannot_be_queued_is_told_and_its_session_has_failed(
    functions_with: FunctionsFactory, fails: Exception | None
) -> None:
    functions = functions_with()
    session_id = str(uuid4())
    functions.sqs.unreachable, functions.sqs.fails = fails is None, fails
    error = functions.start(prompt="Hi", sessionId=session_id)["error"]
    assert (error["code"], error["retryable"]) == ("internal", True)
    assert "theirs" not in error["message"]
    assert functions.status(session_id) == "failed"
    # Whoever subscribed and asks for what it lacks is told the same.
    start, terminal = functions.stored(session_id)
    assert (start["type"], terminal["type"], terminal["error"]["code"]) == ("start", "error", "internal")


def test_a_prompt_whose_message_went_through_is_answered_though_nobody_said_so(
    functions_with: FunctionsFactory,
) -> None:
    """The queue's answer is lost, and a worker has the message already."""
    functions = functions_with(ANSWER)
    session_id = str(uuid4())

    def lose_the_answer(operation: str) -> None:
        if operation == "send_message":
            functions.prompts.put(
                json.dumps({"sessionId": session_id, "request": {"prompt": "Hi", "sessionId": session_id}})
            )
            assert functions.deliver()
            functions.sqs.unreachable = True

    functions.sqs.before = lose_the_answer
    assert functions.start(prompt="Hi", sessionId=session_id) == {"sessionId": session_id, "status": "accepted"}
    assert functions.status(session_id) == "complete"
    assert functions.frames(session_id)[-1]["type"] == "complete"


def test_a_message_that_comes_behind_a_session_that_was_given_up_starts_nothing(
    functions_with: FunctionsFactory,
) -> None:
    functions = functions_with()
    session_id = str(uuid4())
    functions.sqs.unreachable = True
    functions.start(prompt="Hi", sessionId=session_id)
    functions.sqs.unreachable = False
    functions.prompts.put(json.dumps({"sessionId": session_id, "request": {"prompt": "Hi"}}))
    assert functions.deliver()
    assert functions.model.requests == []
    assert functions.status(session_id) == "failed"


def test_while_the_table_is_out_a_client_is_told_to_try_again(functions_with: FunctionsFactory) -> None:
    functions = functions_with()
    functions.table.unreachable = True
    error = functions.start(prompt="Hi")["error"]
    assert (error["code"], error["retryable"]) == ("internal", True)
    assert functions.prompts.count() == 0


def test_while_table_and_queue_are_out_a_client_is_told_to_try_again(functions_with: FunctionsFactory) -> None:
    functions = functions_with()

    def out(operation: str) -> None:
        functions.sqs.unreachable = functions.table.unreachable = True

    functions.sqs.before = out
    error = functions.start(prompt="Hi")["error"]
    assert (error["code"], error["retryable"]) == ("internal", True)


def test_an_event_of_nobodys_is_a_fault_and_starts_nothing(functions_with: FunctionsFactory) -> None:
    """Without a user there is no answer: the resolver makes an error of it that says nothing."""
    functions = functions_with()
    with pytest.raises(KeyError):
        functions.appsync_start.handler({"arguments": {"prompt": "Hi"}}, Context())
    assert functions.prompts.count() == 0
