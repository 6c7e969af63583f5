"""What GraphQL errors mean; the shapes are AppSync's own."""

import json
from typing import Any

import pytest

from tokenstream_client.errors import ConnectionFailed, RequestRejected
from tokenstream_client.transports.graphql_errors import http_failure, realtime_failure, rejection

RESOLVERS = {
    "path": ["startStream"],
    "data": None,
    "errorType": "InvalidRequest",
    "errorInfo": {"code": "invalid_request", "retryable": False, "field": "options.maxTokens"},
    "locations": [{"line": 5, "column": 3, "sourceName": None}],
    "message": "This has to be a whole number from 1 to 4096.",
}


def meaning(error: RequestRejected) -> tuple[int, str, bool, str | None]:
    return error.status, error.code, error.retryable, error.field


def test_an_error_of_the_resolvers_is_told_as_on_the_other_paths() -> None:
    error = rejection([RESOLVERS, {"message": "another"}])
    assert meaning(error) == (400, "invalid_request", False, "options.maxTokens")
    assert error.message == "This has to be a whole number from 1 to 4096."


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"errorType": "NotFound", "message": "No."}, (404, "not_found", False, None)),
        ({"errorType": "Unauthorized", "path": ["a"], "errorInfo": None}, (401, "unauthorized", False, None)),
        ({"errorType": "UnauthorizedException"}, (401, "unauthorized", False, None)),
        ({"errorType": "TooLarge", "errorInfo": {"code": 5}}, (413, "too_large", False, None)),
        ({"errorType": "Throttled"}, (429, "throttled", True, None)),
        ({"errorType": "ThrottlingException"}, (429, "throttled", True, None)),
        ({"errorType": "ModelAccess"}, (502, "model_access", False, None)),
        # A request whose variables don't fit the schema: AppSync names neither a type nor a field.
        (
            {"path": None, "locations": [], "message": "Variable 'x' has an invalid value."},
            (400, "invalid_request", False, None),
        ),
        ({"path": ["startStream"], "message": "Execution timed out."}, (500, "internal", True, None)),
        ({"errorType": "Lambda:Unhandled", "path": ["startStream"]}, (500, "internal", True, None)),
        ({"errorType": "NewsOfALaterVersion"}, (500, "internal", True, None)),
        ({"errorType": "Later", "errorInfo": {"code": "later", "retryable": True}}, (500, "later", True, None)),
    ],
)
def test_an_error_has_the_status_and_code_of_its_type(error: Any, expected: Any) -> None:
    assert meaning(rejection([error])) == expected


@pytest.mark.parametrize("errors", [None, [], {}, "broken", [None], ["text"], [{}], [{"errorType": 5}]])
def test_errors_of_no_known_shape_are_errors_all_the_same(errors: Any) -> None:
    assert rejection(errors).code == "internal"
    assert rejection(errors).retryable
    assert isinstance(http_failure(502, errors, None), ConnectionFailed)
    assert isinstance(realtime_failure({"errors": errors}, "silent.example"), ConnectionFailed)
    assert isinstance(realtime_failure(errors, "silent.example"), ConnectionFailed)


def test_a_long_message_is_not_shown_whole() -> None:
    assert len(json.dumps(rejection([{"message": "x" * 100_000, "errorType": "y" * 100_000}]).message)) < 1000
    assert len(rejection([{"errorType": "y" * 100_000}]).message) < 1000


def test_a_gateways_failure_is_one_whatever_it_says() -> None:
    error = http_failure(503, [{"errorType": "UnauthorizedException", "message": "No."}], "3")
    assert isinstance(error, ConnectionFailed)
    assert error.retry_after == 3


def test_a_status_counts_more_than_a_type_that_nobody_knows() -> None:
    error = http_failure(404, [{"errorType": "Unknown", "message": "No such API."}], "3")
    assert isinstance(error, RequestRejected)
    assert (error.status, error.code, error.retry_after) == (404, "not_found", 3)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ({"errorType": "Unauthorized", "errorCode": 401}, 401),
        ({"errorType": "BadRequestException", "errorCode": 400, "message": "Required headers are missing."}, 400),
        ({"message": "NoProtocolError", "errorCode": 400}, 400),
        ({"errorType": "Later", "errorCode": 429}, 429),
    ],
)
def test_a_connection_is_refused_for_its_errors_code_where_the_type_says_nothing(reason: Any, status: int) -> None:
    error = realtime_failure({"errors": [reason]}, "silent.example")
    assert isinstance(error, RequestRejected)
    assert error.status == status
