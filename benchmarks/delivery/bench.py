"""Runs single answers: the stand-ins in this process, what is measured in processes of their own."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Self

import trustme
from msgspec.json import decode, encode

from benchmarks.delivery.endpoints import Arrivals, Endpoint, RuntimeApi, connections_api, graphql_api, topics_api
from benchmarks.delivery.http_server import HOST
from benchmarks.delivery.jobs import Done, Job, Sink
from benchmarks.delivery.model import PacedModel

ROOT = Path(__file__).parents[2]
Way = Literal["tokenstream", "naive"]
_MODULES: dict[Way, str] = {"tokenstream": "benchmarks.delivery.worker", "naive": "benchmarks.delivery.naive"}


@dataclass(frozen=True, slots=True)
class Stream:
    """One answer that was streamed. Times are seconds, a lag is a token's from its emission to its arrival.

    `duration` is from the call of the model to the last token's arrival.
    """

    lags: tuple[float, ...]
    duration: float
    requests: int
    new_connections: int
    cpu_seconds: float
    peak_kilobytes: int

    @classmethod
    def of(cls, model: PacedModel, arrivals: Arrivals, requests: int, new_connections: int, done: Done) -> Self:
        """Put the observations together; raises `RuntimeError` for an answer that is not whole."""
        if sorted(arrivals) != list(range(len(model.emitted))):
            raise RuntimeError(f"{len(arrivals)} of {len(model.emitted)} tokens arrived")
        lags = tuple(arrivals[number] - at for number, at in enumerate(model.emitted))
        duration = max(arrivals.values()) - model.called_at
        return cls(lags, duration, requests, new_connections, done.cpu_seconds, done.peak_kilobytes)


class Process:
    """A process that streams, warm from its first answer on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def stream(self, sink: Sink) -> Done:
        """Have it stream one answer; raises `RuntimeError` when it fails."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(encode(Job(sink)) + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that streams has ended")
        return decode(line, type=Done)


class Bench:
    """The model, the sinks and the processes, while the context lasts that `bench` opens."""

    def __init__(
        self, model: PacedModel, endpoints: dict[Sink, Endpoint], runtime_api: RuntimeApi, processes: dict[Way, Process]
    ) -> None:
        self._model = model
        self._endpoints = endpoints
        self._runtime_api = runtime_api
        self._processes = processes

    async def stream(
        self, way: Way, sink: Sink, *, tokens: int, rate: float | None = None, round_trip: float = 0
    ) -> Stream:
        """Stream one answer of so many tokens at so many a second; None is as fast as they are read."""
        process = self._processes[way]
        self._model.prepare(tokens, rate)
        if sink == "url":
            self._runtime_api.prepare()
            done = await process.stream(sink)
            return Stream.of(self._model, self._runtime_api.arrivals(), self._runtime_api.requests, 1, done)
        endpoint = self._endpoints[sink]
        endpoint.prepare(round_trip)
        before = endpoint.server.connections
        done = await process.stream(sink)
        connections = endpoint.server.connections - before
        return Stream.of(self._model, endpoint.arrivals(), endpoint.requests, connections, done)


@asynccontextmanager
async def bench(*ways: Way, environment: dict[str, str] | None = None) -> AsyncIterator[Bench]:
    """Start everything, a process for each way, and end it again."""
    authority = trustme.CA()
    tls = _server_context(authority)
    model = PacedModel(tls)
    endpoints: dict[Sink, Endpoint] = {
        "websocket": connections_api(tls),
        "appsync": graphql_api(tls),
        "sns": topics_api(tls),
    }
    runtime_api = RuntimeApi()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        authority.cert_pem.write_to_path(folder / "ca.pem")
        variables = _environment(folder / "ca.pem") | {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": await model.server.start(),
            "WEBSOCKET_ENDPOINT": await endpoints["websocket"].server.start() + "/prod",
            "GRAPHQL_ENDPOINT": await endpoints["appsync"].server.start() + "/graphql",
            "AWS_ENDPOINT_URL_SNS": await endpoints["sns"].server.start(),
            "AWS_LAMBDA_RUNTIME_API": await runtime_api.start(),
        }
        for server in (model.server, *(endpoint.server for endpoint in endpoints.values())):
            stack.push_async_callback(server.close)
        stack.push_async_callback(runtime_api.close)
        processes = {
            way: await stack.enter_async_context(_process(_MODULES[way], variables | (environment or {})))
            for way in ways
        }
        yield Bench(model, endpoints, runtime_api, processes)


@asynccontextmanager
async def _process(module: str, variables: dict[str, str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, cwd=ROOT
    )
    try:
        yield Process(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    return context


def _environment(authority: Path) -> dict[str, str]:
    """Return a function's environment, as far as the processes need it."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "tokenstream")]),
        "SSL_CERT_FILE": str(authority),
        "AWS_CA_BUNDLE": str(authority),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_SESSION_TOKEN": "example" * 40,
        "BEDROCK_API": "invoke",
        "DIRECT_SEND": "true",
        "FLUSH_INTERVAL_MS": "0",
        "FRAMES_TOPIC": "arn:aws:sns:us-east-1:123456789012:frames.fifo",
        "POWERTOOLS_METRICS_NAMESPACE": "tokenstream",
    }
