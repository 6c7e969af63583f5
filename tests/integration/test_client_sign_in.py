"""Signing in against MiniStack, which implements Cognito's side of SRP."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tokenstream_client.cognito import CognitoTokens
from tokenstream_client.endpoints import Endpoints
from tokenstream_client.errors import SignInFailed
from tokenstream_client.transports.http import http_client

MINISTACK = Path(__file__).parents[2] / ".tools" / "ministack" / "bin" / "ministack"
PASSWORD = "Correct-horse-7"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("ministack")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "STATE_DIR": str(folder),
        "S3_DATA_DIR": str(folder),
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/none.sock",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([MINISTACK], env=environment, cwd=folder, stdout=log, stderr=log)  # noqa: S603 - ours
        with process:
            try:
                yield _ready(process, f"http://127.0.0.1:{port}", folder / "log")
            finally:
                process.terminate()


def _ready(process: subprocess.Popen[bytes], url: str, log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/_ministack/health", trust_env=False).is_success:
                return url
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace"))


@pytest.fixture(scope="module")
def endpoints(emulator: str) -> Endpoints:
    """A pool and a client with the settings of template.yaml that bear on signing in, and one user."""

    def call(action: str, **arguments: Any) -> Any:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityProviderService.{action}",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cognito-idp/aws4_request",
        }
        response = httpx.post(emulator, content=json.dumps(arguments).encode(), headers=headers, trust_env=False)
        assert response.is_success, response.text
        return response.json()

    pool = call("CreateUserPool", PoolName="test", UsernameAttributes=["email"])["UserPool"]["Id"]
    client = call(
        "CreateUserPoolClient",
        UserPoolId=pool,
        ClientName="test",
        ExplicitAuthFlows=["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        PreventUserExistenceErrors="ENABLED",
    )["UserPoolClient"]["ClientId"]
    for name, permanent in (("alice@example.com", True), ("new@example.com", False)):
        call("AdminCreateUser", UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
        call("AdminSetUserPassword", UserPoolId=pool, Username=name, Password=PASSWORD, Permanent=permanent)
    return Endpoints(
        function_url=emulator,
        rest_url=emulator,
        region="us-east-1",
        user_pool_id=pool,
        user_pool_client_id=client,
        aws_endpoint_url=emulator,
        username="alice@example.com",
        password=PASSWORD,
    )


def claims_of(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False})


async def test_the_password_gives_an_id_token_of_the_pools_client(endpoints: Endpoints) -> None:
    async with http_client(30) as http:
        claims = claims_of(await CognitoTokens(endpoints, http).token())
    assert (claims["token_use"], claims["aud"], claims["email"]) == (
        "id",
        endpoints.user_pool_client_id,
        "alice@example.com",
    )


async def test_signing_in_succeeds_every_time(endpoints: Endpoints) -> None:
    async with http_client(30) as http:
        for _ in range(8):
            assert await CognitoTokens(endpoints, http).token()


async def test_a_refused_token_is_replaced_with_the_refresh_token(endpoints: Endpoints) -> None:
    async with http_client(30) as http:
        tokens = CognitoTokens(endpoints, http)
        old = await tokens.token()
        tokens._endpoints = replace(endpoints, password=None)
        assert claims_of(await tokens.token(refused=old))["token_use"] == "id"


@pytest.mark.parametrize("user", [("alice@example.com", "wrong"), ("nobody@example.com", PASSWORD)])
async def test_a_wrong_password_and_an_unknown_user_look_the_same(endpoints: Endpoints, user: tuple[str, str]) -> None:
    async with http_client(30) as http:
        with pytest.raises(SignInFailed, match="user name or the password is wrong"):
            await CognitoTokens(endpoints.with_user(*user), http).token()


async def test_a_user_with_a_temporary_password_is_told_what_to_do(endpoints: Endpoints) -> None:
    async with http_client(30) as http:
        with pytest.raises(SignInFailed, match=r"admin-set-user-password .* --permanent"):
            await CognitoTokens(endpoints.with_user("new@example.com", PASSWORD), http).token()
