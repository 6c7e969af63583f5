"""Runs `python -m local` on a copy of the checkout, so that it meets neither a stack that runs there nor its edits."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx

_ROOT = Path(__file__).parents[2]
_COPIED = ("local", "functions", "graphql", "layers", "statemachine")
_LINKED = (".tools", ".venv")
_START_SECONDS = 180.0


def copy_checkout(target: Path, source: Path = _ROOT) -> Path:
    """Make a copy that a stack can run in, with what is built already."""
    for folder in _COPIED:
        shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(source / "template.yaml", target)
    page = Path("clients", "web", "dist")
    if (source / page).exists():
        shutil.copytree(source / page, target / page)
    for folder in _LINKED:
        (target / folder).symlink_to(_ROOT / folder)
    if (source / ".local" / "sam").exists():
        shutil.copytree(source / ".local" / "sam", target / ".local" / "sam")
    return target


def eventually(condition: Callable[[], Any], seconds: float = 20.0, *, every: float = 0.02) -> Any:
    """Wait for a truthy value and give it; the test fails when it doesn't come."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)
    return value


def collect(chunks: Iterable[bytes], received: bytearray) -> None:
    """Receive for as long as something comes; what came is there even if it ends in an error."""
    for chunk in chunks:
        received += chunk


def _status(pid: int) -> tuple[str, int] | None:
    """Read a process's state and parent; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


def descendants(pid: int) -> set[int]:
    """Find every process that descends from this one."""
    children: dict[int, list[int]] = {}
    for child in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        if status := _status(child):
            children.setdefault(status[1], []).append(child)
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        found.update(new := children.get(waiting.pop(), []))
        waiting.extend(new)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and not just waiting to be collected."""
    status = _status(pid)
    return status is not None and status[0] != "Z"


def listening_addresses(pids: set[int]) -> set[str]:
    """Give the hosts, in the kernel's hexadecimal, on which these processes listen."""
    sockets: set[str] = set()
    for descriptor in (link for pid in pids for link in Path(f"/proc/{pid}/fd").glob("*")):
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            sockets.add(str(descriptor.readlink()))
    listening = "0A"
    return {
        fields[1].partition(":")[0]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == listening and f"socket:[{fields[9]}]" in sockets
    }


class StackProcess:
    """One `python -m local`. It doesn't outlive the tests, however these end."""

    def __init__(self, checkout: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.checkout = checkout
        self._output = Path(tempfile.mkstemp(prefix="terminal-", dir=checkout)[1])
        inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MODEL"}}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 this project itself
                [sys.executable, "-m", "local", *options],
                cwd=checkout,
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Interrupted or killed, a worker of pytest-xdist doesn't come to its fixtures' ends; a pipe ends with it.
        self._watch = subprocess.Popen(  # noqa: S603 with our own process id
            ["/bin/sh", "-c", f"read -r _; kill -TERM {self.process.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        """What it has said on the terminal."""
        return self._output.read_text(errors="replace")

    def wait_until_ready(self) -> "RunningStack":
        """Wait for its address."""

        def ready() -> bool:
            assert self.process.poll() is None, self.output
            return "\nready" in self.output

        eventually(ready, _START_SECONDS)
        return RunningStack(self)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Signal it and wait for its exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def close(self) -> None:
        """End it, whatever its state."""
        if self.process.poll() is None:
            try:
                self.end()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with self._watch as watch:
            watch.kill()


class RunningStack:
    """A stack that is ready, and how tests reach it. `token` and `other_token` are ID tokens of its two users."""

    def __init__(self, process: StackProcess) -> None:
        self.process = process
        self.checkout = process.checkout
        self.endpoints: dict[str, Any] = json.loads((process.checkout / ".local" / "endpoints.json").read_text())
        self.function_url: str = self.endpoints["functionUrl"]
        self.rest_url: str = self.endpoints["restUrl"]
        self.websocket_url: str = self.endpoints["websocketUrl"]
        self.graphql_url: str = self.endpoints["graphqlUrl"]
        self.graphql_realtime_url: str = self.endpoints["graphqlRealtimeUrl"]
        self.bedrock_url: str = self.endpoints["bedrockUrl"]
        self.edge_url = self.function_url.removesuffix("/url")
        self.token = self.sign_in(self.endpoints["username"], self.endpoints["password"])
        other = self.endpoints["otherUsers"][0]
        self.other_token = self.sign_in(other["username"], other["password"])

    def sign_in(self, username: str, password: str) -> str:
        """Get an ID token."""
        answer = httpx.post(
            self.endpoints["awsEndpointUrl"],
            headers={
                "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
                "Content-Type": "application/x-amz-json-1.1",
                "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{self.endpoints['region']}"
                "/cognito-idp/aws4_request, SignedHeaders=host, Signature=0",
            },
            content=json.dumps(
                {
                    "AuthFlow": "USER_PASSWORD_AUTH",
                    "ClientId": self.endpoints["userPoolClientId"],
                    "AuthParameters": {"USERNAME": username, "PASSWORD": password},
                }
            ),
        )
        token: str = answer.raise_for_status().json()["AuthenticationResult"]["IdToken"]
        return token

    def headers(self, accept: str = "application/x-ndjson", token: str | None = None) -> dict[str, str]:
        """Make a signed-in client's request headers."""
        return {"Authorization": f"Bearer {token or self.token}", "Accept": accept}

    def url(self, path: str) -> str:
        """Give the address to POST to: `url` or `rest`."""
        return {"url": self.function_url, "rest": self.rest_url}[path]

    def cut(self, path: str, after_bytes: int | None = None, after_messages: int | None = None) -> int:
        """Cut connections at the edge (`local.edge.cuts`); gives how many were cut at once."""
        order: dict[str, Any] = {"path": path, "afterBytes": after_bytes, "afterMessages": after_messages}
        order = {name: value for name, value in order.items() if value is not None}
        cut: int = httpx.post(f"{self.edge_url}/_control/cut", json=order).raise_for_status().json()["cut"]
        return cut

    def streaming(self, path: str) -> int:
        """Count the responses that stream on this path now, or the connections that are open on `websocket`."""
        answer = httpx.get(f"{self.edge_url}/_control/health").raise_for_status().json()
        count: int = answer["streaming"][path]
        return count
