import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes.frames import SESSION
from tests.fakes.prompts import Prompts, Sqs, sqs_client
from tests.fakes.topics_api import ALLOWED_BY_SQS
from tokenstream.message_queue import MAX_VISIBILITY_SECONDS, MessageQueue, QueueUnavailable
from tokenstream.prompt_queue import HOLD_SECONDS, NoPrompt, Prompt, PromptQueue
from tokenstream.session import LEASE_SECONDS

REQUEST = {"prompt": "Hi", "options": {"maxTokens": 5, "temperature": 0.5, "topP": None}, "sessionId": SESSION}
RECORD: dict[str, Any] = {
    "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
    "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
    "body": json.dumps({"sessionId": SESSION, "request": REQUEST}),
    "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1545082649183", "SenderId": "AIDAIENQZJOLO23YVJ4"},
    "messageAttributes": {},
    "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
    "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:prompts",
    "awsRegion": "us-east-1",
}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with sqs_client() as client:
        yield client


@pytest.fixture
def prompts(client: Any) -> Prompts:
    return Prompts(client)


@pytest.fixture
def sqs(client: Any) -> Sqs:
    return Sqs(client)


@pytest.fixture
def queue(sqs: Sqs, prompts: Prompts) -> PromptQueue:
    return PromptQueue(MessageQueue(sqs, prompts.url))


def received(prompts: Prompts) -> Prompt:
    record = prompts.record()
    assert record is not None
    return Prompt.from_record(record)


# What is put and read


@pytest.mark.parametrize(
    "text", ["Hi", AWKWARD_TEXT, "\ufffe\uffff", "\\ufffe", "\x00" * 20_000, "👋" * 25_000], ids=len
)
def test_a_prompt_comes_out_of_the_queue_as_it_was_put(queue: PromptQueue, prompts: Prompts, text: str) -> None:
    request = {"messages": [{"role": "user", "content": text}], **REQUEST}
    queue.put(SESSION, request)
    prompt = received(prompts)
    assert (prompt.session_id, prompt.request, prompt.receives) == (SESSION, request, 1)


