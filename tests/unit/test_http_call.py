from base64 import b64encode
from typing import Any

import pytest
from http_call import HttpCall

from tokenstream.errors import InvalidRequest


def url_event(**changes: Any) -> dict[str, Any]:
    """Return a function URL's event, payload 2.0, with the parts that are read and some that aren't."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "accountId": "anonymous",
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
            "http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "stage": "$default",
        },
        "body": '{"prompt": "Hi"}',
        "isBase64Encoded": False,
    } | changes


def rest_event(**changes: Any) -> dict[str, Any]:
    """Return a REST API's proxy event, payload 1.0."""
    return {
        "resource": "/",
        "path": "/",
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json"},
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"resourcePath": "/", "httpMethod": "POST", "path": "/dev/", "stage": "dev"},
        "body": '{"prompt": "Hi"}',
        "isBase64Encoded": False,
    } | changes


def test_a_function_urls_event_is_a_call() -> None:
    event = url_event(
        rawPath="/sessions/abc",
        queryStringParameters={"after": "1.2"},
        headers={"accept": "text/event-stream", "X-Authorization": "Bearer x"},
    )
    event["requestContext"]["http"]["method"] = "GET"
    assert HttpCall.from_event(event) == HttpCall(
        front_door="url",
        method="GET",
        path="/sessions/abc",
        query={"after": "1.2"},
        headers={"accept": "text/event-stream", "x-authorization": "Bearer x"},
        body=b'{"prompt": "Hi"}',
        claims=None,
    )


def test_a_rest_apis_event_is_a_call() -> None:
    claims = {"sub": "user", "aud": "client", "exp": "Fri Nov 20 20:00:00 UTC 2026"}
    event = rest_event(
        resource="/sessions/{id}",
        path="/sessions/abc",
        pathParameters={"id": "abc"},
        queryStringParameters={"after": "1.2"},
        httpMethod="GET",
    )
    event["requestContext"]["authorizer"] = {"claims": claims}
    assert HttpCall.from_event(event) == HttpCall(
        front_door="rest",
        method="GET",
        path="/sessions/abc",
        query={"after": "1.2"},
        headers={"content-type": "application/json"},
        body=b'{"prompt": "Hi"}',
        claims=claims,
    )


EVENTS = [pytest.param(url_event, id="url"), pytest.param(rest_event, id="rest")]


@pytest.mark.parametrize("event", EVENTS)
def test_what_a_call_does_not_have_is_empty(event: Any) -> None:
    names = ("headers", "queryStringParameters", "body", "isBase64Encoded")
    absent = {name: value for name, value in event().items() if name not in names}
    for given in (absent, event(**dict.fromkeys(names))):
        call = HttpCall.from_event(given)
        assert (call.headers, call.query, call.body) == ({}, {}, b"")


@pytest.mark.parametrize("event", EVENTS)
def test_a_text_body_is_utf_8(event: Any) -> None:
    assert HttpCall.from_event(event(body="é漢")).body == "é漢".encode()


@pytest.mark.parametrize("event", EVENTS)
def test_a_binary_body_comes_in_base64(event: Any) -> None:
    body = b"\x00\xff\xfe"
    assert HttpCall.from_event(event(body=b64encode(body).decode(), isBase64Encoded=True)).body == body


@pytest.mark.parametrize("event", EVENTS)
def test_header_names_have_no_case(event: Any) -> None:
    headers = {"ACCEPT": "text/plain", "Last-Event-ID": "1.2", "origin": "https://a.example"}
    assert HttpCall.from_event(event(headers=headers)).headers == {
        "accept": "text/plain",
        "last-event-id": "1.2",
        "origin": "https://a.example",
    }


@pytest.mark.parametrize("event", EVENTS)
def test_of_a_header_in_two_spellings_one_is_taken(event: Any) -> None:
    assert HttpCall.from_event(event(headers={"Accept": "a", "accept": "b"})).headers == {"accept": "b"}


def test_a_custom_domains_base_path_is_no_part_of_the_path() -> None:
    event = rest_event(
        resource="/sessions/{id}", path="/chat/v1/sessions/a-b", pathParameters={"id": "a-b"}, httpMethod="DELETE"
    )
    assert HttpCall.from_event(event).path == "/sessions/a-b"
    assert HttpCall.from_event(rest_event(path="/chat/v1")).path == "/"


def test_a_function_url_has_no_claims_whoever_signed_the_call() -> None:
    # AWS_IAM names the caller there; only a token speaks for a user.
    event = url_event()
    event["requestContext"]["authorizer"] = {"iam": {"userId": "AIDA"}, "claims": {"sub": "victim"}}
    assert HttpCall.from_event(event).claims is None


@pytest.mark.parametrize("authorizer", [None, {}, {"principalId": "me"}, {"claims": None}])
def test_without_the_cognito_authorizer_there_are_no_claims(authorizer: Any) -> None:
    event = rest_event()
    event["requestContext"]["authorizer"] = authorizer
    assert HttpCall.from_event(event).claims is None


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


@pytest.mark.parametrize(
    "event",
    [
        {},
        [],
        None,
        "event",
        {"version": "2.0"},
        {"Records": []},
        without(url_event(), "requestContext"),
        without(url_event(), "rawPath"),
        url_event(requestContext={}),
        url_event(requestContext={"http": {}}),
        url_event(requestContext=None),
        url_event(headers=["accept"]),
        url_event(body=5),
        url_event(body={"prompt": "Hi"}),
        url_event(body="\ud800"),
        url_event(body="é", isBase64Encoded=True),
        url_event(body="abc", isBase64Encoded=True),
        url_event(body='{"prompt": "Hi"}', isBase64Encoded=True),
        without(rest_event(), "resource"),
        without(rest_event(), "httpMethod"),
        without(rest_event(), "requestContext"),
        rest_event(requestContext=None),
        rest_event(pathParameters={"id": 5}),
        rest_event(body="====", isBase64Encoded=True),
    ],
    ids=lambda event: repr(event)[-60:],
)
def test_an_event_that_is_no_call_is_a_bad_request(event: Any) -> None:
    with pytest.raises(InvalidRequest):
        HttpCall.from_event(event)
