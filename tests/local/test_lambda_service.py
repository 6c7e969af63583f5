import asyncio
import gc
import json
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.functions import deployment
from local.functions.lambda_service import (
    FunctionConfig,
    FunctionFailed,
    FunctionTimedOut,
    Invocation,
    LambdaService,
    Prelude,
    TooManyRequests,
    UnknownFunction,
    WorkerDied,
)
from local.functions.response_channel import InvalidPreludeError, ResponseChannel
from tests.streaming_layer import FUNCTION, LAYER_SOURCES, link_layer

WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/streaming-bootstrap"}
TEXT = {"content-type": "text/plain; charset=utf-8"}


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
async def service(log: list[str]) -> AsyncIterator[LambdaService]:
    service = LambdaService(lambda _, line: log.append(line))
    yield service
    await service.close()


@pytest.fixture
def config(tmp_path: Path) -> FunctionConfig:
    return FunctionConfig(
        name="streaming",
        handler="app.handler",
        code=FUNCTION,
        layer=link_layer(tmp_path / "layer"),
        environment=WRAPPER,
        timeout=60,
    )


@pytest.fixture
def function(service: LambdaService, config: FunctionConfig) -> Callable[..., Any]:
    service.deploy(config)

    async def invoke(do: str, **event: Any) -> Invocation:
        return await service.invoke("streaming", json.dumps({"do": do, **event}).encode())

    return invoke


async def read(invocation: Invocation) -> bytes:
    return b"".join([chunk async for chunk in invocation.body()])


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter while it is being removed
        return False


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@pytest.mark.parametrize(
    ("do", "prelude", "last"),
    [
        ("generator", Prelude(201, TEXT, ["a=1"]), b"generated"),
        ("decorated", Prelude(200, TEXT, ["a=1", "b=2"]), b"decorated"),
    ],
)
async def test_a_chunk_arrives_while_the_handler_is_still_at_work(
    function: Any, tmp_path: Path, do: str, prelude: Prelude, last: bytes
) -> None:
    gate = tmp_path / "gate"
    invocation = await function(do, gate=str(gate))
    body = invocation.body()
    assert invocation.prelude == prelude
    assert int(await anext(body)) > 0
    gate.touch()  # the handler waits for it before its next chunk
    assert b"".join([chunk async for chunk in body]) == last


async def test_powertools_decorators_span_the_stream(function: Any, log: list[str]) -> None:
    invocation = await function("decorated")
    await read(invocation)
    await until(lambda: any("CloudWatchMetrics" in line for line in log))
    records = [json.loads(line) for line in log if line.startswith("{")]
    assert any(r.get("function_request_id") == invocation.request_id for r in records)
    assert any(r.get("Chunks") == [2.0] for r in records)


async def test_powertools_sees_the_failure_of_a_stream(function: Any, log: list[str]) -> None:
    with pytest.raises(FunctionFailed, match="ValueError: after two chunks"):
        await read(await function("decorated", fail=True))
    await until(lambda: any("CloudWatchMetrics" in line for line in log))  # flushed on the way out
    await until(lambda: any("[ERROR] ValueError: after two chunks" in line for line in log))
    assert not any("the client doesn't see it" in line for line in log)


async def test_text_and_bytes_arrive_exactly_and_empty_chunks_do_not_end_the_body(function: Any) -> None:
    assert await read(await function("chunks")) == b"plain bytes " + "Ünï ✓ 🚀".encode() + b"\x00\xff"


@pytest.mark.parametrize("do", ["generator", "decorated"])
async def test_a_failure_midway_is_raised_after_the_chunks_before_it(function: Any, do: str) -> None:
    body = (await function(do, fail=True)).body()
    received = b""
    while not received.endswith((b"generated", b"decorated")):
        received += await anext(body)
    with pytest.raises(FunctionFailed) as failure:
        await anext(body)
    assert (failure.value.error_type, failure.value.message) == ("ValueError", "after two chunks")
    warm = await function("plain")
    assert not warm.cold, "the process ought to have survived"


async def test_a_failed_generator_is_closed_and_logged(function: Any, log: list[str]) -> None:
    with pytest.raises(FunctionFailed):
        await read(await function("generator", fail=True))
    await until(lambda: any("ValueError: after two chunks" in line for line in log))
    assert "the generator was closed" in log


