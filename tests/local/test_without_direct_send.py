"""A stack that sends everything through SNS and SQS. `DIRECT_SEND=false make test ARGS=tests/local` runs all on one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.local.conftest import TOKENS, TTFT
from tests.local.stack_process import RunningStack, StackProcess, copy_checkout
from tests.local.test_http_stream import expected
from tokenstream_client import Client, Complete, Endpoints, Start, Token
from tokenstream_client.endpoints import PathName


@pytest.fixture(scope="module")
def indirect(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Iterator[RunningStack]:
    process = StackProcess(
        copy_checkout(tmp_path_factory.mktemp("checkout"), built),
        *("--ttft", str(TTFT), "--tokens", str(TOKENS), "--parameter", "DirectSend=false"),
    )
    try:
        yield process.wait_until_ready()
    finally:
        process.close()


@pytest.mark.parametrize("path", ["websocket", "appsync"])
async def test_answers_arrive_whole_though_nobody_but_deliver_reaches_the_clients(
    indirect: RunningStack, path: PathName
) -> None:
    async with Client(Endpoints.from_mapping(indirect.endpoints), path=path) as client:
        frames = [frame async for frame in client.stream(prompt="Indirect")]
        # Asked for directly, it is queued all the same.
        assert await client.text(prompt="Indirect", delivery="direct") == expected("Indirect")
    assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == expected("Indirect")
    assert isinstance(frames[0], Start)
    assert frames[0].delivery == "queued"
    assert isinstance(frames[-1], Complete)
    calls = httpx.get(f"{indirect.edge_url}/_control/faults").json()["calls"][path]
    assert {function for function, count in calls.items() if count["made"]} == {"deliver"}
