"""Functions that the emulator invokes and the stack runs: results, failures, and who may invoke them."""

import asyncio
import io
import json
import textwrap
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from local.cloud.clients import AwsClients
from local.cloud.forwarding import forward, package
from local.cloud.ministack_functions import HANDLER, Forwarder, with_forwarders
from local.functions.config import FunctionConfig
from local.functions.failure_record import with_failure_records
from local.functions.invocation import FunctionFailed
from local.functions.invoke_api import InvokeApi, InvokeTarget
from local.functions.lambda_service import LambdaService
from tests.local.stack_process import RunningStack
from tests.local.websocket_fakes import until
from tests.streaming_layer import link_layer

NOW = datetime(2026, 11, 20, 12, 1, 0, 568_999, UTC)
TIMEOUT = 120.0
SOURCE = """
    import json, os, signal, time
    from pathlib import Path

    records = Path(os.environ["RECORDS"])

    def note(line):
        with records.open("a") as file:
            file.write(json.dumps(line) + "\\n")

    def handler(event, context):
        match event.get("do", "record"):
            case "return":
                return {"event": event, "requestId": context.aws_request_id}
            case "raise":
                note({"started": context.aws_request_id, "do": "raise"})
                raise LookupError("nothing there: ✓")
            case "hang":
                note({"started": context.aws_request_id, "do": "hang"})
                while not Path(event.get("gate", "/never")).exists():
                    time.sleep(0.01)
            case "die":
                note({"started": context.aws_request_id, "do": "die"})
                os.kill(os.getpid(), signal.SIGKILL)
            case "record":
                note({"record": event})
"""


@dataclass
class Functions:
    """Two functions in the emulator, the second one the first's failure destination; both run in this process."""

    client: Any
    service: LambdaService
    config: FunctionConfig
    notes: Path

    @property
    def name(self) -> str:
        return self.config.name

    async def invoke(self, **event: Any) -> Any:
        answer = await asyncio.to_thread(self.client.invoke, FunctionName=self.name, Payload=json.dumps(event))
        return json.loads(answer["Payload"].read())

    async def start(self, **event: Any) -> None:
        arguments = {"FunctionName": self.name, "InvocationType": "Event", "Payload": json.dumps(event)}
        await asyncio.to_thread(self.client.invoke, **arguments)

    def noted(self, what: str) -> list[Any]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [entry for entry in map(json.loads, lines) if what in entry]


def _package(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("app.py", source)
    return buffer.getvalue()


def _create(client: Any, name: str) -> str:
    arn: str = client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="app.handler",
        Code={"ZipFile": _package("def handler(event, context):\n    return 'the code that was deployed'\n")},
        Timeout=int(TIMEOUT),
        Environment={"Variables": {"TABLE": "sessions"}},
    )["FunctionArn"]
    return arn


@asynccontextmanager
async def invoke_api(invoke: Any) -> AsyncIterator[InvokeTarget]:
    api = InvokeApi(invoke)
    try:
        yield await api.start()
    finally:
        await api.close()