class _Taken:
    """A client that takes everything."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def send_message(self, **parameters: Any) -> None:
        self.calls.append(parameters)

    change_message_visibility = send_message


@given(prompt=st.text(st.characters(exclude_categories=["Cs"])), field=st.text())
def test_no_prompt_has_a_character_that_sqs_refuses_or_replaces(prompt: str, field: str) -> None:
    request = {"prompt": prompt + "\ufffe\uffff", field: [prompt]}
    taken = _Taken()
    PromptQueue(MessageQueue(taken, "https://queue")).put(SESSION, request)
    [call] = taken.calls
    assert ALLOWED_BY_SQS.fullmatch(call["MessageBody"])
    assert Prompt.from_record({**RECORD, "body": call["MessageBody"]}).request == request


def test_a_record_of_lambdas_is_read() -> None:
    assert Prompt.from_record(RECORD) == Prompt(
        session_id=SESSION,
        request=REQUEST,
        message_id=RECORD["messageId"],
        receipt_handle=RECORD["receiptHandle"],
        receives=2,
    )


def test_a_prompt_knows_how_often_it_was_received(queue: PromptQueue, prompts: Prompts) -> None:
    queue.put(SESSION, REQUEST)
    receives = []
    for _ in range(3):
        receives.append(received(prompts).receives)
        prompts.all_come_back()
    assert receives == [1, 2, 3]


NO_PROMPTS = [
    "",
    "Hi",
    "null",
    "[]",
    '"text"',
    "{}",
    json.dumps({"sessionId": SESSION}),
    json.dumps({"request": REQUEST}),
    json.dumps({"sessionId": None, "request": REQUEST}),
    json.dumps({"sessionId": 7, "request": REQUEST}),
    json.dumps({"sessionId": "", "request": REQUEST}),
    json.dumps({"sessionId": "mark", "request": REQUEST}),
    json.dumps({"sessionId": f"{SESSION}\n", "request": REQUEST}),
    json.dumps({"sessionId": SESSION, "request": None}),
    json.dumps({"sessionId": SESSION, "request": "mark"}),
    json.dumps({"sessionId": SESSION, "request": [REQUEST]}),
    json.dumps({"sessionId": SESSION, "request": REQUEST})[:-1],
    '{"sessionId": "\\ud800", "request": {}}',
    f'{{"sessionId": "{SESSION}", "request": ' + '{"a":' * 20_000,
]


@pytest.mark.parametrize("body", NO_PROMPTS, ids=lambda body: body[:60])
def test_a_message_of_somebody_elses_is_known_for_what_it_is(body: str) -> None:
    with pytest.raises(NoPrompt) as raised:
        Prompt.from_record({**RECORD, "body": body})
    assert "mark" not in repr(raised.value)


@given(body=st.text())
def test_no_message_whatsoever_is_a_fault(body: str) -> None:
    with pytest.raises(NoPrompt):
        Prompt.from_record({**RECORD, "body": body})


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(), inner)
            | st.fixed_dictionaries({}, optional={"sessionId": inner, "request": inner})
        ),
    )
)
def test_no_json_whatsoever_is_a_fault(document: Any) -> None:
    with pytest.raises(NoPrompt):
        Prompt.from_record({**RECORD, "body": json.dumps(document)})


def test_what_a_later_version_adds_to_a_message_is_ignored() -> None:
    body = json.dumps({"sessionId": SESSION.upper(), "request": {}, "traceId": "1"})
    prompt = Prompt.from_record({**RECORD, "body": body})
    assert (prompt.session_id, prompt.request) == (SESSION, {})


# Hiding


def test_a_hidden_message_does_not_come_back_and_one_that_is_not_does(queue: PromptQueue, prompts: Prompts) -> None:
    queue.put(SESSION, REQUEST)
    prompt = received(prompts)
    queue.hide(prompt, 0)
    again = received(prompts)
    assert again.message_id == prompt.message_id
    queue.hide(again, HOLD_SECONDS)
    assert prompts.record(wait=False) is None


def test_a_message_is_back_only_when_the_lease_must_have_run_out() -> None:
    assert HOLD_SECONDS > LEASE_SECONDS


@pytest.mark.parametrize(
    ("seconds", "whole"), [(0, 0), (2, 2), (59.9, 59), (899.99, 899), (10 * MAX_VISIBILITY_SECONDS, 43_200)]
)
def test_seconds_are_what_sqs_takes(seconds: float, whole: int) -> None:
    taken = _Taken()
    PromptQueue(MessageQueue(taken, "https://queue")).hide(Prompt.from_record(RECORD), seconds)
    assert taken.calls == [
        {"QueueUrl": "https://queue", "ReceiptHandle": RECORD["receiptHandle"], "VisibilityTimeout": whole}
    ]


# A queue that doesn't answer

CALLS: dict[str, Callable[[PromptQueue], None]] = {
    "put": lambda queue: queue.put(SESSION, REQUEST),
    "hide": lambda queue: queue.hide(Prompt.from_record(RECORD), 60),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_queue_that_cannot_be_reached_is_no_fault_of_the_clients(
    queue: PromptQueue, sqs: Sqs, call: Callable[[PromptQueue], None]
) -> None:
    sqs.unreachable = True
    with pytest.raises(QueueUnavailable) as raised:
        call(queue)
    assert (raised.value.code, raised.value.retryable) == ("internal", True)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_sqs_says_is_not_told_to_the_client(
    queue: PromptQueue, sqs: Sqs, call: Callable[[PromptQueue], None]
) -> None:
    sqs.fails = ClientError({"Error": {"Code": "AccessDenied", "Message": "words of theirs"}}, "SendMessage")
    with pytest.raises(QueueUnavailable) as raised:
        call(queue)
    assert "theirs" not in raised.value.message


def test_a_message_that_is_deleted_can_be_hidden_no_more(queue: PromptQueue, prompts: Prompts) -> None:
    queue.put(SESSION, REQUEST)
    record = prompts.record()
    assert record is not None
    prompts.deliver_record(lambda event: {"batchItemFailures": []}, record)
    with pytest.raises(QueueUnavailable):
        queue.hide(Prompt.from_record(record), 60)
