"""AppSync on loopback: what `publishToken` is called with reaches subscribers, with faults on request.

It takes what the schema allows and what is signed for it, and answers as AppSync does.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from graphql import ExecutionResult, GraphQLSchema, build_schema, graphql_sync

from tests.fakes.connections_api import Fault
from tests.fakes.observed import Observed
from tests.integration.scripted_endpoint import Endpoint, Exchange, Received, Script, scripted_endpoint, status_line

REGION = "us-east-1"
CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "session-token")
PATH = "/graphql"

_SCHEMA = Path(__file__).parents[2] / "graphql" / "schema.graphql"
_OF_APPSYNC = """
scalar AWSJSON
scalar AWSDateTime
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
directive @aws_iam on FIELD_DEFINITION | OBJECT
directive @aws_cognito_user_pools on FIELD_DEFINITION | OBJECT
"""
_ENOUGH = 100_000
"""Requests that a test may make."""


def answered(document: Any, status: int = 200) -> Script:
    """Answer with JSON, or with text that is none."""
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()

    def script(exchange: Exchange) -> None:
        exchange.raw(status_line(status) + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return script


def failing(error_type: str, status: int = 200) -> Fault:
    """Return a fault that AppSync words as an error of GraphQL's."""
    error = {"path": ["publishToken"], "data": None, "errorType": error_type, "message": "words of theirs"}
    return Fault(answered({"data": {"publishToken": None}, "errors": [error]}, status))


UNAUTHORIZED = failing("Unauthorized")
THROTTLED = failing("ThrottlingException")


class GraphQLApi(Observed):
    """One API. `before` is called with the variables ahead of each answer, on the thread that gives it.

    `events` are what subscribers of all sessions receive, `queries` what was ever sent for a query.
    """

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self.endpoint = Endpoint([], None)
        self.before: Callable[[dict[str, Any]], object] = lambda variables: None
        self.events: list[dict[str, Any]] = []
        self.queries: set[str] = set()
        self._credentials = credentials
        self._faults: deque[Fault] = deque()
        self._lasting: Fault | None = None

    @property
    def url(self) -> str:
        """The API's address, as `GRAPHQL_ENDPOINT` gives it."""
        return self.endpoint.url + PATH

    def fails(self, *faults: Fault) -> None:
        """Let the next requests meet faults, one each."""
        with self.changed:
            self._faults.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """Let every request meet a fault, until this is called with None."""
        with self.changed:
            self._lasting = fault

    def published(self, session_id: str) -> list[dict[str, Any]]:
        """Return what the subscribers of a session have received."""
        with self.changed:
            return [event for event in self.events if event["sessionId"] == session_id]

    def await_published(self, session_id: str, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until what the subscribers of a session have received is as wanted."""
        self.wait_until(lambda: condition([event for event in self.events if event["sessionId"] == session_id]))

    def await_requests(self, count: int) -> None:
        """Wait until so many requests have come."""
        self.wait_until(lambda: len(self.endpoint.requests) >= count)

    def serve(self, exchange: Exchange) -> None:
        """Answer a request."""
        received = exchange.received
        assert (received.method, received.target) == ("POST", PATH)
        assert received.headers["content-type"] == "application/json"
        assert_signed(received, self._credentials, self.endpoint.url, "appsync")
        call = json.loads(received.body)
        self.queries.add(call["query"])
        self.before(call["variables"])
        result = graphql_sync(_schema(), call["query"], _Resolvers(), variable_values=call["variables"])
        with self.changed:
            fault = self._faults.popleft() if self._faults else self._lasting
            if result.data and (fault is None or fault.taken):
                self.events.append(result.data["publishToken"])
            self.changed.notify_all()
        (fault.script if fault else answered(_document(result)))(exchange)


class _Resolvers:
    """As graphql/resolvers has them."""

    def publishToken(self, info: Any, **arguments: Any) -> dict[str, Any]:  # noqa: N802 - the field's name
        json.loads(arguments["frame"])  # an AWSJSON
        finished = arguments["type"] in {"complete", "error"}
        return {"token": None, **arguments, "isComplete": finished, "timestamp": "2026-11-20T12:00:00.000Z"}


@cache
def _schema() -> GraphQLSchema:
    return build_schema(_OF_APPSYNC + _SCHEMA.read_text(encoding="utf-8"))


def _document(result: ExecutionResult) -> dict[str, Any]:
    if not result.errors:
        return {"data": result.data}
    # Of a request that doesn't fit the schema AppSync says neither type nor path.
    errors = [{"path": error.path, "locations": [], "message": error.message} for error in result.errors]
    return {"data": result.data, "errors": errors}


def assert_signed(received: Received, credentials: Credentials, url: str, service: str) -> None:
    """Assert that this service of AWS's would take the signature of a request."""
    scheme, _, words = received.headers["authorization"].partition(" ")
    parts = dict(word.split("=", 1) for word in words.split(", "))
    _, date, *scope = parts["Credential"].split("/")
    assert (scheme, scope) == ("AWS4-HMAC-SHA256", [REGION, service, "aws4_request"])
    assert received.headers["x-amz-date"].startswith(date)
    names = parts["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(names)  # functions have a role's, with a token
    headers = {name: received.headers[name] for name in names}
    request = AWSRequest(received.method, url + received.target, headers=headers, data=received.body)
    request.context["timestamp"] = received.headers["x-amz-date"]
    auth = SigV4Auth(credentials, service, REGION)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert parts["Signature"] == expected, "AWS would refuse the signature"


@contextmanager
def graphql_api(credentials: Credentials = CREDENTIALS) -> Iterator[GraphQLApi]:
    """Listen on a free port while the context lasts; requests are to be signed with the credentials."""
    api = GraphQLApi(credentials)
    with scripted_endpoint(*[api.serve] * _ENOUGH) as endpoint:
        api.endpoint = endpoint
        yield api
