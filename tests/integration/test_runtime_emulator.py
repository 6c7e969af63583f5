"""The runtime under AWS's own Runtime Interface Emulator, which hands a streamed response over in one piece."""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streaming_layer import FUNCTION, link_layer

_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}
_PACKAGES = Path(__file__).parents[2] / ".tools" / "sam" / "lib"
_DEADLINE = 30.0

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in _MACHINES,
    reason="AWS publishes the Runtime Interface Emulator for Linux on x86_64 and arm64 only",
)

Invoke = Callable[..., bytes]


def emulator_binary() -> Path:
    name = f"aws-lambda-rie-{_MACHINES[platform.machine()]}"
    found = list(_PACKAGES.glob(f"python*/site-packages/samcli/local/rapid/{name}"))
    assert found, f"{name} comes with aws-sam-cli: run `make install`"
    return found[0]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        assert process.poll() is None, "the emulator has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulator") / "log"


@pytest.fixture(scope="module")
def invoke(tmp_path_factory: pytest.TempPathFactory, log_file: Path) -> Iterator[Invoke]:
    layer = link_layer(tmp_path_factory.mktemp("opt") / "layer")
    port, api_port = free_port(), free_port()
    command: list[str | Path] = [
        emulator_binary(),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api_port}"),
        # What /var/runtime/bootstrap runs in a container: the wrapper, with the managed runtime's command line.
        *(layer / "streaming-bootstrap", sys.executable, "/var/runtime/bootstrap.py"),
        "app.handler",
    ]
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "LAMBDA_TASK_ROOT": str(FUNCTION),
    }

    def invoke(do: str, **event: Any) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations",
            data=json.dumps({"do": do, **event}).encode(),
        )
        with urllib.request.urlopen(request, timeout=_DEADLINE) as response:  # noqa: S310 - loopback
            body: bytes = response.read()
            return body

    with (
        log_file.open("wb") as log,
        subprocess.Popen(  # noqa: S603 - AWS's emulator
            command, env=environment, cwd=FUNCTION, stdout=log, stderr=log, start_new_session=True
        ) as emulator,
    ):
        try:
            wait_for_port(port, emulator)
            yield invoke
        finally:
            emulator.terminate()
            try:
                emulator.wait(_DEADLINE)
            finally:
                kill_group(emulator.pid)


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def http_response(answer: bytes) -> tuple[Any, bytes]:
    prelude, delimiter, body = answer.partition(bytes(8))
    assert delimiter, f"no prelude: {answer!r}"
    return json.loads(prelude), body


TEXT = {"content-type": "text/plain; charset=utf-8"}


def test_a_generator_is_a_response_with_status_headers_and_cookies(invoke: Invoke) -> None:
    head, body = http_response(invoke("generator"))
    assert head == {"statusCode": 201, "headers": TEXT, "cookies": ["a=1"]}
    assert body.endswith(b"\ngenerated")


def test_a_decorated_stream_is_one_too(invoke: Invoke) -> None:
    head, body = http_response(invoke("decorated"))
    assert head == {"statusCode": 200, "headers": TEXT, "cookies": ["a=1", "b=2"]}
    assert body.endswith(b"\ndecorated")


def test_text_and_bytes_arrive_exactly(invoke: Invoke) -> None:
    assert http_response(invoke("chunks"))[1] == b"plain bytes " + "Ünï ✓ 🚀".encode() + b"\x00\xff"


def test_an_empty_response_ends(invoke: Invoke) -> None:
    assert http_response(invoke("empty")) == ({"statusCode": 204, "headers": {}, "cookies": []}, b"")


def test_a_result_without_status_is_posted_officially(invoke: Invoke) -> None:
    assert json.loads(invoke("plain")) == {"no": "statusCode", "text": "é"}


@pytest.mark.parametrize(("do", "error"), [("fails", "before the response"), ("fails_first", "before the first chunk")])
def test_a_failure_before_the_first_byte_is_posted_as_error(invoke: Invoke, do: str, error: str) -> None:
    answer = json.loads(invoke(do))
    assert (answer["errorType"], answer["errorMessage"]) == ("LookupError", error)


@pytest.mark.parametrize("do", ["generator", "decorated", "fails_deep", "fails_after", "never_closed"])
def test_a_failure_after_the_first_byte_leaves_the_process_fit_for_the_next(
    invoke: Invoke, log_file: Path, do: str
) -> None:
    http_response(invoke(do, fail=True))
    log = log_file.read_text()
    assert "PANIC" not in log, "the emulator refused the trailers"
    assert "State transition is not allowed" not in log, "an error was posted after the response"
    assert "exited" not in log, "the runtime's process ended"
    assert http_response(invoke("empty"))[0]["statusCode"] == 204


def test_both_failures_are_in_the_log(invoke: Invoke, log_file: Path) -> None:
    invoke("generator", fail=True)
    invoke("decorated", fail=True)
    assert log_file.read_text().count("[ERROR] ValueError: after two chunks") >= 2