async def test_an_error_too_long_for_trailers_still_reaches_the_client(function: Any) -> None:
    with pytest.raises(FunctionFailed, match="ValueError: deep deep"):
        await read(await function("fails_deep"))


@pytest.mark.parametrize("do", ["fails", "fails_first"])
async def test_a_failure_before_the_first_byte_is_an_error_instead_of_a_response(function: Any, do: str) -> None:
    with pytest.raises(FunctionFailed) as failure:
        await function(do)
    assert failure.value.error_type == "LookupError"


async def test_a_failure_after_the_response_leaves_it_whole(function: Any, log: list[str]) -> None:
    assert await read(await function("fails_after")) == b"complete"
    await until(lambda: any("after the response had ended" in line for line in log))
    assert await read(await function("plain"))


async def test_a_stream_left_open_does_not_pass_for_a_whole_response(function: Any) -> None:
    with pytest.raises(FunctionFailed, match="StreamNotClosedError"):
        await read(await function("never_closed"))


async def test_a_second_stream_in_one_invocation_is_refused(function: Any) -> None:
    with pytest.raises(FunctionFailed, match="ResponseStartedError"):
        await read(await function("opened_twice"))


@pytest.mark.parametrize(("header", "message"), [(1, "the body is an object"), (20_000, "the limit is 16384")])
async def test_a_result_that_cannot_be_sent_is_an_error(function: Any, header: int, message: str) -> None:
    with pytest.raises(FunctionFailed, match=f"InvalidResponseError: .*{message}"):
        await function("invalid", header=header)


async def test_what_is_returned_after_a_stream_is_ignored(function: Any) -> None:
    invocation = await function("exit_stack")
    assert (invocation.prelude.status, await read(invocation)) == (202, b"entered")


async def test_an_empty_response_has_its_status(function: Any) -> None:
    invocation = await function("empty")
    assert (invocation.prelude, await read(invocation)) == (Prelude(204, {}, []), b"")


async def test_a_rest_api_result_keeps_its_headers_cookies_and_bytes(function: Any) -> None:
    invocation = await function("v1_result")
    assert invocation.prelude == Prelude(200, {"X-Count": "4, 5"}, ["a=1", "b=2"])
    assert await read(invocation) == "é".encode()


async def test_a_result_without_status_is_plain_json(function: Any) -> None:
    invocation = await function("plain")
    assert (invocation.content_type, invocation.prelude) == ("application/json", None)
    assert json.loads(await read(invocation)) == {"no": "statusCode", "text": "é"}


async def test_a_large_result_arrives_whole(function: Any) -> None:
    assert len(json.loads(await read(await function("large", size=5_000_000)))) == 5_000_000


async def test_snapstart_hooks_run_before_the_first_invocation(
    service: LambdaService, config: FunctionConfig, tmp_path: Path
) -> None:
    source = """
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        hooks = []
        register_before_snapshot(hooks.append, "before")
        register_after_restore(hooks.append, "after")
        def handler(event, context):
            return {"statusCode": 200, "body": iter(hooks)}
    """
    environment = {**WRAPPER, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    service.deploy(replace(config, code=code(tmp_path / "code", source), environment=environment))
    assert await read(await service.invoke("streaming", b"{}")) == b"beforeafter"


async def test_without_the_wrapper_the_official_runtime_runs(
    service: LambdaService, config: FunctionConfig, tmp_path: Path
) -> None:
    service.deploy(replace(config, environment={}))
    invocation = await service.invoke("streaming", b'{"do": "unavailable"}')
    assert json.loads(await read(invocation)) == "unavailable"


def code(folder: Path, source: str) -> Path:
    folder.mkdir()
    (folder / "app.py").write_text(textwrap.dedent(source))
    return folder


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import missing_module", "Runtime.ImportModuleError: .*missing_module"),
        ("raise RuntimeError('no settings')", "RuntimeError: no settings"),
        ("import os; os._exit(3)", "Runtime.ExitError: .*exit status 3"),
    ],
)
async def test_a_function_that_does_not_start_fails_once_and_says_why(
    service: LambdaService, config: FunctionConfig, tmp_path: Path, source: str, error: str
) -> None:
    count = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
    service.deploy(replace(config, code=code(tmp_path / "code", count + source)))
    with pytest.raises(FunctionFailed, match=error):
        await service.invoke("streaming", b"{}")
    assert (tmp_path / "starts").read_text() == "x"


