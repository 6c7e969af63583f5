"""What a client of `POST /graphql` meets at the edge, whatever is behind it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from local.edge.appsync_operation import MAX_TOKENS, DocumentLimits
from tests.local.appsync_fakes import (
    CLIENT,
    OTHER_KEY,
    PUBLISH,
    REGION,
    SESSION,
    START,
    STARTED,
    USER,
    access_token,
    api_of,
    running_appsync,
    signed,
    token,
)

AWKWARD = 'a "quote"\\ \n\t\0 \u202eright to left\u2028 🚀 ✓ ${x} #{y}'

# -- who is let in


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer "])
@pytest.mark.parametrize("make", [token, access_token], ids=["ID token", "access token"])
async def test_a_users_request_is_carried_out_as_his_and_the_answer_is_the_backends(
    tmp_path: Path, make: Any, scheme: str
) -> None:
    answer = b'{ "data": {"startStream" : {"sessionId":"x", "status":"accepted"}}, "odd": [1.0] }'
    async with running_appsync(tmp_path, lambda _: (200, answer)) as setup:
        header = scheme + make()
        response = await setup.post(START, {"prompt": AWKWARD}, {"Authorization": header, "X-Own": "1"})
        assert (response.status_code, response.content) == (200, answer)
        [(headers, document)] = setup.backend.requests
        assert (headers["authorization"], headers["x-own"]) == (header, "1")
        assert document == {"query": START, "variables": {"prompt": AWKWARD}, "operationName": None}


_NOT_PROVIDED = "Valid authorization header not provided."
_NOT_PARSED = "Unable to parse JWT token."
_NOT_AUTHORIZED = "You are not authorized to make this call."


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, _NOT_PROVIDED),
        ("", _NOT_PROVIDED),
        ("Bearer", _NOT_PARSED),
        ("x.y.z", _NOT_PARSED),
        ("Basic dXNlcjpwYXNz", _NOT_PARSED),
        (token(OTHER_KEY), _NOT_AUTHORIZED),
        (token(kid="unknown"), _NOT_AUTHORIZED),
        (token(iss=f"https://cognito-idp.{REGION}.amazonaws.com/{REGION}_other"), _NOT_AUTHORIZED),
        (token(token_use="refresh"), _NOT_AUTHORIZED),
        (token(token_use=None), _NOT_AUTHORIZED),
        (token(aud=None), _NOT_AUTHORIZED),
        (token(aud="client-2"), _NOT_AUTHORIZED),
        (token(exp=None), _NOT_AUTHORIZED),
        (token(exp=int(time.time()) - 5), "Token has expired."),
        (token("a-secret-that-is-long-enough-for-this", algorithm="HS256"), _NOT_PARSED),
        (token("", algorithm="none"), _NOT_PARSED),
    ],
    ids=[
        *("missing", "empty", "no token", "no jwt", "another scheme", "foreign key", "unknown key", "foreign pool"),
        *("neither ID nor access", "no use", "no client", "foreign client", "never expires", "expired"),
        *("symmetric", "unsigned"),
    ],
)
async def test_nobody_else_gets_in(tmp_path: Path, header: str | None, message: str) -> None:
    async with running_appsync(tmp_path, client_pattern=CLIENT) as setup:
        response = await setup.post(START, headers={} if header is None else {"Authorization": header})
        assert (response.status_code, response.headers["x-amzn-ErrorType"]) == (401, "UnauthorizedException")
        assert response.json() == {"errors": [{"errorType": "UnauthorizedException", "message": message}]}
        assert setup.backend.requests == []


async def test_of_two_tokens_none_is_believed(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        both = [("Authorization", token()), ("Authorization", token(OTHER_KEY, sub="somebody"))]
        response = await setup.http.post(setup.url, json={"query": START}, headers=both)
        assert (response.status_code, setup.backend.requests) == (401, [])


async def test_keys_that_cannot_be_read_are_no_refusal_of_the_user(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        setup.backend.keys_readable = False
        response = await setup.post(START)
        assert (response.status_code, response.json()["errors"][0]["errorType"]) == (500, "InternalFailure")


async def test_a_page_elsewhere_may_call_and_one_that_rebinds_a_name_may_not(tmp_path: Path) -> None:
    origin = {"Origin": "https://chat.example.com"}
    async with running_appsync(tmp_path) as setup:
        asked = {**origin, "Access-Control-Request-Headers": "authorization,content-type"}
        preflight = await setup.http.options(setup.url, headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
        for headers in ({"Authorization": token(), **origin}, origin):
            response = await setup.post(START, headers=headers)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
        # MiniStack's guard would refuse the page.
        assert [("origin" in headers) for headers, _ in setup.backend.requests] == [False]
        rebound = await setup.http.post(setup.url, headers={"Host": "evil.example"})
        assert rebound.status_code == 403


# -- who may do what


async def test_a_user_cannot_publish(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        variables = {"id": SESSION, "owner": USER, "n": 1, "token": "forged"}
        response = await setup.post(PUBLISH, variables)
        assert response.status_code == 200
        answer = response.json()
        assert answer["data"] is None
        [error] = answer["errors"]
        assert error["locations"][0]["line"] == 1
        assert {name: error[name] for name in ("path", "data", "errorType", "errorInfo", "message")} == {
            "path": ["publishToken"],
            "data": None,
            "errorType": "Unauthorized",
            "errorInfo": None,
            "message": "Not Authorized to access publishToken on type Mutation",
        }
        assert setup.backend.requests == []


async def test_a_user_cannot_publish_beside_what_he_may_do_nor_by_another_name_nor_in_a_fragment(
    tmp_path: Path,
) -> None:
    publish = 'publishToken(sessionId: "s", owner: "o", attempt: 1, sequence: 1, type: "t", frame: "{}") { type }'
    async with running_appsync(tmp_path) as setup:
        for query in (
            f'mutation {{ startStream(prompt: "x") {{ status }} {publish} }}',
            f"mutation {{ startStream: {publish} }}",
            f"mutation {{ ... on Mutation {{ {publish} }} }}",
            f"mutation {{ ...F }} fragment F on Mutation {{ ...G }} fragment G on Mutation {{ {publish} }}",
        ):
            answer = (await setup.post(query)).json()
            assert [error["errorType"] for error in answer["errors"]] == ["Unauthorized"], query
        assert setup.backend.requests == []


async def test_the_functions_publish_with_a_signature_and_can_do_nothing_else(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        assert (await setup.publish(token=AWKWARD))["data"]["publishToken"]["token"] == AWKWARD
        [(headers, document)] = setup.backend.requests
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert document["variables"]["token"] == AWKWARD
        body = json.dumps({"query": START})
        answer = (await setup.http.post(setup.url, content=body, headers=signed(setup.url, body))).json()
        assert [error["message"] for error in answer["errors"]] == [
            "Not Authorized to access startStream on type Mutation",
            "Not Authorized to access sessionId on type StreamResponse",
            "Not Authorized to access status on type StreamResponse",
        ]


async def test_a_signature_is_of_no_use_where_the_api_knows_users_alone(tmp_path: Path) -> None:
    async with running_appsync(tmp_path, signatures=False) as setup:
        body = json.dumps({"query": START})
        response = await setup.http.post(setup.url, content=body, headers=signed(setup.url, body))
        assert (response.status_code, setup.backend.requests) == (401, [])


# -- what a request may be


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON payload in GraphQLAuth POST request."),
        (b"{", "Invalid JSON payload in GraphQLAuth POST request."),
        (b"\xff", "Invalid JSON payload in GraphQLAuth POST request."),
        (b"[]", "Invalid JSON payload in GraphQLAuth POST request."),
        (b"[" * 200_000, "Invalid JSON payload in GraphQLAuth POST request."),
        (b'{"query": 1}', "Invalid JSON payload in GraphQLAuth POST request."),
        (b'{"query": "{x}", "variables": []}', "Invalid JSON payload in GraphQLAuth POST request."),
        (b'{"query": "{x}", "operationName": {}}', "Invalid JSON payload in GraphQLAuth POST request."),
        (b"{}", "Invalid request, `query` can't be null."),
        (b'{"query": null}', "Invalid request, `query` can't be null."),
        (b'{"query": " \\n"}', "Invalid request, `query` can't be empty."),
        (b'{"query": "{"}', "Unable to parse GraphQL query."),
        (b'{"query": "# nothing"}', "Unable to parse GraphQL query."),
    ],
)
async def test_what_is_no_graphql_request_is_told_so(tmp_path: Path, body: bytes, message: str) -> None:
    async with running_appsync(tmp_path) as setup:
        response = await setup.http.post(setup.url, content=body, headers={"Authorization": token()})
        assert response.status_code == 400
        assert response.json() == {"errors": [{"errorType": "MalformedHttpRequestException", "message": message}]}
        assert setup.backend.requests == []


async def test_a_request_of_more_than_a_megabyte_is_not_taken(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        response = await setup.post(START, {"prompt": "x" * 1024 * 1024})
        assert (response.status_code, setup.backend.requests) == (413, [])
        assert (await setup.post(START, {"prompt": "x" * 1000 * 1000})).json() == STARTED


@pytest.mark.parametrize(
    "query",
    [
        "{ nothing }",
        "mutation { startStream }",
        "mutation { startStream(prompt: 1) { status } }",
        "query Q($x: Strin) { getStream(sessionId: $x) { status } }",
        "{ ...F } fragment F on Query { ...F }",
        "subscription { a: onTokenReceived(sessionId: 1) { type } b: onTokenReceived(sessionId: 1) { type } }",
        "{ __schema { types { name } } }",
        '{ __type(name: "Query") { fields { name } } }',
    ],
)
async def test_an_invalid_document_is_not_executed_and_neither_is_introspection(tmp_path: Path, query: str) -> None:
    async with running_appsync(tmp_path) as setup:
        answer = (await setup.post(query)).json()
        assert answer["data"] is None
        assert answer["errors"]
        assert all(error["message"] for error in answer["errors"])
        assert setup.backend.requests == []


async def test_of_several_operations_the_named_one_is_judged_and_executed(tmp_path: Path) -> None:
    document = f"{START} {PUBLISH}"
    async with running_appsync(tmp_path, lambda _: (200, STARTED)) as setup:
        assert (await setup.post(document, operationName="S")).json() == STARTED
        assert setup.backend.requests[0][1]["operationName"] == "S"
        refused = await setup.post(document, {"id": "s", "owner": "o", "n": 1}, operationName="P")
        assert refused.json()["errors"][0]["errorType"] == "Unauthorized"
        for name in (None, "Q"):
            assert (await setup.post(document, operationName=name)).status_code == 400
        assert len(setup.backend.requests) == 1


async def test_a_subscription_is_not_for_this_endpoint(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        response = await setup.post("subscription { onTokenReceived(sessionId: 1) { type } }")
        assert (response.status_code, response.json()["errors"][0]["errorType"]) == (400, "UnsupportedOperation")
        assert setup.backend.requests == []


async def test_depth_and_aliases_are_bounded_as_the_api_says(tmp_path: Path) -> None:
    api = api_of(limits=DocumentLimits(introspection=True, depth=2, resolvers=3))
    streams = " ".join(f's{number}: getStream(sessionId: "s") {{ status }}' for number in range(4))
    async with running_appsync(tmp_path, api=api) as setup:
        assert (await setup.post(f"{{ {streams.replace('s3', 's2')} }}")).json() == STARTED
        for query, type_ in (
            (f"{{ {streams} }}", "ResolverExecutionLimitReached"),
            (f"{{ ...F }} fragment F on Query {{ {streams} }}", "ResolverExecutionLimitReached"),
            ("{ __schema { types { name } } }", "QueryDepthLimitReached"),
        ):
            answer = (await setup.post(query)).json()
            assert [error["errorType"] for error in answer["errors"]] == [type_]
        assert len(setup.backend.requests) == 1


async def test_no_document_keeps_the_stack_busy(tmp_path: Path) -> None:
    spreads = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(1000))
    bomb = f"{{ ...F0 }} {spreads} fragment F1000 on Query {{ __typename }}"
    types = "".join(
        f"fragment T{n} on __Type {{ a: ofType {{ ...T{n + 1} }} b: ofType {{ ...T{n + 1} }} }} " for n in range(40)
    )
    tree = f'{{ __type(name: "Query") {{ ...T0 }} }} {types} fragment T40 on __Type {{ name }}'
    api = api_of(limits=DocumentLimits(introspection=True))
    async with running_appsync(tmp_path, api=api) as setup:
        assert (await setup.post("{ " + "__typename " * MAX_TOKENS + "}")).status_code == 400
        assert (await setup.post("{ a " * 500 + "}" * 500)).status_code == 400
        assert (await setup.post(bomb)).status_code in {200, 400}
        assert (await setup.post(tree)).json()["errors"][0]["errorType"] == "ResolverExecutionLimitReached"


# -- what the backend answers


async def test_a_backend_that_refuses_or_is_gone_is_not_hidden(tmp_path: Path) -> None:
    answers = iter([(400, {"errors": [{"errorType": "X", "message": "y"}]}), (200, b"no JSON")])
    async with running_appsync(tmp_path, lambda _: next(answers)) as setup:
        response = await setup.post(START)
        assert (response.status_code, response.json()["errors"][0]["errorType"]) == (400, "X")
        assert (await setup.post(START)).content == b"no JSON"
        setup.backend.gone = True
        response = await setup.post(START)
        assert (response.status_code, response.json()["errors"][0]["errorType"]) == (500, "InternalFailure")
        assert "MiniStack" in setup.log[-1]


async def test_the_log_has_neither_tokens_nor_text(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        await setup.post(START, {"prompt": "secret"}, {"Authorization": "secret"})
        await setup.publish(token="secret")
        assert [line.split()[:3] for line in setup.log] == [["POST", "/graphql", "401"], ["POST", "/graphql", "200"]]
        assert "secret" not in "".join(setup.log)
