"""What serves the web client on this machine."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from local.edge.web import WebClient, content_security_policy

ENDPOINTS = {
    "functionUrl": "http://127.0.0.1:1/url",
    "websocketUrl": "ws://127.0.0.1:2/dev",
    "awsEndpointUrl": "http://127.0.0.1:3",
    "userPoolId": "pool",
    "username": "demo@example.com",
    "password": "secret",
    "otherUsers": [{"username": "other", "password": "secret2"}],
    "caFile": "/somewhere/ca.pem",
}


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "assets" / "index.js").write_text("1")
    client = WebClient(tmp_path, lambda line: None)
    url = await client.start()
    client.configure(ENDPOINTS)
    try:
        async with httpx.AsyncClient(base_url=url) as http:
            yield http
    finally:
        await client.close()


async def test_the_page_and_its_parts_are_served_under_the_policy(page: httpx.AsyncClient) -> None:
    for path, text in (("/", "<title>page</title>"), ("/assets/index.js", "1")):
        response = await page.get(path)
        assert response.text == text
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "connect-src 'self' http://127.0.0.1:1 http://127.0.0.1:3 ws://127.0.0.1:2;" in policy
        assert response.headers["Cache-Control"] == "no-store"


async def test_the_page_learns_of_the_stack_and_of_no_other_user(page: httpx.AsyncClient) -> None:
    config = (await page.get("/config.json")).json()
    assert config == {key: value for key, value in ENDPOINTS.items() if key not in {"otherUsers", "caFile"}}


@pytest.mark.parametrize("path", ["/nothing", "/../endpoints.json", "/%2e%2e/secret", "/assets"])
async def test_nothing_else_is_served(page: httpx.AsyncClient, path: str) -> None:
    assert (await page.get(path)).status_code in {403, 404}


async def test_a_page_of_another_name_gets_nothing(page: httpx.AsyncClient) -> None:
    assert (await page.get("/config.json", headers={"Host": "evil.example"})).status_code == 403


def test_the_policy_names_each_origin_once() -> None:
    policy = content_security_policy(["http://a:1/x", "http://a:1/y", "wss://b/z"])
    assert "connect-src 'self' http://a:1 wss://b;" in policy
