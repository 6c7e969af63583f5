"""`python -m local` as a process: what stands in its way, reloading, and that nothing is left of it."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

import tokenstream_client
from local.checkout import Checkout
from tests.local.stack_process import RunningStack, StackProcess, alive, copy_checkout, descendants, eventually
from tests.local.test_http_stream import expected
from tokenstream_client import Complete, Endpoints, SyncClient, Token
from tokenstream_client.endpoints import PathName

Start = Callable[..., StackProcess]


class OwnStack:
    """A stack that runs from one test to the next, until one ends it; whoever needs it then starts it anew.

    It sends everything through SNS and SQS. (`DIRECT_SEND=false make test ARGS=tests/local` has the other stack do so.)
    """

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self._process: StackProcess | None = None
        self._stack: RunningStack | None = None

    def running(self) -> RunningStack:
        """Start it unless it runs."""
        if self._stack is None or self._stack.process.process.poll() is not None:
            self.close()
            self._process = StackProcess(self.checkout, "--parameter", "DirectSend=false")
            self._stack = self._process.wait_until_ready()
        return self._stack

    def close(self) -> None:
        """End it, if there is one."""
        if self._process is not None:
            self._process.close()


@pytest.fixture(scope="module")
def own(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    stack = OwnStack(copy_checkout(tmp_path_factory.mktemp("process"), built))
    yield stack
    stack.close()


@pytest.fixture
def start(own: OwnStack) -> Iterator[Start]:
    """Start one that another doesn't stand in the way of."""
    own.close()
    started: list[StackProcess] = []

    def start_in(*options: str, where: Path = own.checkout) -> StackProcess:
        started.append(StackProcess(where, *options))
        return started[-1]

    yield start_in
    for process in started:
        process.close()


@contextmanager
def restored(*files: Path) -> Iterator[None]:
    """Leave files as they were, for the next test."""
    before = {file: file.read_bytes() for file in files}
    try:
        yield
    finally:
        for file, content in before.items():
            if file.read_bytes() != content:
                file.write_bytes(content)


def _stream(stack: RunningStack, prompt: str = "Hello [[tokens=2000]]") -> Iterator[bytes]:
    body = {"prompt": prompt}
    with httpx.stream("POST", stack.function_url, headers=stack.headers(), json=body, timeout=30) as response:
        yield from response.iter_raw()


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_answers_arrive_whole_though_nobody_but_deliver_reaches_the_clients(own: OwnStack, path: PathName) -> None:
    stack = own.running()
    prompt = "Indirect [[tokens=60]]"
    with SyncClient(Endpoints.from_mapping(stack.endpoints), path=path) as client:
        frames = list(client.stream(prompt=prompt))
        # Asked for directly, it is queued all the same.
        assert client.text(prompt=prompt, delivery="direct") == expected(prompt)
    assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == expected(prompt)
    assert isinstance(frames[0], tokenstream_client.Start)
    assert frames[0].delivery == "queued"
    assert isinstance(frames[-1], Complete)
    calls = httpx.get(f"{stack.edge_url}/_control/faults").json()["calls"][path]
    assert {function for function, count in calls.items() if count["made"]} == {"deliver"}


def test_an_edit_counts_with_the_next_request_and_a_mistake_keeps_what_ran(own: OwnStack) -> None:
    stack = own.running()
    app = own.checkout / "functions" / "http_stream" / "app.py"
    layer = own.checkout / "layers" / "tokenstream" / "tokenstream" / "errors.py"
    template = own.checkout / "template.yaml"
    before = app.read_text()

    def version() -> str | None:
        value: str | None = httpx.options(stack.rest_url, timeout=30).headers.get("X-Version")
        return value

    def edited(text: str) -> str:
        return f"{before}\n\n_first = handler\n\n\ndef handler(event, context):\n{text}"

    answer = '    return {"statusCode": 204, "headers": {"X-Version": "%s"}}\n'
    assert version() is None
    with restored(app, layer, template):
        app.write_text(edited(answer % "one"))
        eventually(lambda: version() == "one")
        app.write_text(edited("    return {\n"))
        eventually(lambda: "not deployed" in stack.process.output)
        assert version() == "one"
        layer.write_text(layer.read_text() + '\nVERSION = "two"\n')
        app.write_text(edited("    from tokenstream.errors import VERSION\n\n" + answer.replace('"%s"', "VERSION")))
        eventually(lambda: version() == "two")
        template.write_text(template.read_text() + "# edited\n")
        eventually(lambda: "template.yaml changed" in stack.process.output)
        app.write_text(before)
        eventually(lambda: version() is None)


