"""The clients against an endpoint that a test scripts, and against what botocore's own clients send and understand."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from tests.integration.scripted_endpoint import Endpoint, Exchange, Script, scripted_endpoint, status_line
from tokenstream.aws_clients import DynamoDB, Lambda, NoAnswer, Sqs, StepFunctions
from tokenstream.credentials import Keys
from tokenstream.frames import BEGINNING
from tokenstream.session import NewSession
from tokenstream.sessions import LeaseLost, Sessions, SessionsUnavailable
from tokenstream.signing import SignedConnection

KEYS = Keys("AKIDEXAMPLE", "secret", "session-token")
REGION = "eu-west-1"
PATIENCE_SECONDS = 20.0

KEY = {"sessionId": {"S": "5e5510a0"}, "item": {"S": "session"}}
ITEM = {"Item": {**KEY, "count": {"N": "3"}, "on": {"BOOL": True}, "list": {"L": [{"S": "ü"}]}}}

MADE: dict[str, tuple[str, str, Any]] = {
    "dynamodb": ("dynamodb", "dynamodb", DynamoDB),
    "sqs": ("sqs", "sqs", Sqs),
    "stepfunctions": ("stepfunctions", "states", StepFunctions),
    "lambda": ("lambda", "lambda", Lambda),
}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/prompts"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:recovery"

CALLS: list[tuple[str, str, dict[str, Any], Any]] = [
    ("dynamodb", "get_item", {"TableName": "t", "Key": KEY, "ConsistentRead": True}, ITEM),
    ("dynamodb", "get_item", {"TableName": "t", "Key": KEY}, {}),
    ("dynamodb", "put_item", {"TableName": "t", "Item": ITEM["Item"]}, {}),
    (
        "dynamodb",
        "update_item",
        {
            "TableName": "t",
            "Key": KEY,
            "UpdateExpression": "SET #a = :a",
            "ConditionExpression": "#a < :a",
            "ExpressionAttributeNames": {"#a": "a"},
            "ExpressionAttributeValues": {":a": {"N": "1.5"}},
            "ReturnValues": "ALL_NEW",
        },
        {"Attributes": ITEM["Item"]},
    ),
    ("dynamodb", "delete_item", {"TableName": "t", "Key": KEY}, {}),
    (
        "dynamodb",
        "query",
        {
            "TableName": "t",
            "IndexName": "open",
            "KeyConditionExpression": "a = :a",
            "ExpressionAttributeValues": {":a": {"S": "x"}},
            "ScanIndexForward": False,
            "Limit": 1,
            "ExclusiveStartKey": KEY,
        },
        {"Items": [ITEM["Item"]], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": KEY},
    ),
    ("dynamodb", "transact_write_items", {"TransactItems": [{"Put": {"TableName": "t", "Item": KEY}}]}, {}),
    (
        "sqs",
        "send_message",
        {"QueueUrl": QUEUE, "MessageBody": 'Grüße 👋 "\\'},
        {"MD5OfMessageBody": "d1f9a1a4ee8d2dd6ae4a0a2a4f8b1b9c", "MessageId": "1"},
    ),
    ("sqs", "change_message_visibility", {"QueueUrl": QUEUE, "ReceiptHandle": "r/+=", "VisibilityTimeout": 60}, {}),
    (
        "stepfunctions",
        "start_execution",
        {"stateMachineArn": MACHINE, "name": "n-1", "input": '{"sessionId": "5e5510a0"}'},
        {"executionArn": f"{MACHINE}:n-1"},
    ),
    ("lambda", "invoke", {"FunctionName": "stack-ws-stream", "InvocationType": "Event", "Payload": b'{"a": 1}'}, None),
    ("lambda", "invoke", {"FunctionName": MACHINE, "InvocationType": "Event", "Payload": b"{}"}, None),
]


def answered(status: int, document: Any = None, **headers: str) -> Script:
    body = b"" if document is None else json.dumps(document).encode()
    lines = {"Content-Length": str(len(body)), "x-amzn-RequestId": "1", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return lambda exchange: exchange.raw(status_line(status) + head.encode() + body)


def refused(code: str, status: int = 400, **fields: Any) -> Script:
    return answered(status, {"__type": f"com.amazonaws.service#{code}", "message": "words of theirs", **fields})


def hang_up(exchange: Exchange) -> None:
    exchange.hang_up()


@cache
def sdk_session() -> Session:
    return botocore.session.Session()


@contextmanager
def sdk_client(service: str, endpoint: Endpoint) -> Iterator[Any]:
    config = Config(retries={"mode": "standard", "total_max_attempts": 1})
    client: Any = sdk_session().create_client(
        MADE[service][0],
        region_name=REGION,
        endpoint_url=endpoint.url,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        aws_session_token=KEYS.token,
        config=config,
    )
    try:
        yield client
    finally:
        client.close()


@contextmanager
def our_client(service: str, endpoint: Endpoint, read_timeout: float = PATIENCE_SECONDS) -> Iterator[Any]:
    _, scope, make = MADE[service]

    def connect() -> SignedConnection:
        return SignedConnection(endpoint.url, scope, REGION, KEYS, read_timeout=read_timeout)

    client = make(connect, wait=lambda seconds: None)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize(("service", "operation", "parameters", "document"), CALLS)
def test_a_call_is_the_sdks_to_the_letter_and_so_is_what_it_returns(
    service: str, operation: str, parameters: dict[str, Any], document: Any
) -> None:
    script = answered(202 if service == "lambda" else 200, document)
    with (
        scripted_endpoint(script, script) as endpoint,
        sdk_client(service, endpoint) as sdk,
        our_client(service, endpoint) as ours,
    ):
        theirs = getattr(sdk, operation)(**parameters)
        result = getattr(ours, operation)(**parameters)
    theirs.pop("ResponseMetadata")
    if service != "lambda":  # whose answer to an event nobody reads
        assert result == theirs
    sent, wanted = reversed(endpoint.requests)
    assert (sent.method, sent.target) == (wanted.method, wanted.target)
    for name in ("x-amz-target", "content-type", "x-amz-invocation-type"):
        if name in wanted.headers:
            assert sent.headers[name] == wanted.headers[name]
    token = "ClientRequestToken"
    bodies = [json.loads(request.body) for request in (sent, wanted)]
    assert (token in bodies[0]) == (token in bodies[1])
    assert bodies[0] | {token: ""} == bodies[1] | {token: ""}
    scope = f"/{REGION}/{MADE[service][1]}/aws4_request"
    assert scope in sent.headers["authorization"]
    assert scope in wanted.headers["authorization"]


CANCELLED: dict[str, Any] = {
    "CancellationReasons": [{"Code": "ConditionalCheckFailed", "Message": "words"}, {"Code": "None"}]
}


GET = {"TableName": "t", "Key": KEY}
INVOKE = {"FunctionName": "f", "InvocationType": "Event", "Payload": b"{}"}
IN_A_HEADER = {"x-amzn-ErrorType": "TooManyRequestsException:http://internal.amazon.com/"}


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "script"),
    [
        ("dynamodb", "get_item", GET, refused("ConditionalCheckFailedException")),
        ("dynamodb", "get_item", GET, refused("TransactionCanceledException", **CANCELLED)),
        ("dynamodb", "get_item", GET, refused("ValidationException")),
        ("dynamodb", "get_item", GET, refused("InternalServerError", 500)),
        ("dynamodb", "get_item", GET, answered(503)),
        ("lambda", "invoke", INVOKE, answered(429, {"Type": "User", "message": "m"}, **IN_A_HEADER)),
        ("lambda", "invoke", INVOKE, answered(404, {"Type": "User", "Message": "m"}, **IN_A_HEADER)),
    ],
)
def test_a_refusal_is_the_sdks(service: str, operation: str, parameters: dict[str, Any], script: Script) -> None:
    with (
        scripted_endpoint(*[script] * 3) as endpoint,
        sdk_client(service, endpoint) as sdk,
        our_client(service, endpoint) as ours,
    ):
        with pytest.raises(ClientError) as theirs:
            getattr(sdk, operation)(**parameters)
        with pytest.raises(ClientError) as result:
            getattr(ours, operation)(**parameters)
    mine, wanted = (dict[str, Any](error.value.response) for error in (result, theirs))
    assert mine["Error"]["Code"] == wanted["Error"]["Code"]
    assert mine.get("CancellationReasons") == wanted.get("CancellationReasons")
    assert mine["ResponseMetadata"]["HTTPStatusCode"] == wanted["ResponseMetadata"]["HTTPStatusCode"]


FINE = answered(200, ITEM)


@pytest.mark.parametrize(
    "fault",
    [
        hang_up,
        refused("InternalServerError", 500),
        answered(503),
        refused("ProvisionedThroughputExceededException"),
        refused("ThrottlingException"),
        answered(200, ["no object"]),
    ],
)
def test_what_passes_by_itself_is_not_seen_by_the_caller(fault: Script) -> None:
    with scripted_endpoint(FINE, fault, FINE) as endpoint, our_client("dynamodb", endpoint) as client:
        # Not on the first exchange of a connection: a kept one that breaks is renewed below this.
        assert client.get_item(TableName="t", Key=KEY) == ITEM
        assert client.get_item(TableName="t", Key=KEY) == ITEM
    assert len(endpoint.requests) == 3


def test_what_does_not_pass_is_tried_twice_and_no_more() -> None:
    faults = [refused("InternalServerError", 500)] * 2
    with (
        scripted_endpoint(*faults) as endpoint,
        our_client("dynamodb", endpoint) as client,
        pytest.raises(ClientError, match="InternalServerError"),
    ):
        client.get_item(TableName="t", Key=KEY)
    assert len(endpoint.requests) == 2


def test_a_refusal_for_good_is_not_repeated() -> None:
    with (
        scripted_endpoint(refused("ConditionalCheckFailedException")) as endpoint,
        our_client("dynamodb", endpoint) as client,
        pytest.raises(ClientError),
    ):
        client.get_item(TableName="t", Key=KEY)
    assert len(endpoint.requests) == 1


def test_a_write_that_is_repeated_because_its_answer_was_lost_is_the_same_write() -> None:
    """Else the second one would find the first one's items, and a new session be taken for a used id."""
    faults = [refused("InternalServerError", 500), answered(200, {})]
    with scripted_endpoint(*faults) as endpoint, our_client("dynamodb", endpoint) as client:
        client.transact_write_items(TransactItems=[])
    first, second = (json.loads(request.body)["ClientRequestToken"] for request in endpoint.requests)
    assert first == second


