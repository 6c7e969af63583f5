import json
import logging
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from tests.fakes import topics_api
from tests.fakes.connections_api import BROKEN
from tests.fakes.graphql_api import UNAUTHORIZED
from tests.fakes.log_lines import log_lines
from tests.fakes.prompts import MAX_RECEIVES
from tests.integration.appsync_functions import Cloud, FunctionsFactory, appsync_cloud, appsync_functions
from tests.integration.scripted_endpoint import refused, streamed
from tests.unit.bedrock_messages import anthropic_answer, exception
from tokenstream import telemetry
from tokenstream.session import LEASE_SECONDS
from tokenstream.sinks.failover import CIRCUIT_SECONDS

MARK = "mark-7f3a9c"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with appsync_cloud() as cloud:
        yield cloud


@pytest.fixture
def functions_with(cloud: Cloud) -> Iterator[FunctionsFactory]:
    with appsync_functions(cloud) as start:
        yield start


@pytest.fixture
def everything_is_logged() -> Iterator[None]:
    # The services' stand-in is no part of the functions.
    wanted = {"": logging.DEBUG, telemetry.SERVICE: logging.DEBUG, "moto": logging.WARNING}
    levels = {name: logging.getLogger(name).level for name in wanted}
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(level)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("everything_is_logged")
def test_no_log_line_has_a_prompt_a_token_or_a_credential(
    functions_with: FunctionsFactory, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenstream.sources.bedrock.random", lambda: -1.0)
    answer = anthropic_answer([f"{MARK}-one ", f"{MARK}-two"])
    broken_off = streamed([*answer[:3], exception("throttlingException")])
    functions = functions_with(
        streamed(answer), *[broken_off] * MAX_RECEIVES, refused(400, "ValidationException"), *[streamed(answer)] * 3
    )
    with log_lines() as lines:
        # A whole answer, one that is given up again and again, one that is refused.
        for deliveries in (1, MAX_RECEIVES, 1):
            functions.ask(MARK, system=MARK)
            for _ in range(deliveries):
                functions.deliver()
                functions.prompts.all_come_back()
        # Nobody can be told.
        for fault, of_topic in ((BROKEN, topics_api.BROKEN), (UNAUTHORIZED, topics_api.FORBIDDEN)):
            functions.api.always(fault)
            functions.topics.always(of_topic)
            functions.ask(MARK)
            assert functions.deliver()
            functions.clock.advance(CIRCUIT_SECONDS)
        functions.api.always(None)
        # Nothing to be done, nothing that can be, nobody else's, nothing of ours, nothing that is allowed any more.
        taken = functions.ask(MARK)
        functions.dies(taken, MARK, lease_left=LEASE_SECONDS)
        functions.deliver()
        dead = functions.ask(MARK)
        functions.prompts.deliver(lambda event: {"batchItemFailures": []})
        for body in (MARK, f'{{"{MARK}": "{MARK}"}}', f'{{"sessionId": "{MARK}", "request": {{}}}}'):
            functions.prompts.put(body)
            assert functions.deliver()
        functions.prompts.put(json.dumps({"sessionId": dead, "request": {MARK: MARK, "prompt": MARK}}))
        assert functions.deliver()
        # What is refused.
        for arguments in (
            {},
            {"prompt": MARK, "model": MARK},
            {"prompt": MARK, MARK: MARK},
            {"prompt": f"{MARK}\ud800"},
        ):
            assert "error" in functions.start(**arguments)
        # The services fail.
        functions.sqs.fails = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessage")
        functions.start(prompt=MARK)
        functions.sqs.fails = None
        functions.ask(MARK)
        record = functions.prompts.record()
        assert record is not None
        functions.sqs.unreachable = functions.table.unreachable = True
        functions.start(prompt=MARK)
        with pytest.raises(Exception):  # noqa: B017, PT011 - Lambda logs what it is
            functions.prompts.deliver_record(lambda event: functions._process(event, None), record)
    logged = "\n".join([*lines, *capfd.readouterr()])
    for message in (
        "stream ended",
        "stream failed",
        "attempt ended without the stream",
        "message not delivered",
        "frame refused",
        "another worker has it",
        "message is no prompt",
        "request not allowed any more",
        "direct way failed",
        "frames refused by the topic",
        "request rejected",
        "prompt not queued",
        "message not hidden",
    ):
        assert message in logged
    assert MARK not in logged
    assert "session-token" not in logged


def test_a_log_line_says_which_session_of_which_path(functions_with: FunctionsFactory) -> None:
    functions = functions_with(streamed(anthropic_answer()))
    with log_lines() as lines:
        session_id = functions.ask()
        functions.deliver()
        functions.prompts.put(json.dumps({"sessionId": session_id, "request": {}}))
        functions.deliver()
        functions.start(prompt="")
    for message, named in {
        "stream ended": f'"session_id":"{session_id}"',
        "nothing left to do": f'"session_id":"{session_id}"',
        "request rejected": '"error_code":"invalid_request"',
    }.items():
        [line] = {line for line in lines if f'"message":"{message}"' in line}
        assert named in line
        assert '"path":"appsync"' in line
