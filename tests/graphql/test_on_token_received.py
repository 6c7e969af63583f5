"""A subscriber gets what is published of its own session: the filter says so."""

from typing import Any

import pytest

from tests.fakes.frames import SESSION
from tests.graphql.emulated_api import USER
from tests.graphql.node_runtime import run_resolver

INVALID = {"code": "invalid_request", "retryable": False, "field": "sessionId"}


def subscribe(session_id: str = SESSION, identity: Any = None) -> dict[str, Any]:
    arguments = {"sessionId": session_id}
    return run_resolver(
        "onTokenReceived", "response", {"args": arguments, "arguments": arguments, "identity": identity, "stash": {}}
    )


def user(**claims: str) -> dict[str, Any]:
    return {"sub": USER, "username": "name", "claims": {"sub": USER, "token_use": "id", **claims}}


def test_the_filter_holds_the_session_and_the_user_and_nothing_else() -> None:
    answer = subscribe(identity=user())
    assert answer["value"] is None
    assert answer["filters"] == [
        {
            "filterGroup": [
                {
                    "filters": [
                        {"fieldName": "sessionId", "operator": "eq", "value": SESSION},
                        {"fieldName": "owner", "operator": "eq", "value": USER},
                    ]
                }
            ]
        }
    ]


def test_the_spelling_of_a_sessions_id_does_not_matter() -> None:
    assert subscribe(SESSION.upper(), user())["filters"] == subscribe(SESSION, user())["filters"]


@pytest.mark.parametrize(
    "identity",
    [
        None,
        {},
        {"sub": USER},
        {"sub": USER, "claims": {}},
        user(token_use="access"),
        {"accountId": "1", "userArn": "a"},
    ],
    ids=["none", "empty", "no claims", "empty claims", "access token", "IAM"],
)
def test_nobody_without_an_id_token_subscribes(identity: Any) -> None:
    answer = subscribe(identity=identity)
    assert answer["error"]["errorType"] == "Unauthorized"
    assert answer["error"]["errorInfo"]["code"] == "unauthorized"
    assert answer["filters"] == []


@pytest.mark.parametrize("session_id", ["", "session", SESSION + "\n", SESSION.replace("-", ""), "*" * 36])
def test_an_id_that_is_no_uuid_is_told_so(session_id: str) -> None:
    answer = subscribe(session_id, user())
    assert (answer["error"]["errorType"], answer["error"]["errorInfo"]) == ("InvalidRequest", INVALID)
    assert answer["filters"] == []


def test_the_request_needs_no_data_source() -> None:
    assert run_resolver("onTokenReceived", "request", {})["value"] == {"payload": None}
