"""What a client sees of a streaming invocation, however it goes."""

import asyncio

import httpx
import pytest

from local.edge.throttle import Throttle
from local.functions.invocation import FunctionFailed, FunctionTimedOut, TooManyRequests, WorkerDied
from local.functions.response_channel import ResponseChannel
from tests.local.edge_fakes import FakeLambdaService, begin, rest_stage, running_edge

MOUNTS = ("/url", "/rest/dev")
both_fronts = pytest.mark.parametrize("mount", MOUNTS)


@both_fronts
async def test_each_chunk_is_passed_on_before_the_next_one_exists(mount: str) -> None:
    service = FakeLambdaService(lambda channel: begin(channel, Content_Type="text/plain"))
    async with (
        running_edge(service) as edge,
        httpx.AsyncClient(base_url=edge) as http,
        http.stream("POST", mount, headers={"Accept-Encoding": "gzip"}) as response,
    ):
        chunks = response.aiter_raw()
        for number in range(5):
            sent = f"chunk {number}".encode()
            await service.channels[0].write(sent)
            async with asyncio.timeout(5):
                assert await anext(chunks) == sent
        service.channels[0].finish()
        assert [chunk async for chunk in chunks] == []
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Encoding" not in response.headers


@both_fronts
async def test_the_head_is_passed_on_before_any_chunk(mount: str) -> None:
    service = FakeLambdaService(lambda channel: begin(channel, 201, X_Session_Id="s"))
    async with (
        running_edge(service) as edge,
        httpx.AsyncClient(base_url=edge) as http,
        asyncio.timeout(5),
        http.stream("POST", mount) as response,
    ):
        assert (response.status_code, response.headers["X-Session-Id"]) == (201, "s")
        service.channels[0].finish()


@both_fronts
async def test_headers_of_the_functions_own_connection_stay_behind(mount: str) -> None:
    async def answer(channel: ResponseChannel) -> None:
        await begin(channel, Connection="close", Content_Length="999", WWW_Authenticate="Bearer", X_Own="1")
        channel.finish()

    async with running_edge(FakeLambdaService(answer)) as edge, httpx.AsyncClient(base_url=edge) as http:
        headers = (await http.post(mount)).headers
    assert headers["X-Own"] == "1"
    assert headers["x-amzn-Remapped-WWW-Authenticate"] == "Bearer"
    assert not {"connection", "content-length", "www-authenticate"} & set(headers)