def test_an_edit_of_a_websocket_function_counts_with_the_next_message_of_an_open_connection(own: OwnStack) -> None:
    stack = own.running()
    app = own.checkout / "functions" / "ws_message" / "app.py"
    before = app.read_text()

    with connect(f"{stack.websocket_url}?token={stack.token}", proxy=None) as client, restored(app):

        def answer() -> dict[str, str]:
            client.send('{"action": "ping"}')
            answered: dict[str, str] = json.loads(client.recv(60))
            return answered

        assert answer() == {"type": "pong"}
        app.write_text(f"{before}\n\ndef handler(event, context):\n    raise ValueError('edited')\n")
        # Asked too often, the function refuses for a while: so what is waited for first is the deployment.
        eventually(lambda: "deployed anew: functions/ws_message/app.py changed" in stack.process.output)
        eventually(lambda: answer().get("message") == "Internal server error")
        deployed = stack.process.output.count("deployed anew")
        app.write_text(before)
        eventually(lambda: stack.process.output.count("deployed anew") > deployed)
        eventually(lambda: answer() == {"type": "pong"})


def test_after_a_kill_nothing_goes_on_and_the_next_start_recovers(own: OwnStack) -> None:
    stack = own.running()
    chunks = _stream(stack)
    next(chunks)
    below = descendants(stack.process.process.pid)
    stack.process.end(signal.SIGKILL)
    chunks.close()  # type: ignore[attr-defined]  # a generator
    eventually(lambda: not any(map(alive, below)))
    assert own.running() is not stack


def test_sigterm_in_mid_stream_leaves_no_process_and_no_endpoints(own: OwnStack) -> None:
    stack = own.running()
    chunks = _stream(stack)
    next(chunks)
    below = descendants(stack.process.process.pid)
    assert len(below) >= 3, "MiniStack, its tether, a worker"
    assert stack.process.end() == 0
    assert not any(map(alive, below))
    assert not (stack.checkout / ".local" / "endpoints.json").exists()
    assert not (stack.checkout / ".local" / "tmp" / "ministack").exists()
    with pytest.raises(httpx.HTTPError):
        list(chunks)
    assert "Traceback" not in stack.process.output


def test_ctrl_c_while_it_starts_ends_it(start: Start) -> None:
    process = start()
    eventually(lambda: "deploying" in process.output, 60)
    below = descendants(process.process.pid)
    assert process.end(signal.SIGINT) == 0
    assert not any(map(alive, below))
    assert "Traceback" not in process.output


@pytest.mark.parametrize("option", ["--port", "--websocket-port", "--bedrock-port", "--ministack-port"])
def test_a_port_in_use_is_named_before_anything_starts(start: Start, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = occupant.getsockname()[1]
        process = start(option, str(port))
        assert process.process.wait(30) == 1
    assert f"{option} {port}" in process.output
    assert "starting" not in process.output


def test_a_template_that_cannot_be_deployed_shows_what_sam_says(built: Path, tmp_path: Path, start: Start) -> None:
    broken = copy_checkout(tmp_path / "broken", built)
    template = Checkout(broken).built_template  # building doesn't mind the mistake, and takes its time
    template.write_text(template.read_text().replace("Type: AWS::DynamoDB::Table", "Type: AWS::DynamoDB::Tabel"))
    process = start(where=broken)
    below: set[int] = set()

    def ended() -> bool:
        below.update(descendants(process.process.pid))
        return process.process.poll() is not None

    eventually(ended, 90, every=0.2)
    assert process.process.returncode == 1
    assert "sam deploy failed" in process.output
    assert "AWS::DynamoDB::Tabel" in process.output
    assert "\x1b" not in process.output
    assert not any(map(alive, below))