async def test_a_function_that_hangs_at_its_start_fails(log: list[str], config: FunctionConfig, tmp_path: Path) -> None:
    service = LambdaService(lambda _, line: log.append(line), init_timeout=0.5)
    service.deploy(replace(config, code=code(tmp_path / "code", "import time; time.sleep(600)")))
    with pytest.raises(FunctionFailed, match=r"Sandbox\.Timedout"):
        await service.invoke("streaming", b"{}")
    await service.close()


async def test_a_wrapper_that_is_not_in_the_layer_is_an_error(service: LambdaService, config: FunctionConfig) -> None:
    service.deploy(replace(config, environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/missing"}))
    with pytest.raises(FunctionFailed, match=r"Runtime\.InvalidEntrypoint"):
        await service.invoke("streaming", b"{}")


@needs_proc
async def test_a_function_is_killed_with_its_children_when_its_time_is_up(
    service: LambdaService, config: FunctionConfig, tmp_path: Path, log: list[str]
) -> None:
    service.deploy(replace(config, timeout=5))
    event = {"do": "parent", "gate": str(tmp_path / "never")}
    body = (await service.invoke("streaming", json.dumps(event).encode())).body()
    pids = [int(pid) for pid in (await anext(body)).split()]
    assert all(map(is_running, pids))
    with pytest.raises(FunctionTimedOut, match="Task timed out after 5"):
        await anext(body)
    await until(lambda: not any(map(is_running, pids)))
    assert any("Task timed out" in line for line in log)


async def test_time_running_out_before_the_head_is_an_error(
    service: LambdaService, config: FunctionConfig, tmp_path: Path
) -> None:
    source = "import time\ndef handler(event, context): time.sleep(600)"
    service.deploy(replace(config, code=code(tmp_path / "code", source), timeout=0.2))
    with pytest.raises(FunctionTimedOut):
        await service.invoke("streaming", b"{}")


async def test_a_worker_killed_midway_is_told_apart_from_a_complete_response(function: Any, tmp_path: Path) -> None:
    body = (await function("generator", gate=str(tmp_path / "never"))).body()
    os.kill(int(await anext(body)), signal.SIGKILL)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        await anext(body)
    assert (await function("plain")).cold


async def test_twenty_streams_at_once_do_not_mix(function: Any) -> None:
    async def stream(name: int) -> tuple[bytes, bytes]:
        expected = "".join(f"{name}:{i}\n" for i in range(500)).encode()
        return await read(await function("numbered", name=name, count=500)), expected

    for received, expected in await asyncio.gather(*map(stream, range(20))):
        assert received == expected


async def test_the_next_invocation_is_warm(function: Any) -> None:
    first, second = await function("generator"), None
    pid = await read(first)
    second = await function("generator")
    assert (first.cold, second.cold) == (True, False)
    assert await read(second) == pid


async def test_a_busy_worker_is_not_shared(function: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    busy = (await function("generator", gate=str(gate))).body()
    pid = await anext(busy)
    other = await function("generator")
    assert other.cold
    assert not (await read(other)).startswith(pid)
    gate.touch()
    assert await anext(busy) == b"generated"


async def test_a_burst_of_short_invocations_has_no_process_started_for_each(
    service: LambdaService, config: FunctionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "_STARTS", 2)  # whatever the machine has
    count = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
    source = "def handler(event, context): return event"
    service.deploy(replace(config, code=code(tmp_path / "code", count + source)))
    results = await asyncio.gather(*(service.call("streaming", b"%d" % i, str(uuid4())) for i in range(24)))
    assert results == [b"%d" % i for i in range(24)]
    assert len((tmp_path / "starts").read_text()) <= 12


async def test_a_burst_at_a_function_that_does_not_start_fails_as_often(
    service: LambdaService, config: FunctionConfig, tmp_path: Path
) -> None:
    count = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
    service.deploy(replace(config, code=code(tmp_path / "code", count + "raise RuntimeError('no settings')")))
    failures = await asyncio.gather(*(service.invoke("streaming", b"{}") for _ in range(5)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [FunctionFailed] * 5
    assert (tmp_path / "starts").read_text() == "x" * 5


async def test_an_invocation_that_waits_for_a_worker_runs_what_is_deployed_meanwhile(
    service: LambdaService, function: Any, config: FunctionConfig
) -> None:
    async def version() -> str:
        found: str = json.loads(await read(await function("environment")))["environment"]["VERSION"]
        return found

    waiting = [asyncio.create_task(version()) for _ in range(6)]
    await until(lambda: service._deployments["streaming"].in_use == 6)
    service.deploy(replace(config, environment={**WRAPPER, "VERSION": "2"}))
    assert await asyncio.gather(*waiting) == ["2"] * 6


async def test_who_waits_for_a_worker_when_the_stack_ends_is_told(function: Any, service: LambdaService) -> None:
    waiting = [asyncio.create_task(function("plain")) for _ in range(4)]
    await until(lambda: service._deployments["streaming"].in_use == 4)
    await service.close()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, WorkerDied)


@needs_proc
async def test_a_stream_outlives_a_deployment_on_its_old_configuration(
    service: LambdaService, function: Any, config: FunctionConfig, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    streaming = (await function("generator", gate=str(gate))).body()
    old = int(await anext(streaming))
    service.deploy(replace(config, environment={**WRAPPER, "VERSION": "2"}))
    new = json.loads(await read(await function("environment")))
    assert new["environment"]["VERSION"] == "2"
    assert new["pid"] != old
    gate.touch()
    assert await anext(streaming) == b"generated"
    await until(lambda: not is_running(old))


@needs_proc
async def test_a_deployment_ends_idle_workers(service: LambdaService, function: Any, config: FunctionConfig) -> None:
    pid = json.loads(await read(await function("environment")))["pid"]
    service.deploy(config)
    await until(lambda: not is_running(pid))


@pytest.mark.parametrize("started", [False, True])
async def test_an_abandoned_response_is_read_to_its_end(function: Any, tmp_path: Path, *, started: bool) -> None:
    done = tmp_path / "done"
    invocation = await function("big", megabytes=16, done=str(done))
    if started:
        body = invocation.body()
        await anext(body)
        await body.aclose()
    else:
        del invocation
        gc.collect()
    await until(done.exists)


async def test_a_reader_who_stands_still_holds_the_writer_up() -> None:
    channel, written = ResponseChannel(), 0

    async def write() -> None:
        nonlocal written
        while True:
            await channel.write(b"x" * 1024)
            written += 1024

    channel.start("text/plain")
    writer = asyncio.create_task(write())
    for _ in range(10_000):
        await asyncio.sleep(0)
    assert 0 < written <= 256 * 1024
    for _ in range(200):
        await channel.read()
    before = written
    for _ in range(10_000):
        await asyncio.sleep(0)
    assert before < written
    writer.cancel()


@pytest.mark.parametrize("begin", [b"no json" + bytes(8), b"x" * 20_000])
async def test_a_broken_prelude_is_an_error(begin: bytes) -> None:
    channel = ResponseChannel()
    channel.start("application/vnd.awslambda.http-integration-response")
    with pytest.raises(InvalidPreludeError):
        await channel.write(begin)


async def test_a_caller_who_goes_away_before_the_head_does_not_stop_the_function(
    function: Any, service: LambdaService, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    caller = asyncio.create_task(function("big", megabytes=16, done=str(done)))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await until(done.exists)


async def test_more_invocations_than_the_function_may_have_are_refused(
    service: LambdaService, config: FunctionConfig, tmp_path: Path
) -> None:
    service.deploy(replace(config, max_concurrency=1))
    gate = tmp_path / "gate"
    event = json.dumps({"do": "generator", "gate": str(gate)}).encode()
    running = (await service.invoke("streaming", event)).body()
    await anext(running)
    with pytest.raises(TooManyRequests):
        await service.invoke("streaming", event)
    gate.touch()
    assert [chunk async for chunk in running] == [b"generated"]
    assert not (await service.invoke("streaming", event)).cold


async def test_who_waits_for_a_worker_counts_among_the_invocations(
    service: LambdaService, config: FunctionConfig
) -> None:
    service.deploy(replace(config, max_concurrency=2))
    outcomes = await asyncio.gather(
        *(service.invoke("streaming", b'{"do": "plain"}') for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(outcome, TooManyRequests) for outcome in outcomes) == 3


async def test_a_function_that_is_not_deployed_is_unknown(service: LambdaService) -> None:
    with pytest.raises(UnknownFunction):
        await service.invoke("other", b"{}")


@needs_proc
async def test_an_idle_worker_ends_after_a_while(config: FunctionConfig) -> None:
    service = LambdaService(lambda *_: None, idle_timeout=0.05)
    service.deploy(config)
    pid = json.loads(await read(await service.invoke("streaming", b'{"do": "environment"}')))["pid"]
    await until(lambda: not is_running(pid))
    assert (await service.invoke("streaming", b'{"do": "plain"}')).cold
    await service.close()


async def test_a_function_sees_lambdas_environment_and_nothing_of_its_parents(
    service: LambdaService, config: FunctionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "personal")
    service.deploy(replace(config, environment={**WRAPPER, "TABLE": "sessions", "AWS_REGION": "eu-west-1"}, memory=512))
    seen = json.loads(await read(await service.invoke("streaming", b'{"do": "environment"}')))
    environment: Mapping[str, str] = seen["environment"]
    expected = {
        "TABLE": "sessions",
        "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "streaming",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(FUNCTION),
        "_HANDLER": "app.handler",
        "TZ": ":UTC",
    }
    assert expected.items() <= environment.items()
    assert not {"AWS_PROFILE", "HOME", "PYTEST_CURRENT_TEST"} & environment.keys()
    assert seen["path"][:2] == [str(FUNCTION), str((config.layer / "python").resolve())]


async def test_sources_take_the_place_of_the_built_package(
    service: LambdaService, config: FunctionConfig, tmp_path: Path
) -> None:
    built = tmp_path / "built"
    (built / "python" / "tokenstream").mkdir(parents=True)
    (built / "python" / "tokenstream" / "__init__.py").write_text("raise ImportError('the built one')")
    (built / "python" / "dependency.py").write_text("NAME = 'from the layer'")
    (built / "streaming-bootstrap").symlink_to(LAYER_SOURCES / "streaming-bootstrap")
    source = """
        import dependency
        def handler(event, context):
            return {"statusCode": 200, "body": dependency.NAME}
    """
    service.deploy(replace(config, code=code(tmp_path / "code", source), layer=built, layer_sources=LAYER_SOURCES))
    assert await read(await service.invoke("streaming", b"{}")) == b"from the layer"


async def test_a_log_line_without_end_is_cut_into_pieces(function: Any, log: list[str]) -> None:
    await read(await function("long_line", length=600_000))
    await until(lambda: "after it" in log)
    assert max(map(len, log)) <= 256 * 1024
    assert sum(line.count("y") for line in log if set(line) == {"y"}) == 600_000


@needs_proc
async def test_closing_ends_streams_and_leaves_no_process(
    log: list[str], config: FunctionConfig, tmp_path: Path
) -> None:
    service = LambdaService(lambda _, line: log.append(line))
    service.deploy(config)
    idle = json.loads(await read(await service.invoke("streaming", b'{"do": "environment"}')))["pid"]
    event = {"do": "parent", "gate": str(tmp_path / "never")}
    body = (await service.invoke("streaming", json.dumps(event).encode())).body()
    pids = [idle, *map(int, (await anext(body)).split())]
    await service.close()
    assert not is_running(pids[0])
    await until(lambda: not any(map(is_running, pids)))  # a killed child is a moment on its way out
    with pytest.raises(WorkerDied):
        await anext(body)


@needs_proc
async def test_workers_do_not_outlive_a_killed_service(config: FunctionConfig, tmp_path: Path) -> None:
    stack = tmp_path / "stack.py"
    stack.write_text(
        textwrap.dedent(f"""
            import asyncio, json
            from pathlib import Path
            from local.functions.lambda_service import FunctionConfig, LambdaService

            async def main():
                service = LambdaService(lambda *_: None)
                layer, code = Path({str(config.layer)!r}), Path({str(FUNCTION)!r})
                service.deploy(FunctionConfig("f", "app.handler", code, layer, {WRAPPER!r}, timeout=60))
                event = json.dumps({{"do": "generator", "gate": "/never"}}).encode()
                async for chunk in (await service.invoke("f", event)).body():
                    print(chunk.decode(), end="", flush=True)

            asyncio.run(main())
        """)
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, stack, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    assert process.stdout is not None
    worker = int(await process.stdout.readline())
    assert is_running(worker)
    process.kill()
    await process.wait()
    await until(lambda: not is_running(worker))
