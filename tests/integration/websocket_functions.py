"""The WebSocket path's functions as clients see them, in this process: the real handlers of one stack between moto's
tables, a scripted model, `@connections` and SNS on loopback. What `ws_message` starts a test hands to `ws_stream`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from operator import methodcaller
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from time import time
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import uuid4

from botocore.exceptions import ClientError, EndpointConnectionError

from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import ConnectionsApi, connections_api
from tests.fakes.graphql_api import CREDENTIALS
from tests.fakes.observed import PATIENCE_SECONDS
from tests.fakes.table import CONNECTIONS, TABLE, Table, connections_table, sessions_table
from tests.fakes.topics_api import TOPIC, TopicsApi, topics_api
from tests.function_module import Context, load_function
from tests.integration.scripted_endpoint import Endpoint, Exchange, Script, scripted_endpoint
from tests.unit.bedrock_messages import anthropic_answer, chunk
from tokenstream import wiring
from tokenstream.pump import Pump
from tokenstream.session import Claim, NewSession
from tokenstream.sessions import Sessions

CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
STREAM_FUNCTION = "stack-ws-stream"
SUB = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"
STRANGER = "99999999-0000-4000-8000-000000000000"
CLIENT, ANOTHER = "VqYb2cO1IAMCIhw=", "VqYb2cO1IAMCIhx="
MINE = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
EXPIRED, LATER = 1_000_000_000, 4_102_444_800
"""When tokens expire: one that has, and one that doesn't."""

_SAMPLE = Path(__file__).parents[2] / "events" / "ws_message" / "stream.json"
_numbers = count(1)


