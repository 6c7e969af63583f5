"""`http_stream` as a caller sees it, in this process: the real handler between moto's table and a scripted model."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from tests.fakes.table import TABLE, Table
from tests.integration.scripted_endpoint import Endpoint, Exchange, Script, scripted_endpoint, status_line
from tests.unit.recorded_response import RecordedResponse
from tests.unit.test_http_call import rest_event, url_event
from tests.unit.user_pool import CLIENT_ID, SUB, SigningKey, claims
from tokenstream import wiring

FUNCTION = Path(__file__).parents[2] / "functions" / "http_stream"
KEY = SigningKey.generate("key")
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "amazon.nova-lite-v1:0"
PAGE = "https://app.example"


@dataclass
class Context:
    """Lambda's."""

    seconds_left: float = 60.0
    aws_request_id: str = "worker"
    function_name: str = "http_stream"
    function_version: str = "$LATEST"
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:http_stream"
    memory_limit_in_mb: int = 1024

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds_left * 1000)


@dataclass
class Answer:
    """What a caller gets, streamed or in one piece."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    streamed: bool
    ended: str | None = None

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error

    @property
    def frames(self) -> list[dict[str, Any]]:
        if self.headers["Content-Type"].startswith("text/event-stream"):
            lines = [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data")]
        else:
            lines = self.body.decode().removesuffix("\n").split("\n")
        return [json.loads(line) for line in lines]

    @property
    def text(self) -> str:
        return "".join(frame["token"] for frame in self.frames if frame["type"] == "token")


class Function:
    """The function, with the table and the model behind it. `response` is the streamed one of the latest call."""

    def __init__(self, module: Any, table: Table, model: Endpoint, keys: Endpoint) -> None:
        self.module = module
        self.table = table
        self.model = model
        self.keys = keys
        self.response = RecordedResponse()

    def __call__(self, event: Any, context: Context | None = None) -> Answer:
        self.response = RecordedResponse()
        with patch.object(self.module, "response_stream", self.response.open):
            return self.invoke(event, context)

    def invoke(self, event: Any, context: Context | None = None) -> Answer:
        """Call the function as it is, for a second call beside a streamed one or without a way to stream."""
        result = self.module.handler(event, context or Context())
        if result is None:
            assert self.response.head is not None, "a caller would see 200 and `null`"
            return Answer(*self.response.head, self.response.body, True, self.response.ended)
        body = result["body"]
        body = body.encode() if isinstance(body, str) else b"".join(body)
        return Answer(int(result["statusCode"]), result["headers"], body, False)

    def post(self, body: Any, headers: Mapping[str, str] = {}, context: Context | None = None) -> Answer:
        return self(call("POST", "/", body, headers), context)


def user_token(sub: str = SUB, **changes: Any) -> str:
    return KEY.sign(claims(sub=sub, iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool", **changes))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def call(method: str, path: str, body: Any = "", headers: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return a function URL's event, signed in unless `authorization` says otherwise."""
    text = body if isinstance(body, str) else json.dumps(body)
    event = url_event(rawPath=path, body=text, headers={**bearer(user_token()), **headers})
    event["requestContext"]["http"]["method"] = method
    return event


def rest_call(method: str, resource: str, body: Any = "", headers: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return a REST API's event behind its Cognito authorizer, all of whose claims are texts."""
    event = rest_event(httpMethod=method, resource=resource, body=json.dumps(body), headers=headers)
    verified = {name: str(value) for name, value in claims().items()}
    event["requestContext"]["authorizer"] = {"claims": verified | {"exp": "Fri Nov 20 20:00:00 UTC 2026"}}
    return event


def session_call(
    method: str, session_id: str, headers: Mapping[str, str] = {}, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return call(method, f"/sessions/{session_id}", headers=headers) | {"queryStringParameters": query}


def _jwks(exchange: Exchange) -> None:
    body = json.dumps({"keys": [KEY.jwk]}).encode()
    exchange.raw(status_line(200) + b"Content-Length: %d\r\n\r\n" % len(body) + body)


FunctionFactory = Callable[..., Function]


@contextmanager
def http_stream(table: Table) -> Iterator[FunctionFactory]:
    """Give what starts the function anew, with a model that follows scripts and with changes to its environment."""
    with ExitStack() as stack:

        def start(*scripts: Script, keys: Script = _jwks, **environment: str) -> Function:
            model = stack.enter_context(scripted_endpoint(*scripts))
            key_set = stack.enter_context(scripted_endpoint(*[keys] * 10))
            defaults = {
                "AWS_REGION": "us-east-1",
                "SESSIONS_TABLE": TABLE,
                "USER_POOL_ID": "us-east-1_pool",
                "USER_POOL_CLIENT_ID": CLIENT_ID,
                "ALLOWED_MODELS": f"{CLAUDE},{NOVA}",
                "MAX_TOKENS_CAP": "1000",
                "BEDROCK_API": "auto",
                "FLUSH_INTERVAL_MS": "0",
                "ALLOWED_ORIGINS": PAGE,
                "STORE_ANSWERS": "true",
                "SESSION_TTL_SECONDS": "3600",
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
                "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": key_set.url,
            }
            spec = spec_from_file_location(f"http_stream_{uuid4().hex}", FUNCTION / "app.py")
            assert spec is not None
            assert spec.loader is not None
            module: Any = module_from_spec(spec)
            with (
                patch.dict("os.environ", defaults | environment),
                patch.object(wiring, "_dynamodb", lambda endpoint, region: table),
            ):
                spec.loader.exec_module(module)
            stack.callback(_disconnect, module)
            return Function(module, table, model, key_set)

        yield start


def _disconnect(module: Any) -> None:
    if module.bedrock._connection is not None:
        module.bedrock._connection.close()
