import json
from http import HTTPStatus
from typing import Literal

import pytest
from answers import cors_headers, error_answer, json_answer, preflight
from http_call import HttpCall

from tokenstream.errors import ErrorCode
from tokenstream.frames import ErrorDetail
from tokenstream.runtime.result import read_http_result

PAGE = "https://app.example"


def call(front_door: Literal["url", "rest"], **headers: str) -> HttpCall:
    return HttpCall(front_door, "POST", "/", {}, headers, b"", None)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 400),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("conflict", 409),
        ("too_large", 413),
        ("throttled", 429),
        ("internal", 500),
        ("model_error", 502),
        ("model_access", 502),
        ("model_timeout", 504),
    ],
)
def test_each_code_has_its_status(code: str, status: int) -> None:
    answer = error_answer(ErrorDetail(ErrorCode(code), "Something.", retryable=True), {"X-Session-Id": "id"})
    assert answer["statusCode"] == status
    assert answer["headers"]["X-Session-Id"] == "id"
    assert answer["headers"]["Content-Type"] == "application/json"
    assert json.loads(answer["body"]) == {"error": {"code": code, "message": "Something.", "retryable": True}}
    assert ("Retry-After" in answer["headers"]) is (status == 429)


@pytest.mark.parametrize("code", ErrorCode)
def test_no_code_is_without_a_status(code: ErrorCode) -> None:
    assert error_answer(ErrorDetail(code, "Something.", retryable=False), {})["statusCode"] >= 400


def test_the_field_at_fault_is_told() -> None:
    detail = ErrorDetail(ErrorCode.INVALID_REQUEST, "Too high.", retryable=False, field="options.maxTokens")
    assert json.loads(error_answer(detail, {})["body"])["error"]["field"] == "options.maxTokens"


def test_retry_after_is_a_number_of_seconds() -> None:
    headers = error_answer(ErrorDetail(ErrorCode.THROTTLED, "Busy.", retryable=True), {})["headers"]
    assert int(headers["Retry-After"]) > 0


def test_json_is_utf_8_as_it_is() -> None:
    assert json_answer(HTTPStatus.ACCEPTED, {"a": "é"}, {}) == {
        "statusCode": 202,
        "headers": {"Content-Type": "application/json"},
        "body": '{"a":"é"}',
    }


def test_a_page_of_an_allowed_origin_may_read_the_answer() -> None:
    assert cors_headers(call("rest", origin=PAGE), ["https://other.example", PAGE]) == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Expose-Headers": "X-Session-Id, Retry-After",
        "Vary": "Origin",
    }


def test_where_any_origin_is_allowed_every_page_may_read_the_answer() -> None:
    assert cors_headers(call("rest", origin=PAGE), ["*"]) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "X-Session-Id, Retry-After",
    }


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", PAGE + ".evil.example", PAGE.upper(), "http://app.example", PAGE + ":8443"],
)
def test_a_page_of_another_origin_may_not(origin: str) -> None:
    headers = cors_headers(call("rest", origin=origin), [PAGE])
    assert "Access-Control-Allow-Origin" not in headers
    # A cache must not give an allowed page what it kept from this one.
    assert headers == {"Vary": "Origin"}


def test_a_caller_that_is_no_page_gets_no_cors_headers() -> None:
    assert cors_headers(call("rest"), [PAGE]) == {}


def test_the_function_urls_own_cors_headers_are_not_doubled() -> None:
    # A browser refuses an answer that has Access-Control-Allow-Origin twice.
    assert cors_headers(call("url", origin=PAGE), ["*"]) == {}


def test_a_preflight_names_all_that_a_page_may_send() -> None:
    answer = preflight({"Access-Control-Allow-Origin": PAGE})
    assert answer["statusCode"] == 204
    assert answer["headers"]["Access-Control-Allow-Origin"] == PAGE
    assert set(answer["headers"]["Access-Control-Allow-Methods"].split(", ")) == {"POST", "GET", "DELETE"}
    allowed = set(answer["headers"]["Access-Control-Allow-Headers"].split(", "))
    assert allowed >= {"authorization", "x-authorization", "content-type", "last-event-id"}


def test_every_answer_can_be_sent_by_the_runtime() -> None:
    for answer in (preflight({}), json_answer(HTTPStatus.OK, {}, {}), *map(_error, ErrorCode)):
        result = read_http_result(answer)
        assert b"".join(result.chunks) == answer["body"].encode()


def _error(code: ErrorCode) -> dict[str, object]:
    return error_answer(ErrorDetail(code, "Something.", retryable=False), {})