class RecordedInvokes:
    """Lambda's client, which starts nothing. `before` is called ahead of each start, `fails` is raised by it."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []
        self.before: Callable[[dict[str, Any]], object] = lambda payload: None
        self.fails: Exception | None = None

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> None:  # noqa: N803 - the SDK's names
        assert (FunctionName, InvocationType) == (STREAM_FUNCTION, "Event")
        payload = json.loads(Payload)
        self.before(payload)
        if self.fails is not None:
            raise self.fails
        self.payloads.append(payload)


class Talker:
    """A model that says what a test makes it say, when it does. Used as a script of its endpoint."""

    def __init__(self) -> None:
        self.called = Event()
        self.left = Event()
        self._opening, self._closing = anthropic_answer([])[:2], anthropic_answer([])[2:]
        self._steps: SimpleQueue[Callable[[Exchange], object] | None] = SimpleQueue()

    def __call__(self, exchange: Exchange) -> None:
        self.called.set()
        exchange.head()
        for message in self._opening:
            exchange.chunk(message)
        while (step := self._steps.get(timeout=PATIENCE_SECONDS)) is not None:
            step(exchange)

    def says(self, *texts: str) -> None:
        for text in texts:
            delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            self._steps.put(methodcaller("chunk", chunk(delta)))

    def then(self, call: Callable[[], object]) -> None:
        """Make a call once all that was to be said up to here has been sent."""
        self._steps.put(lambda exchange: call())

    def finishes(self) -> None:
        for message in self._closing:
            self._steps.put(methodcaller("chunk", message))
        self._steps.put(Exchange.end)
        self._steps.put(None)

    def awaits_leaving(self) -> None:
        """Say no more, and wait until the stream is closed."""

        def wait(exchange: Exchange) -> None:
            exchange.await_leaving()
            self.left.set()

        self._steps.put(wait)
        self._steps.put(None)


class Functions:
    """The functions, and all that is around them. `clock` is that of the ways to the clients."""

    def __init__(
        self,
        table: Table,
        api: ConnectionsApi,
        topics: TopicsApi,
        model: Endpoint,
        clock: FakeClock,
        modules: Mapping[str, Any],
    ) -> None:
        self.table = table
        self.api = api
        self.topics = topics
        self.model = model
        self.clock = clock
        self.ws_message = modules["ws_message"]
        self.ws_stream = modules["ws_stream"]
        self.sdk = self.ws_message.functions
        self.invokes = RecordedInvokes()
        self.ws_message.functions = self.invokes
        self.sessions: Sessions = self.ws_stream.sessions
        self._pool = ThreadPoolExecutor(4)

    def send(
        self, connection_id: str, message: Any, *, sub: str = SUB, expires_at: int = LATER
    ) -> list[dict[str, Any]]:
        """Have a client send a message, JSON unless it is text; gives what its connection got meanwhile."""
        before = len(self.api.raw(connection_id))
        event = json.loads(_SAMPLE.read_text())
        event["body"] = message if isinstance(message, str) else json.dumps(message)
        context = event["requestContext"]
        context["connectionId"] = connection_id
        context["requestId"] = f"request-{next(_numbers)}"
        context["authorizer"] |= {"principalId": sub, "sub": sub, "expiresAt": str(expires_at)}
        result = self.ws_message.handler(event, Context(aws_request_id=f"message-{next(_numbers)}"))
        assert result == {"statusCode": 200}, "API Gateway would send an error of its own"
        return self.api.messages(connection_id)[before:]

    def ask(self, connection_id: str, prompt: str = "Hi", **fields: Any) -> tuple[str, dict[str, Any]]:
        """Have a client ask for an answer; gives the session's id and the event that starts it."""
        [reply] = self.send(connection_id, {"action": "stream", "prompt": prompt, **fields})
        assert reply["type"] == "accepted", reply
        return reply["sessionId"], self.invokes.payloads.pop()

    def resume(
        self, connection_id: str, session_id: str, after: tuple[int, int] | None = None, **fields: Any
    ) -> dict[str, Any] | None:
        """Have a client resume; gives the event of the replay that this has started, if it has."""
        position = {} if after is None else {"after": {"attempt": after[0], "sequence": after[1]}}
        message = {"action": "resume", "sessionId": session_id, **position, **fields}
        # Live frames may follow at once.
        reply = self.send(connection_id, message)[0]
        assert reply["type"] == "accepted", reply
        return self.invokes.payloads.pop() if self.invokes.payloads else None

    def work(self, event: dict[str, Any], context: Context | None = None) -> None:
        """Let `ws_stream` work an event off."""
        name = f"worker-{next(_numbers)}"
        assert self.ws_stream.handler(json.loads(json.dumps(event)), context or Context(aws_request_id=name)) is None

    def working(self, event: dict[str, Any], context: Context | None = None) -> "Future[None]":
        """Let `ws_stream` work an event off on a thread of its own."""
        return self._pool.submit(self.work, event, context)

    def replayed(self, session_id: str, after: tuple[int, int] | None = None) -> list[dict[str, Any]]:
        """Resume on a new connection what nobody streams to one; gives all that it gets."""
        connection_id = f"replay-{next(_numbers)}"
        replay = self.resume(connection_id, session_id, after)
        assert replay is not None, "somebody streams to a connection"
        self.work(replay)
        return self.frames(connection_id)

    def http_session(self) -> tuple[NewSession, Claim]:
        """Begin a session of the function URL's."""
        new = NewSession(str(uuid4()), SUB, "url", "direct", CLAUDE, b"{}")
        return new, self.sessions.begin(new, "http-worker", time())

    def queued(self, session_id: str) -> list[dict[str, Any]]:
        """Return the frames of a session that the queue behind the topic has got, as they came."""
        return queued_frames(self.topics, session_id)

    def await_text(self, connection_id: str, expected: str) -> None:
        """Wait until a connection has received a text."""
        self.api.await_messages(connection_id, lambda messages: text(messages) == expected)

    def await_frames(self, connection_id: str, count: int) -> list[dict[str, Any]]:
        """Wait until a connection has received so many frames; gives them."""
        self.api.await_messages(connection_id, lambda messages: len(_frames(messages)) >= count)
        return self.frames(connection_id)

    def frames(self, connection_id: str) -> list[dict[str, Any]]:
        """Return a connection's frames, in the order in which they came."""
        return _frames(self.api.messages(connection_id))

    def status(self, session_id: str) -> str:
        return str(self.table.record(session_id)["status"]["S"])

    def close(self) -> None:
        self.sdk.close()
        # A worker that a failed test has left waiting for the model must not be waited for.
        self.model.close_connections()
        self._pool.shutdown()
        for module in (self.ws_message, self.ws_stream):
            close_delivery(module.delivery)
        self.ws_stream.bedrock._connection.close()


def _frames(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if "sequence" in message]


