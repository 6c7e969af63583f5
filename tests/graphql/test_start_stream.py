"""Starting over GraphQL: what the function is given, and what becomes of its answer."""

import json
from typing import Any

import pytest

from tests.contract.sinks import AWKWARD_TEXT
from tests.graphql.emulated_api import USER, EmulatedApi, only_error, token

START = """
mutation (
  $prompt: String, $messages: [MessageInput!], $system: String, $model: String, $options: StreamOptions,
  $sessionId: ID, $delivery: String
) {
  startStream(
    prompt: $prompt, messages: $messages, system: $system, model: $model, options: $options,
    sessionId: $sessionId, delivery: $delivery
  ) { sessionId status }
}
"""


def start(api: EmulatedApi, order: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Start with a prompt that tells the function what to do."""
    return api.ask(START, {"prompt": json.dumps(order), **arguments})


def test_the_function_gets_the_arguments_as_they_are_and_the_users_sub_and_nothing_else(api: EmulatedApi) -> None:
    arguments: dict[str, Any] = {
        "messages": [{"role": "user", "content": AWKWARD_TEXT}, {"role": "assistant", "content": ""}],
        "system": None,
        "model": "a.model",
        "options": {"maxTokens": 5, "temperature": 0.25, "topP": 1.0, "stopSequences": [AWKWARD_TEXT]},
        "sessionId": "6B1F1C1E-8a43-4b0e-9d3f-0f9b6c1d2e3a",
        "delivery": "queued",
    }
    answer = start(api, {}, **arguments)["data"]["startStream"]
    assert answer["sessionId"] == "it"
    assert json.loads(answer["status"]) == {"arguments": {"prompt": "{}", **arguments}, "sub": USER}


def test_what_is_not_given_is_not_passed_on(api: EmulatedApi) -> None:
    answer = api.ask('mutation { startStream(prompt: "{}") { status } }')
    assert json.loads(answer["data"]["startStream"]["status"])["arguments"] == {"prompt": "{}"}


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("invalid_request", "InvalidRequest"),
        ("too_large", "TooLarge"),
        ("unauthorized", "Unauthorized"),
        ("forbidden", "Forbidden"),
        ("not_found", "NotFound"),
        ("conflict", "Conflict"),
        ("throttled", "Throttled"),
        ("model_error", "ModelError"),
        ("model_timeout", "ModelTimeout"),
        ("model_access", "ModelAccess"),
        ("internal", "Internal"),
    ],
)
def test_the_functions_error_becomes_the_clients(api: EmulatedApi, code: str, error_type: str) -> None:
    answer = start(api, {"error": {"code": code, "message": AWKWARD_TEXT, "retryable": code == "throttled"}})
    assert not answer["data"]
    assert only_error(answer) == {
        "errorType": error_type,
        "message": AWKWARD_TEXT,
        "data": None,
        "errorInfo": {"code": code, "retryable": code == "throttled"},
    }


def test_the_field_at_fault_is_named(api: EmulatedApi) -> None:
    error = {"code": "invalid_request", "message": "Too much.", "retryable": False, "field": "options.maxTokens"}
    assert only_error(start(api, {"error": error}))["errorInfo"] == {
        "code": "invalid_request",
        "retryable": False,
        "field": "options.maxTokens",
    }


def test_a_function_that_fails_tells_the_client_nothing_of_it(api: EmulatedApi) -> None:
    answer = start(api, {"raise": "secret of ours"})
    assert only_error(answer) == {
        "errorType": "Internal",
        "message": "Something went wrong on our side.",
        "data": None,
        "errorInfo": {"code": "internal", "retryable": True},
    }
    assert "secret" not in json.dumps(answer)


def test_an_access_token_starts_nothing(api: EmulatedApi) -> None:
    answer = api.ask(START, {"prompt": "{}"}, token(USER, token_use="access"))
    assert only_error(answer)["errorType"] == "Unauthorized"