@both_fronts
@pytest.mark.parametrize(
    "failure",
    [FunctionFailed("Error", "midway"), FunctionTimedOut("10 s"), WorkerDied("gone")],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_failure_midway_cuts_the_response_after_what_was_sent(mount: str, failure: Exception) -> None:
    async def answer(channel: ResponseChannel) -> None:
        await begin(channel)
        await channel.write(b"so far")
        channel.fail(failure)

    log: list[str] = []
    received = bytearray()

    async def collect(response: httpx.Response) -> None:
        async for chunk in response.aiter_raw():
            received.extend(chunk)

    async with (
        running_edge(FakeLambdaService(answer), log=log.append) as edge,
        httpx.AsyncClient(base_url=edge) as http,
    ):
        async with http.stream("POST", mount) as response:
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await collect(response)
        # The server is not confused for the next one.
        assert (await http.get("/_control/health")).status_code == 200
    assert received == b"so far"
    assert str(failure) in log[0]


async def test_a_failure_before_the_head_is_each_fronts_own_error() -> None:
    async def answer(channel: ResponseChannel) -> None:
        raise FunctionFailed("Error", "secret detail")

    async with running_edge(FakeLambdaService(answer)) as edge, httpx.AsyncClient(base_url=edge) as http:
        url, rest = [await http.post(mount) for mount in MOUNTS]
    assert (url.status_code, url.json()) == (502, {"Message": "Internal Server Error"})
    assert (rest.status_code, rest.json()) == (502, {"error": {"code": "internal"}})
    assert rest.headers["Access-Control-Allow-Origin"] == "*"


async def test_too_many_requests_is_429_at_the_function_url() -> None:
    async def answer(channel: ResponseChannel) -> None:
        raise TooManyRequests("100 are running")

    async with running_edge(FakeLambdaService(answer)) as edge, httpx.AsyncClient(base_url=edge) as http:
        assert (await http.post("/url")).status_code == 429


async def test_a_result_without_prelude_is_raw_at_the_url_and_an_error_at_the_rest_api() -> None:
    async def answer(channel: ResponseChannel) -> None:
        channel.start("application/json")
        await channel.write(b'{"statusCode": 401, "body": "no"}')
        channel.finish()

    async with running_edge(FakeLambdaService(answer)) as edge, httpx.AsyncClient(base_url=edge) as http:
        url, rest = [await http.post(mount) for mount in MOUNTS]
    assert (url.status_code, url.json()) == (200, {"statusCode": 401, "body": "no"})
    assert rest.status_code == 502


@both_fronts
@pytest.mark.parametrize("head", [{"status": 99}, {"status": 200, "X-Bad": "line\nbreak"}], ids=["status", "header"])
async def test_a_head_that_is_no_http_is_an_error_instead_of_a_broken_response(
    mount: str, head: dict[str, str]
) -> None:
    async def answer(channel: ResponseChannel) -> None:
        await begin(channel, **head)  # type: ignore[arg-type]  # the status is a number
        channel.finish()

    async with running_edge(FakeLambdaService(answer)) as edge, httpx.AsyncClient(base_url=edge) as http:
        assert (await http.post(mount)).status_code == 502


@both_fronts
async def test_a_client_that_leaves_does_not_stop_the_function(mount: str) -> None:
    service = FakeLambdaService(begin)
    async with running_edge(service) as edge:
        async with httpx.AsyncClient(base_url=edge) as http, http.stream("POST", mount) as response:
            await service.channels[0].write(b"first")
            await anext(response.aiter_raw())
        async with asyncio.timeout(20):
            # More than the channel and the sockets hold: writing would wait if it were not drained.
            for _ in range(200):
                await service.channels[0].write(bytes(100_000))
        service.channels[0].finish()


async def test_the_rest_apis_time_out_before_the_head_is_a_504_and_after_it_a_cut() -> None:
    started = asyncio.Event()

    async def answer(channel: ResponseChannel) -> None:
        if started.is_set():
            await begin(channel)
        else:
            started.set()
            await asyncio.Event().wait()

    stage = rest_stage(timeout=2)
    async with running_edge(FakeLambdaService(answer), stage) as edge, httpx.AsyncClient(base_url=edge) as http:
        assert (await http.post("/rest/dev")).status_code == 504
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await http.post("/rest/dev")


async def test_the_rest_apis_throttle_turns_away_what_is_over_the_burst() -> None:
    async def answer(channel: ResponseChannel) -> None:
        await begin(channel)
        channel.finish()

    stage = rest_stage(throttle=Throttle(rate=0.001, burst=2))
    async with running_edge(FakeLambdaService(answer), stage) as edge, httpx.AsyncClient(base_url=edge) as http:
        statuses = [(await http.post("/rest/dev")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


@both_fronts
async def test_a_response_without_a_body_has_none(mount: str) -> None:
    async def answer(channel: ResponseChannel) -> None:
        await begin(channel, 204)
        channel.finish()

    async with running_edge(FakeLambdaService(answer)) as edge, httpx.AsyncClient(base_url=edge) as http:
        response = await http.post(mount)
        assert (response.status_code, response.content) == (204, b"")
        assert "Transfer-Encoding" not in response.headers
        assert (await http.post(mount)).status_code == 204


async def test_cutting_needs_a_json_request_that_says_which_path() -> None:
    async with running_edge(FakeLambdaService(begin)) as edge, httpx.AsyncClient(base_url=edge) as http:
        orders: list[dict[str, object]] = [
            {},
            {"path": "sns"},
            {"path": "url", "after": 1},
            {"path": "url", "afterBytes": -1},
            {"path": "url", "afterMessages": 1},
            {"path": "websocket", "afterMessages": 0},
            {"path": "websocket", "afterBytes": 1},
            {"path": "appsync", "afterBytes": 1},
        ]
        for order in orders:
            assert (await http.post("/_control/cut", json=order)).status_code == 400
        plain = {"Content-Type": "text/plain"}
        assert (await http.post("/_control/cut", content='{"path": "url"}', headers=plain)).status_code == 400
        assert (await http.post("/_control/cut", json={"path": "url"})).json() == {"cut": 0}


@both_fronts
async def test_the_access_line_has_neither_query_nor_headers(mount: str) -> None:
    async def answer(channel: ResponseChannel) -> None:
        await begin(channel)
        await channel.write(b"12345")
        channel.finish()

    log: list[str] = []
    async with (
        running_edge(FakeLambdaService(answer), log=log.append) as edge,
        httpx.AsyncClient(base_url=edge) as http,
    ):
        await http.post(f"{mount}?token=secret", headers={"Authorization": "Bearer secret"}, content="secret")
    assert log[0].startswith(f"POST {mount} 200 5 B ")
    assert "secret" not in log[0]