def test_a_service_that_is_silent_is_not_waited_for() -> None:
    def silent(exchange: Exchange) -> None:
        exchange.await_leaving()

    with (
        scripted_endpoint(silent, silent) as endpoint,
        our_client("dynamodb", endpoint, read_timeout=0.05) as client,
        pytest.raises(NoAnswer, match="GetItem: ReadTimedOut"),
    ):
        client.get_item(TableName="t", Key=KEY)
    assert len(endpoint.requests) == 2


def test_calls_one_after_the_other_share_a_connection_and_calls_at_once_have_one_each() -> None:
    at_once = Barrier(3)

    def together(exchange: Exchange) -> None:
        at_once.wait(PATIENCE_SECONDS)
        FINE(exchange)

    scripts: list[Script] = [FINE] * 3 + [together] * 3 + [FINE]
    with (
        scripted_endpoint(*scripts) as endpoint,
        our_client("dynamodb", endpoint) as client,
        ThreadPoolExecutor(3) as threads,
    ):

        def get(_: int) -> Any:
            return client.get_item(TableName="t", Key=KEY)

        assert [get(0) for _ in range(3)] == [ITEM] * 3
        assert endpoint.connections == 1
        assert list(threads.map(get, range(3))) == [ITEM] * 3
        get(0)
    assert endpoint.connections == 3