@pytest.fixture
async def functions(stack: RunningStack, tmp_path: Path) -> AsyncIterator[Functions]:
    client = AwsClients(stack.endpoints["awsEndpointUrl"], stack.endpoints["region"])
    lambda_ = client("lambda")
    name, destination = f"probe-{uuid4()}", f"destination-{uuid4()}"
    await asyncio.to_thread(_create, lambda_, name)
    arn = await asyncio.to_thread(_create, lambda_, destination)
    await asyncio.to_thread(
        lambda_.put_function_event_invoke_config,
        FunctionName=name,
        Qualifier="$LATEST",
        MaximumRetryAttempts=0,
        MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    code = tmp_path / "code"
    code.mkdir()
    (code / "app.py").write_text(textwrap.dedent(SOURCE))
    layer, notes = link_layer(tmp_path / "layer"), tmp_path / "notes"
    configs = [
        FunctionConfig(each, "app.handler", code, layer, {"RECORDS": str(notes)}, timeout=TIMEOUT)
        for each in (name, destination)
    ]
    service = LambdaService(lambda _function, _line: None)
    try:
        async with invoke_api(with_failure_records(service.call, lambda: NOW)) as target:
            for config in configs:
                service.deploy(config)
            await asyncio.to_thread(forward, client, configs, target)
            yield Functions(lambda_, service, configs[0], notes)
    finally:
        await service.close()
        for each in (name, destination):
            await asyncio.to_thread(lambda_.delete_function, FunctionName=each)


# -- through the emulator


async def test_the_emulator_gives_what_the_function_in_the_stack_returns(functions: Functions) -> None:
    text = 'ünï ✓ "quoted" \n' + "x" * 300_000
    result = await functions.invoke(do="return", text=text)
    assert result["event"] == {"do": "return", "text": text}
    assert UUID(result["requestId"])


async def test_invocations_at_once_do_not_wait_for_each_other_or_mix(functions: Functions, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting = asyncio.create_task(functions.invoke(do="hang", gate=str(gate)))
    await until(lambda: functions.noted("started"))
    results = await asyncio.gather(*(functions.invoke(do="return", number=number) for number in range(8)))
    assert [result["event"]["number"] for result in results] == list(range(8))
    assert len({result["requestId"] for result in results}) == 8
    assert not waiting.done()
    gate.touch()
    assert await waiting is None


@pytest.mark.parametrize(
    ("do", "error_type", "message"),
    [
        ("raise", "LookupError", "nothing there: ✓"),
        ("hang", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        ("die", "Runtime.ExitError", "SIGKILL"),
    ],
)
async def test_whatever_ends_an_asynchronous_invocation_reaches_the_failure_destination_once(
    functions: Functions, do: str, error_type: str, message: str
) -> None:
    if do == "hang":
        functions.service.deploy(replace(functions.config, timeout=1))
    await functions.start(do=do, sessionId="s")
    await until(lambda: functions.noted("record"))
    assert (await functions.invoke(do="return"))["event"] == {"do": "return"}
    [started], [noted] = functions.noted("started"), functions.noted("record")
    record = noted["record"]
    assert record["requestPayload"] == {"do": do, "sessionId": "s"}
    assert record["requestContext"]["requestId"] == started["started"], "whoever cleans up can tell whose work it was"
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responsePayload"]["errorType"] == error_type
    assert message in record["responsePayload"]["errorMessage"]


async def test_a_functions_own_settings_stay_readable_in_the_emulator(functions: Functions) -> None:
    found = await asyncio.to_thread(functions.client.get_function_configuration, FunctionName=functions.name)
    assert found["Environment"]["Variables"] == {"TABLE": "sessions"}
    invoke = await asyncio.to_thread(
        functions.client.get_function_event_invoke_config, FunctionName=functions.name, Qualifier="$LATEST"
    )
    assert invoke["MaximumRetryAttempts"] == 0


# -- the record


async def _delivered(event: Any) -> Any:
    async def invoke(_function: str, event: bytes, _request_id: str) -> bytes:
        return event

    return json.loads(await with_failure_records(invoke, lambda: NOW)("f", json.dumps(event).encode(), "r"))


def _record(error: str) -> dict[str, Any]:
    """As MiniStack writes it."""
    return {
        "requestContext": {
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"sessionId": "s"},
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": error, "errorType": "Runtime.HandlerError"},
    }


async def test_a_failure_record_reads_as_lambdas_own() -> None:
    failure = {"errorType": "ValueError", "errorMessage": "no", "requestId": "r1"}
    assert await _delivered(_record(json.dumps(failure))) == {
        "version": "1.0",
        "timestamp": "2026-11-20T12:01:00.568Z",
        "requestContext": {
            "requestId": "r1",
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"sessionId": "s"},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorType": "ValueError", "errorMessage": "no"},
    }


@pytest.mark.parametrize("error", ["Worker process died", '{"some": "json"}', "[]"])
async def test_a_record_of_the_emulators_own_failure_is_delivered_all_the_same(error: str) -> None:
    record = await _delivered(_record(error))
    assert record["requestContext"]["requestId"] == ""
    assert record["responsePayload"] == {"errorType": "Runtime.HandlerError", "errorMessage": error}


@pytest.mark.parametrize(
    "event", [None, [], "x", {"requestContext": {"eventType": "MESSAGE"}, "requestPayload": 1, "responsePayload": 2}]
)
async def test_other_events_are_delivered_as_they_are(event: Any) -> None:
    assert await _delivered(event) == event


# -- who may invoke


async def _never(_function: str, _event: bytes, _request_id: str) -> bytes:
    raise AssertionError


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer guessed"}, {"Authorization": "é"}, {"Host": "evil.example"}],
    ids=["none", "guessed", "odd", "rebinding"],
)
async def test_a_web_page_cannot_invoke_a_function_with_a_context_of_its_own_making(headers: dict[str, str]) -> None:
    async with invoke_api(_never) as target, httpx.AsyncClient() as http:
        known = {"Authorization": f"Bearer {target.secret}"} if "Host" in headers else {}
        sent = [(name.encode(), value.encode()) for name, value in {**known, **headers}.items()]
        url = f"http://{target.host}:{target.port}/functions/ws_message/invocations"
        assert target.host == "127.0.0.1"
        sent.append((b"X-Amzn-Request-Id", str(uuid4()).encode()))
        answer = await http.post(url, headers=sent, content="{}")
        assert answer.status_code == 403


async def test_each_run_has_a_secret_of_its_own() -> None:
    async with invoke_api(_never) as one, invoke_api(_never) as other:
        assert one.secret != other.secret


async def test_an_invocation_without_a_proper_request_id_is_refused() -> None:
    async with invoke_api(_never) as target, httpx.AsyncClient() as http:
        url = f"http://{target.host}:{target.port}/functions/ws_message/invocations"
        headers = {"Authorization": f"Bearer {target.secret}", "X-Amzn-Request-Id": "none"}
        assert (await http.post(url, headers=headers, content="{}")).status_code == 400


# -- the forwarder


def _forwarder(target: InvokeTarget, name: str = "f") -> Forwarder:
    worker_class = with_forwarders(lambda _: object)({"Handler": HANDLER})
    forwarder: Forwarder = worker_class(name, {"Handler": HANDLER, "Timeout": 60}, package(target))
    return forwarder


async def test_an_invocation_keeps_its_event_its_id_and_its_result() -> None:
    async def invoke(function: str, event: bytes, request_id: str) -> bytes:
        return json.dumps([function, json.loads(event), request_id]).encode()

    async with invoke_api(invoke) as target:
        request_id = str(uuid4())
        answer = await asyncio.to_thread(_forwarder(target).invoke, {"a": ["ü"]}, request_id, depth=1)
    assert answer == {"status": "ok", "result": ["f", {"a": ["ü"]}, request_id]}


async def test_a_failure_carries_its_type_its_message_and_whose_it_was() -> None:
    async def invoke(_function: str, _event: bytes, request_id: str) -> bytes:
        raise FunctionFailed("ValueError", f"in {request_id}")

    async with invoke_api(invoke) as target:
        answer = await asyncio.to_thread(_forwarder(target).invoke, {}, str(uuid4()))
    assert answer["status"] == "error"
    failure = json.loads(answer["error"])
    assert failure["errorType"] == "ValueError"
    assert failure["errorMessage"] == f"in {failure['requestId']}"


async def test_without_the_stack_an_invocation_fails_instead_of_returning_something_else() -> None:
    async with invoke_api(_never) as target:
        refused = _forwarder(InvokeTarget(target.host, target.port, "stale"))
        answer = await asyncio.to_thread(refused.invoke, {}, str(uuid4()))
        assert (answer["status"], "403" in answer["error"]) == ("error", True)
    answer = await asyncio.to_thread(_forwarder(target).invoke, {}, str(uuid4()))
    assert (answer["status"], "ConnectionRefusedError" in answer["error"]) == ("error", True)


def test_a_function_that_is_not_the_stacks_keeps_the_emulators_worker() -> None:
    assert with_forwarders(lambda _: str)({"Handler": "app.handler"}) is str