def text(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["token"] for frame in frames if frame["type"] == "token")


def assert_whole(frames: list[dict[str, Any]]) -> None:
    """Assert that these are an attempt's frames, from the first to the terminal one, each once."""
    assert [frame["sequence"] for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame["type"] in {"complete", "error"} for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert len({(frame["sessionId"], frame["attempt"]) for frame in frames}) == 1


def queued_frames(topics: TopicsApi, session_id: str) -> list[dict[str, Any]]:
    """Return the frames of a session that the queue behind the topic has got, as they came."""
    bodies = [json.loads(message.text) for message in topics.queued if message.group == session_id]
    return [frame for body in bodies if body["type"] == "frames" for frame in body["frames"]]


def close_delivery(delivery: Any) -> None:
    """Close the connections of a function's ways out."""
    for way in (delivery._topic, getattr(delivery, "_post", None), getattr(delivery, "_publish", None)):
        if way is not None:
            way.close()


def start_failures() -> dict[str, Exception]:
    """Return the ways in which a worker's start fails."""
    return {
        "refused": ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "words of theirs"}}, "Invoke"),
        "unreachable": EndpointConnectionError(endpoint_url="https://lambda.us-east-1.amazonaws.com"),
    }


class Tables(NamedTuple):
    """The template's two."""

    sessions: Table
    connections: Table


@contextmanager
def websocket_tables() -> Iterator[Tables]:
    """Create the tables, empty."""
    with sessions_table() as sessions, connections_table() as connections:
        yield Tables(sessions, connections)


FunctionsFactory = Callable[..., Functions]


@contextmanager
def websocket_functions(tables: Tables) -> Iterator[FunctionsFactory]:
    """Give what starts the functions anew, with a model that follows scripts and with changes to their environment.

    The worker looks at its session often, and misses a client for `grace` seconds. Between two tries to reach a client
    no time passes. A variable that is set to nothing is left out.
    """
    with ExitStack() as stack:

        def start(*scripts: Script, grace: float = PATIENCE_SECONDS, **environment: str) -> Functions:
            stack.enter_context(
                patch.dict(Pump.__init__.__kwdefaults__, {"look_every": 0.01, "disconnect_grace": grace})
            )
            # However slow the machine is, no message is given up for it.
            stack.enter_context(patch.object(wiring, "TIMEOUT_SECONDS", PATIENCE_SECONDS))
            api = stack.enter_context(connections_api())
            topics = stack.enter_context(topics_api())
            model = stack.enter_context(scripted_endpoint(*scripts))
            variables = {
                "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
                "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
                "AWS_SESSION_TOKEN": str(CREDENTIALS.token),
                "CONNECTIONS_TABLE": CONNECTIONS,
                "SESSIONS_TABLE": TABLE,
                "SESSION_TTL_SECONDS": "3600",
                "STORE_ANSWERS": "true",
                "ALLOWED_MODELS": CLAUDE,
                "MAX_TOKENS_CAP": "1000",
                "BEDROCK_API": "auto",
                "FLUSH_INTERVAL_MS": "0",
                "DIRECT_SEND": "true",
                "FRAMES_TOPIC": TOPIC,
                "AWS_ENDPOINT_URL_SNS": topics.url,
                "WEBSOCKET_ENDPOINT": api.url,
                "STREAM_FUNCTION": STREAM_FUNCTION,
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
                **environment,
            }
            given = {name: value for name, value in variables.items() if value}
            clock = FakeClock()
            with (
                # One table for all of them, which a test can look into and let fail.
                patch.object(wiring, "_dynamodb", lambda endpoint, region: tables.sessions),
                patch.object(wiring, "monotonic", clock),
                patch.object(wiring, "sleep", clock.advance),
            ):
                modules = {name: load_function(name, **given) for name in ("ws_message", "ws_stream")}
            functions = Functions(tables.sessions, api, topics, model, clock, modules)
            stack.callback(functions.close)
            return functions

        yield start
    tables.sessions.unreachable = False
    tables.sessions.before = lambda operation: None
    # What a connection has sent counts for ten seconds, also to the next test.
    for item in tables.connections.items():
        tables.connections.delete_item(TableName=CONNECTIONS, Key={"connectionId": item["connectionId"]})
