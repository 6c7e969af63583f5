"""The AppSync path's functions as its clients see them, in this process: the real handlers of one stack between moto's
table and queue, a scripted model, and AppSync and SNS on loopback. A test delivers the queue's messages itself.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import count
from time import time
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.fakes.clock import FakeClock
from tests.fakes.frames import Attempt
from tests.fakes.graphql_api import CREDENTIALS, GraphQLApi, graphql_api
from tests.fakes.prompts import MAX_RECEIVES, Prompts, Sqs, sqs_client
from tests.fakes.table import CONNECTIONS, TABLE, Table, sessions_table
from tests.fakes.topics_api import TOPIC, TopicsApi, topics_api
from tests.function_module import Context, load_function
from tests.integration.scripted_endpoint import PATIENCE_SECONDS, Endpoint, Script, scripted_endpoint
from tests.integration.websocket_functions import CLAUDE, SUB, close_delivery, queued_frames
from tokenstream import wiring
from tokenstream.frames import Sealed
from tokenstream.pump import Pump
from tokenstream.session import LEASE_SECONDS, Claim
from tokenstream.sessions import Sessions

FUNCTION_SECONDS = 600
"""What is left of a worker's time when it begins."""

_numbers = count(1)


class Functions:
    """The functions, and all that is around them.

    `sqs` is the client that they have, `clock` that of the ways to the subscribers.
    """

    def __init__(
        self,
        table: Table,
        sqs: Sqs,
        prompts: Prompts,
        api: GraphQLApi,
        topics: TopicsApi,
        model: Endpoint,
        clock: FakeClock,
        load: Callable[[str], Any],
    ) -> None:
        self.table = table
        self.sqs = sqs
        self.prompts = prompts
        self.api = api
        self.topics = topics
        self.model = model
        self.clock = clock
        self.appsync_start = load("appsync_start")
        self.appsync_process = load("appsync_process")
        self._load = load
        self._closing = ExitStack()
        self.sessions: Sessions = self.appsync_process.sessions
        self._pool = ThreadPoolExecutor(4)

    @cached_property
    def recovery(self) -> Any:
        module = self._load("recovery")
        self._closing.callback(module.bedrock._connection.close)
        for delivery in (module.websocket, module.appsync):
            self._closing.callback(close_delivery, delivery)
        return module

    def recover(self, session_id: str) -> None:
        """Do the state machine's steps up to the session's end, without its pauses."""
        tries = 0
        while (step := self._step("look", session_id, tries=tries, lingered=False)["next"]) == "generate":
            tries += self._step("generate", session_id)["result"] == "given_up"
        assert step in {"give_up", "end"}, "nobody else has it"
        if step == "give_up":
            self._step("give_up", session_id, lingered=False)

    def _step(self, step: str, session_id: str, **counted: Any) -> dict[str, Any]:
        context = Context(aws_request_id=f"recovery-{next(_numbers)}", seconds_left=FUNCTION_SECONDS)
        result: dict[str, Any] = self.recovery.handler({"step": step, "sessionId": session_id, **counted}, context)
        return result

    def start(self, sub: str = SUB, **arguments: Any) -> dict[str, Any]:
        """Call the mutation `startStream`; gives what its resolver gets."""
        event = json.loads(json.dumps({"arguments": arguments, "sub": sub}))
        result = self.appsync_start.handler(event, Context(aws_request_id=f"start-{next(_numbers)}"))
        answer: dict[str, Any] = json.loads(json.dumps(result))
        return answer

    def ask(self, prompt: str = "Hi", **arguments: Any) -> str:
        """Ask for an answer; gives the session's id."""
        answer = self.start(prompt=prompt, **arguments)
        assert answer.get("status") == "accepted", answer
        return str(answer["sessionId"])

    def deliver(self, context: Context | None = None) -> bool:
        """Let a worker work on a message; tells whether it is done with, or is to come back."""
        return self.prompts.deliver(lambda event: self._process(event, context))

    def delivering(self, context: Context | None = None) -> "Future[bool]":
        """Let a worker work on a message, on a thread of its own."""
        record = self.prompts.record()
        assert record is not None
        return self._pool.submit(self.prompts.deliver_record, lambda event: self._process(event, context), record)

    def dies(self, session_id: str, *texts: str, lease_left: float = -1.0) -> tuple[Claim, list[Sealed]]:
        """Let a worker claim a session, store some text and be gone; its lease lasts for some seconds more."""
        now = time() - LEASE_SECONDS + lease_left
        claim = self.sessions.claim(session_id, f"dead-{next(_numbers)}", now)
        frames = Attempt(session_id, claim.attempt)
        stored = [frames.start(), *map(frames.token, texts)]
        if self.sessions.store_answers:
            self.sessions.store(claim, stored, now)
        return claim, stored

    def frames(self, session_id: str) -> list[dict[str, Any]]:
        """Return the frames that a session's subscribers have received."""
        return [json.loads(event["frame"]) for event in self.api.published(session_id)]

    def queued(self, session_id: str) -> list[dict[str, Any]]:
        """Return the frames of a session that the queue behind the topic has got, as they came."""
        return queued_frames(self.topics, session_id)

    def await_frames(self, session_id: str, count: int) -> list[dict[str, Any]]:
        """Wait until a session's subscribers have received so many frames; gives them."""
        self.api.await_published(session_id, lambda events: len(events) >= count)
        return self.frames(session_id)

    def await_text(self, session_id: str, expected: str) -> None:
        """Wait until a session's subscribers have received a text."""
        self.api.await_published(
            session_id,
            lambda events: "".join(event["token"] for event in events if event["type"] == "token") == expected,
        )

    def stored(self, session_id: str) -> list[dict[str, Any]]:
        """Return what somebody gets who comes back: the current attempt's frames, the terminal one included."""
        session = self.sessions.get(session_id, SUB)
        frames = self.sessions.frames_after(session_id, session.attempt, 0)
        return [json.loads(sealed.json) for sealed in (*frames, *([session.terminal] if session.terminal else []))]

    def cancel(self, session_id: str) -> None:
        """Call the mutation `cancelStream`."""
        self.sessions.request_cancel(session_id, SUB)

    def status(self, session_id: str) -> str:
        return str(self.table.record(session_id)["status"]["S"])

    def close(self) -> None:
        # A worker that a failed test has left waiting for the model must not be waited for.
        self.model.close_connections()
        self._pool.shutdown()
        close_delivery(self.appsync_process.delivery)
        self._closing.close()
        self.appsync_process.bedrock._connection.close()

    def _process(self, event: dict[str, Any], context: Context | None) -> dict[str, Any]:
        context = context or Context(aws_request_id=f"worker-{next(_numbers)}", seconds_left=FUNCTION_SECONDS)
        result: dict[str, Any] = self.appsync_process.handler(json.loads(json.dumps(event)), context)
        return result


