import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.fakes import topics_api
from tests.fakes.connections_api import FORBIDDEN
from tests.fakes.log_lines import log_lines
from tests.fakes.observed import PATIENCE_SECONDS
from tests.function_module import Context
from tests.integration.scripted_endpoint import (
    refused,
    streamed,
)
from tests.integration.websocket_functions import (
    ANOTHER,
    CLIENT,
    EXPIRED,
    MINE,
    FunctionsFactory,
    Tables,
    Talker,
    start_failures,
    websocket_functions,
    websocket_tables,
)
from tests.unit.bedrock_messages import anthropic_answer, exception
from tokenstream import telemetry
from tokenstream.session import LEASE_SECONDS

ANSWER = streamed(anthropic_answer())


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    with websocket_tables() as tables:
        yield tables


@pytest.fixture
def functions_with(tables: Tables) -> Iterator[FunctionsFactory]:
    with websocket_functions(tables) as start:
        yield start


# What is logged

MARK = "mark-7f3a9c"


@pytest.fixture
def everything_is_logged() -> Iterator[None]:
    # The tables' stand-in is no part of the functions.
    wanted = {"": logging.DEBUG, telemetry.SERVICE: logging.DEBUG, "moto": logging.WARNING}
    levels = {name: logging.getLogger(name).level for name in wanted}
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(level)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("everything_is_logged")
def test_no_log_line_has_a_prompt_a_token_or_a_jwt(
    functions_with: FunctionsFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = anthropic_answer([f"{MARK}-one ", f"{MARK}-two"])
    talker = Talker()
    functions = functions_with(
        streamed(answer),
        streamed([*answer[:3], exception("throttlingException")]),
        refused(400, "ValidationException"),
        talker,
    )
    prompt = {"action": "stream", "prompt": MARK, "system": MARK, "requestId": MARK}
    with log_lines() as lines:
        events = []
        for _ in range(3):
            functions.send(CLIENT, prompt)
            events.append(functions.invokes.payloads.pop())
            with suppress(functions.ws_stream.AttemptGivenUp):
                functions.work(events[-1])
        for resumed in events:
            if replay := functions.resume(ANOTHER, resumed["sessionId"]):
                functions.work(replay)
            functions.send(CLIENT, {"action": "cancel", "sessionId": resumed["sessionId"]})
        for bad in (MARK, {MARK: MARK}, {"action": MARK}, {**prompt, MARK: MARK}, {**prompt, "model": MARK}):
            functions.send(CLIENT, bad)
        functions.send(CLIENT, prompt, expires_at=EXPIRED)
        functions.send(CLIENT, {**prompt, "sessionId": events[0]["sessionId"]})
        # A worker that is lost in mid-stream, with both ways broken, and one that fails.
        functions.send(CLIENT, prompt)
        event = functions.invokes.payloads.pop()
        worker = functions.working(event, Context(aws_request_id="lost"))
        # What is refused is the text, and not the start ahead of it.
        functions.api.await_messages(CLIENT, lambda messages: messages[-1]["type"] == "start")
        functions.api.always(CLIENT, FORBIDDEN)
        functions.topics.always(topics_api.FORBIDDEN)
        talker.says(MARK)
        talker.awaits_leaving()
        functions.topics.wait_until(lambda: MARK in str(functions.topics.tries))
        later = functions.ws_stream.time() + LEASE_SECONDS + 1
        functions.sessions.claim(event["sessionId"], "another", later)
        worker.result(PATIENCE_SECONDS)
        for failure in (*start_failures().values(), ZeroDivisionError("odd")):
            functions.invokes.fails = failure
            functions.send(ANOTHER, prompt)
        functions.table.unreachable = True
        functions.send(ANOTHER, prompt)
        with pytest.raises(Exception):  # noqa: B017, PT011 - Lambda logs what it is
            functions.work({"sessionId": MINE, "request": {"prompt": MARK}})
    logged = "\n".join([*lines, *capfd.readouterr()])
    for message in (
        "stream ended",
        "message rejected",
        "attempt ended without the stream",
        "direct way failed",
        "frames refused by the topic",
        "stream not started",
    ):
        assert message in logged
    assert MARK not in logged
    assert '"authorizer"' not in logged


def test_a_log_line_says_which_session_on_which_connection(functions_with: FunctionsFactory) -> None:
    functions = functions_with(ANSWER)
    with log_lines() as lines:
        session_id, event = functions.ask(CLIENT)
        functions.work(event)
        functions.send(CLIENT, "no JSON")
        functions.replayed(session_id)
    for message, named in {
        "stream ended": f'"session_id":"{session_id}"',
        "message rejected": f'"connection_id":"{CLIENT}"',
        "replayed": f'"session_id":"{session_id}"',
    }.items():
        [line] = {line for line in lines if f'"message":"{message}"' in line}
        assert named in line
        assert '"path":"websocket"' in line
