"""The events that functions get, against golden ones in the shape of AWS's documentation."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from local.edge.request import ReceivedRequest
from local.edge.rest_event import rest_event
from local.edge.url_event import url_event
from tests.local.edge_fakes import rest_stage

_GOLDEN = Path(__file__).parent / "golden"
_NOW = 1795204800.5
_REQUEST = ReceivedRequest(
    method="POST",
    path="/sessions/a%20b",
    query="after=1.2&after=1.3&empty=",
    headers=(
        ("Host", "127.0.0.1:4000"),
        ("Accept", "text/event-stream"),
        ("Accept", "application/json"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Cookie", "one=1; two=2"),
        ("Cookie", "three=3"),
        ("User-Agent", "test/1"),
        ("Connection", "keep-alive"),
    ),
    body='{"prompt": "Grüße"}'.encode(),
    source_ip="127.0.0.1",
)
_BARE = replace(_REQUEST, method="GET", query="", headers=(), body=b"")


def _url(request: ReceivedRequest) -> dict[str, Any]:
    return url_event(request, domain="abc123.lambda-url.us-east-1.on.aws", now=_NOW)


def _rest(request: ReceivedRequest, *, claims: dict[str, str] | None = None, binary: str = "") -> dict[str, Any]:
    stage = rest_stage(binary_types=frozenset(filter(None, [binary])))
    matched = stage.match("GET", request.path)
    assert matched
    route, parameters = matched
    return rest_event(
        request, stage, route, path_parameters=parameters, claims=claims, request_id="request-1", now=_NOW
    )


def test_the_function_urls_event_has_payload_format_2() -> None:
    event = _url(_REQUEST)
    assert event["requestContext"].pop("requestId")
    golden = json.loads((_GOLDEN / "url_event.json").read_text())
    del golden["requestContext"]["requestId"]
    assert event == golden


def test_the_rest_apis_event_has_the_proxy_format() -> None:
    event = _rest(_REQUEST, claims={"sub": "user-1", "exp": "Fri Nov 20 21:00:00 UTC 2026"})
    assert event == json.loads((_GOLDEN / "rest_event.json").read_text())


def test_what_is_empty_is_left_out_at_the_url() -> None:
    assert not {"body", "cookies", "queryStringParameters"} & set(_url(_BARE))
    assert _url(_BARE)["isBase64Encoded"] is False


def test_what_is_empty_is_null_at_the_rest_api() -> None:
    event = _rest(_BARE)
    assert [event[name] for name in ("body", "queryStringParameters", "multiValueQueryStringParameters")] == [None] * 3
    assert "authorizer" not in event["requestContext"]


def test_a_url_body_that_is_no_text_is_base64() -> None:
    for content_type, body in (("application/octet-stream", b"\x00\xff"), ("application/json", b"\xff")):
        event = _url(replace(_REQUEST, headers=(("Content-Type", content_type),), body=body))
        assert event["isBase64Encoded"] is True
        assert base64.b64decode(event["body"]) == body


def test_a_rest_body_is_base64_only_where_its_type_is_declared_binary() -> None:
    request = replace(_REQUEST, headers=(("Content-Type", "image/png"),), body=b"\xff")
    assert _rest(request)["body"] == "\N{REPLACEMENT CHARACTER}"
    event = _rest(request, binary="image/png")
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, b"\xff")
