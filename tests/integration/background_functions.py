"""The functions that no client calls, in this process: `deliver` and the recovery's three, between moto's tables, a
scripted model, and `@connections`, AppSync and SNS on loopback.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from time import time
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from botocore.exceptions import ClientError

from tests.fakes.clock import FakeClock
from tests.fakes.connections_api import ConnectionsApi, connections_api
from tests.fakes.frames import Attempt
from tests.fakes.graphql_api import CREDENTIALS, GraphQLApi, graphql_api
from tests.fakes.observed import PATIENCE_SECONDS
from tests.fakes.table import CONNECTIONS, TABLE
from tests.fakes.topics_api import TOPIC, Published, TopicsApi, topics_api
from tests.function_module import Context, load_function
from tests.integration.scripted_endpoint import Endpoint, Script, scripted_endpoint
from tests.integration.websocket_functions import CLAUDE, CLIENT, SUB, Tables, close_delivery
from tokenstream import wiring
from tokenstream.connections import Connections
from tokenstream.frames import BEGINNING, Delivery, Sealed
from tokenstream.frames import Path as FramePath
from tokenstream.pump import Pump
from tokenstream.queued_frames import encode_frames
from tokenstream.session import LEASE_SECONDS, Claim, NewSession, Recipient
from tokenstream.sessions import Sessions

SAMPLES = Path(__file__).parents[2] / "events"
SAMPLE_SESSION, SAMPLE_CONNECTION = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", CLIENT
ANOTHER_SAMPLE_SESSION = "3b241101-e2bb-4255-8caf-4136c566a962"
STATE_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:recovery"
FUNCTION_SECONDS = 600
BEGIN_SECONDS = 90

_numbers = count(1)


def sample(function: str, name: str) -> dict[str, Any]:
    """Return a sample event."""
    event: dict[str, Any] = json.loads((SAMPLES / function / f"{name}.json").read_text())
    return event


class RecordedExecutions:
    """Step Functions' client, which runs nothing. `fails` is raised by each start; a name starts one execution."""

    def __init__(self) -> None:
        self.inputs: dict[str, str] = {}
        self.fails: Exception | None = None

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002, N803 - the SDK's
        assert stateMachineArn == STATE_MACHINE
        assert len(name) <= 80
        if self.fails is not None:
            raise self.fails
        if name in self.inputs:
            raise ClientError({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")
        self.inputs[name] = input

    def sessions(self) -> list[str]:
        """Return the sessions that were to be recovered, in order."""
        return [json.loads(text)["sessionId"] for text in self.inputs.values()]


class RecordedHides:
    """SQS's client, with nothing behind it: how long each message was to be hidden, by its receipt."""

    def __init__(self) -> None:
        self.seconds: dict[str, int] = {}
        self.fails: Exception | None = None

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:  # noqa: N803 - the SDK's names
        if self.fails is not None:
            raise self.fails
        self.seconds[ReceiptHandle] = VisibilityTimeout


class Functions:
    """The functions, and all that is around them. `clock` is the pauses' between two tries to reach a client."""

    def __init__(
        self,
        tables: Tables,
        api: ConnectionsApi,
        graphql: GraphQLApi,
        topics: TopicsApi,
        model: Endpoint,
        clock: FakeClock,
        load: Callable[[str], Any],
        *,
        store_answers: bool,
    ) -> None:
        self.table = tables.sessions
        self.api = api
        self.graphql = graphql
        self.topics = topics
        self.model = model
        self.clock = clock
        self.executions = RecordedExecutions()
        self.hides = RecordedHides()
        self.sessions = Sessions(tables.sessions, TABLE, ttl=3600, store_answers=store_answers)
        self._connections = Connections(tables.connections, CONNECTIONS)
        self._load = load
        self._closing = ExitStack()

    @cached_property
    def deliver(self) -> Any:
        module = self._load("deliver")
        self._closing.callback(module.queue._client.close)
        module.queue._client = self.hides
        module.ready_at = 0.0  # it has been warm for long
        for way in (module.post, module.publish):
            self._closing.callback(way.close)
        return module

    @cached_property
    def recovery(self) -> Any:
        module = self._load("recovery")
        self._closing.callback(module.bedrock._connection.close)
        for delivery in (module.websocket, module.appsync):
            self._closing.callback(close_delivery, delivery)
        return module

    @cached_property
    def recovery_start(self) -> Any:
        return self._starting("recovery_start")

    @cached_property
    def recovery_sweep(self) -> Any:
        return self._starting("recovery_sweep")

    def _starting(self, name: str) -> Any:
        module = self._load(name)
        self._closing.callback(module.recoveries._client.close)
        module.recoveries._client = self.executions
        return module

    # Sessions

    def accepted(
        self,
        path: FramePath = "websocket",
        *,
        session_id: str | None = None,
        connection_id: str = CLIENT,
        delivery: Delivery = "direct",
        ago: float = 0.0,
        begin_within: float = BEGIN_SECONDS,
        **fields: Any,
    ) -> str:
        """Record a session as its front door does, `ago` seconds ago; gives its id."""
        session_id = session_id or str(uuid4())
        request = {"prompt": "Hi", "delivery": delivery, **fields, "sessionId": session_id}
        new = NewSession(session_id, SUB, path, delivery, CLAUDE, json.dumps(request).encode())
        now = time() - ago
        if path in {"url", "rest"}:
            self.sessions.begin(new, f"http-{next(_numbers)}", now)
            return session_id
        recipient = Recipient(connection_id, BEGINNING, f"ticket-{next(_numbers)}") if path == "websocket" else None
        if recipient is not None:
            self.connect(connection_id)
        self.sessions.accept(new, recipient, now, begin_within=begin_within)
        return session_id

    def forget(self, session_id: str) -> None:
        """The session expires."""
        for item in self.table.items():
            if item["sessionId"] == {"S": session_id}:
                key = {"sessionId": item["sessionId"], "item": item["item"]}
                self.table.delete_item(TableName=TABLE, Key=key)

    def connect(self, connection_id: str) -> None:
        """A client has opened a connection."""
        self._connections.open(connection_id, SUB, time())

    def disconnect(self, connection_id: str) -> None:
        """A client has closed its connection."""
        self._connections.close(connection_id)
        self.api.close(connection_id)

    def moved(self, session_id: str, connection_id: str) -> None:
        """The session's client waits on another connection."""
        self.connect(connection_id)
        assert self.sessions.redirect(session_id, SUB, Recipient(connection_id, BEGINNING, f"ticket-{next(_numbers)}"))

    def taken(self, session_id: str, *texts: str, lease_left: float = LEASE_SECONDS) -> tuple[Claim, list[Sealed]]:
        """Let a worker claim a session and store some text; its lease lasts for some seconds more."""
        now = time() - LEASE_SECONDS + lease_left
        claim = self.sessions.claim(session_id, f"worker-{next(_numbers)}", now)
        frames = Attempt(session_id, claim.attempt)
        stored = [frames.start(), *map(frames.token, texts)]
        if self.sessions.store_answers:
            self.sessions.store(claim, stored, now)
        return claim, stored

    def status(self, session_id: str) -> str:
        return str(self.table.record(session_id)["status"]["S"])

    def stored(self, session_id: str) -> list[dict[str, Any]]:
        """Return what somebody gets who comes back: the current attempt's frames, the terminal one included."""
        session = self.sessions.get(session_id, SUB)
        frames = self.sessions.frames_after(session_id, session.attempt, 0)
        return [json.loads(sealed.json) for sealed in (*frames, *([session.terminal] if session.terminal else []))]

    # deliver

    def delivered(self, *records: dict[str, Any]) -> list[str]:
        """Have a batch delivered; gives the ids of the messages that are to come back."""
        event = json.loads(json.dumps({"Records": records}))
        result = self.deliver.handler(event, Context(aws_request_id=f"deliver-{next(_numbers)}"))
        assert result.keys() == {"batchItemFailures"}
        return [failure["itemIdentifier"] for failure in result["batchItemFailures"]]

    def frames(self, connection_id: str) -> list[dict[str, Any]]:
        """Return the frames that a connection has received."""
        return [message for message in self.api.messages(connection_id) if "sequence" in message]

    def published(self, session_id: str) -> list[dict[str, Any]]:
        """Return the frames that AppSync's subscribers have received."""
        return [json.loads(event["frame"]) for event in self.graphql.published(session_id)]

    # recovery

    def look(self, session_id: str, tries: int = 0, *, lingered: bool = False) -> str:
        """Look a session up; gives the next step."""
        return str(self.step(step="look", sessionId=session_id, tries=tries, lingered=lingered)["next"])

    def generate(self, session_id: str) -> str:
        return str(self.step(step="generate", sessionId=session_id)["result"])

    def give_up(self, session_id: str, *, lingered: bool = False) -> str:
        return str(self.step(step="give_up", sessionId=session_id, lingered=lingered)["result"])

    def step(self, **event: Any) -> dict[str, Any]:
        """Do a step of the state machine's."""
        context = Context(aws_request_id=f"recovery-{next(_numbers)}", seconds_left=FUNCTION_SECONDS)
        result = self.recovery.handler(json.loads(json.dumps(event)), context)
        answer: dict[str, Any] = json.loads(json.dumps(result))
        return answer

    def close(self) -> None:
        self.model.close_connections()
        self._closing.close()


def message(
    session_id: str,
    frames: list[Sealed],
    *,
    connection_id: str | None = None,
    receives: int = 1,
    group: str | None = None,
    waited: float = 0.0,
) -> dict[str, Any]:
    """Return a record of frames as `deliver` gets it, `waited` seconds after it was put into the queue."""
    text = encode_frames(session_id, [frame.json for frame in frames], connection_id)
    place = "-".join(map(str, frames[0].frame.position)) if frames else f"beat{next(_numbers)}"
    return Published(group or session_id, f"{session_id}-{place}", text).record(receives, time() - waited)


FunctionsFactory = Callable[..., Functions]


@contextmanager
def background_functions(tables: Tables) -> Iterator[FunctionsFactory]:
    """Give what starts the functions anew, with a model that follows scripts and with changes to their environment.

    A variable that is set to nothing is left out. Workers look at their sessions often; between two tries to reach a
    client no time passes.
    """
    with ExitStack() as stack:

        def start(*scripts: Script, **environment: str) -> Functions:
            stack.enter_context(
                patch.dict(Pump.__init__.__kwdefaults__, {"look_every": 0.01, "disconnect_grace": PATIENCE_SECONDS})
            )
            stack.enter_context(patch.object(wiring, "TIMEOUT_SECONDS", PATIENCE_SECONDS))
            api = stack.enter_context(connections_api())
            graphql = stack.enter_context(graphql_api())
            topics = stack.enter_context(topics_api())
            model = stack.enter_context(scripted_endpoint(*scripts))
            variables = {
                "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
                "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
                "AWS_SESSION_TOKEN": str(CREDENTIALS.token),
                "SESSIONS_TABLE": TABLE,
                "CONNECTIONS_TABLE": CONNECTIONS,
                "SESSION_TTL_SECONDS": "3600",
                "STORE_ANSWERS": "true",
                "ALLOWED_MODELS": CLAUDE,
                "MAX_TOKENS_CAP": "1000",
                "BEDROCK_API": "auto",
                "FLUSH_INTERVAL_MS": "0",
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
                "RECOVERY_ATTEMPTS": "2",
                "FALLBACK_MODEL": "",
                "RECOVERY_STATE_MACHINE": STATE_MACHINE,
                "DIRECT_SEND": "true",
                "FRAMES_TOPIC": TOPIC,
                "FRAMES_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/frames.fifo",
                "AWS_ENDPOINT_URL_SNS": topics.url,
                "WEBSOCKET_ENDPOINT": api.url,
                "GRAPHQL_ENDPOINT": graphql.url,
            }
            given = {name: value for name, value in {**variables, **environment}.items() if value}
            clock = FakeClock()

            def load(name: str) -> Any:
                with (
                    # One table for all of them, which a test can look into and let fail.
                    patch.object(wiring, "_dynamodb", lambda endpoint, region: tables.sessions),
                    patch.object(wiring, "monotonic", clock),
                    patch.object(wiring, "sleep", clock.advance),
                ):
                    # Whatever the switch says, deliver sends directly.
                    return load_function(name, **(variables if name == "deliver" else given))

            stores = given["STORE_ANSWERS"] == "true"
            functions = Functions(tables, api, graphql, topics, model, clock, load, store_answers=stores)
            stack.callback(functions.close)
            return functions

        yield start
    tables.sessions.unreachable = False
    tables.sessions.before = lambda operation: None
    # Connections are the test's own.
    for item in tables.connections.items():
        tables.connections.delete_item(TableName=CONNECTIONS, Key={"connectionId": item["connectionId"]})