def sessions(client: Any) -> Sessions:
    return Sessions(client, "t", ttl=60, store_answers=True)


Call = Callable[[Sessions], object]


def test_a_session_that_is_taken_is_the_others_whichever_client_says_so() -> None:
    with (
        scripted_endpoint(refused("ConditionalCheckFailedException")) as endpoint,
        our_client("dynamodb", endpoint) as client,
        pytest.raises(LeaseLost),
    ):
        sessions(client).claim("5e5510a0", "worker", 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.find("5e5510a0"),
        lambda table: table.claim("5e5510a0", "worker", 1.0),
        lambda table: table.frames_after("5e5510a0", *BEGINNING),
        lambda table: table.begin(NewSession("5e5510a0", "owner", "url", "direct", "m", b"{}"), "worker", 1.0),
    ],
)
@pytest.mark.parametrize("fault", [refused("ResourceNotFoundException"), refused("AccessDeniedException"), hang_up])
def test_a_table_that_cannot_be_used_is_said_so(call: Call, fault: Script) -> None:
    with (
        scripted_endpoint(fault, fault) as endpoint,
        our_client("dynamodb", endpoint) as client,
        pytest.raises(SessionsUnavailable) as unavailable,
    ):
        call(sessions(client))
    assert isinstance(unavailable.value.__cause__, BotoCoreError | ClientError)