class Cloud(NamedTuple):
    """What outlives a test: the template's table, and moto's SQS."""

    table: Table
    sqs: Any


@contextmanager
def appsync_cloud() -> Iterator[Cloud]:
    """Create the table, empty."""
    with sessions_table() as table, sqs_client() as sqs:
        yield Cloud(table, sqs)


FunctionsFactory = Callable[..., Functions]


@contextmanager
def appsync_functions(cloud: Cloud) -> Iterator[FunctionsFactory]:
    """Give what starts the functions anew, with queues of their own, a model that follows scripts, and with changes to
    their environment.

    The worker looks at its session often, and misses its subscribers for `grace` seconds. Between two tries to publish
    no time passes. A variable that is set to nothing is left out.
    """
    with ExitStack() as stack:

        def start(*scripts: Script, grace: float = PATIENCE_SECONDS, **environment: str) -> Functions:
            stack.enter_context(
                patch.dict(Pump.__init__.__kwdefaults__, {"look_every": 0.01, "disconnect_grace": grace})
            )
            api = stack.enter_context(graphql_api())
            topics = stack.enter_context(topics_api())
            model = stack.enter_context(scripted_endpoint(*scripts))
            prompts = Prompts(cloud.sqs)
            sqs = Sqs(cloud.sqs)
            variables = {
                "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
                "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
                "AWS_SESSION_TOKEN": str(CREDENTIALS.token),
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
                "GRAPHQL_ENDPOINT": api.url,
                # The recovery has both; here it serves no client of this one.
                "WEBSOCKET_ENDPOINT": "https://example.com/dev",
                "PROMPT_QUEUE_URL": prompts.url,
                "PROMPT_MAX_RECEIVES": str(MAX_RECEIVES),
                "CONNECTIONS_TABLE": CONNECTIONS,
                "RECOVERY_ATTEMPTS": "2",
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
                **environment,
            }
            given = {name: value for name, value in variables.items() if value}
            clock = FakeClock()

            def load(name: str) -> Any:
                with (
                    # One table and one queue for all of them, which a test can look into and let fail.
                    patch.object(wiring, "_dynamodb", lambda endpoint, region: cloud.table),
                    patch.object(wiring, "_sqs", lambda endpoint, region: sqs),
                    patch.object(wiring, "monotonic", clock),
                    patch.object(wiring, "sleep", clock.advance),
                ):
                    return load_function(name, **given)

            functions = Functions(cloud.table, sqs, prompts, api, topics, model, clock, load)
            stack.callback(functions.close)
            return functions

        yield start
    cloud.table.unreachable = False
    cloud.table.before = lambda operation: None
