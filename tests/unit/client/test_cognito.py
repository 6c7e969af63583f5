import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from tests.unit.client.fake_stack import endpoints_of
from tests.unit.client.srp_server import SrpServer
from tokenstream_client.cognito import CognitoTokens
from tokenstream_client.errors import ConnectionFailed, SignInFailed, WrongCredentials

ENDPOINTS = endpoints_of("http://127.0.0.1:9")


@dataclass
class FakeCognito:
    """A user pool with one user, answering over httpx's mock transport."""

    lifetime: int = 3600
    password: str = "a-password"
    refresh_tokens: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    next_answer: httpx.Response | None = None
    issued: int = 0
    _pending: tuple[SrpServer, str] | None = None

    async def handle(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        body = json.loads(request.content)
        assert body["ClientId"] == ENDPOINTS.user_pool_client_id
        assert self.password not in request.content.decode()
        action = request.headers["X-Amz-Target"].partition(".")[2]
        self.calls.append(body.get("AuthFlow", action))
        if self.next_answer is not None:
            answer, self.next_answer = self.next_answer, None
            return answer
        if action == "RespondToAuthChallenge":
            assert self._pending is not None
            server, srp_a = self._pending
            return self._tokens() if server.accepts(srp_a, body["ChallengeResponses"]) else refused()
        parameters = body["AuthParameters"]
        if body["AuthFlow"] == "REFRESH_TOKEN_AUTH":
            return self._tokens() if parameters["REFRESH_TOKEN"] in self.refresh_tokens else refused()
        server = SrpServer(ENDPOINTS.user_pool_id, "sub-of-alice", self.password)
        self._pending = (server, parameters["SRP_A"])
        return httpx.Response(
            200, json={"ChallengeName": "PASSWORD_VERIFIER", "ChallengeParameters": server.challenge()}
        )

    def _tokens(self) -> httpx.Response:
        self.issued += 1
        claims = {"iat": 1_000_000, "exp": 1_000_000 + self.lifetime, "n": self.issued}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        result: dict[str, Any] = {"IdToken": f"header.{payload}.signature{self.issued}", "ExpiresIn": 1}
        if self.calls[-1] != "REFRESH_TOKEN_AUTH":
            self.refresh_tokens.add("refresh")
            result["RefreshToken"] = "refresh"
        return httpx.Response(200, json={"AuthenticationResult": result})


def refused(kind: str = "NotAuthorizedException", status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"__type": kind, "message": "whatever"})


@pytest.fixture
def cognito() -> FakeCognito:
    return FakeCognito()


@pytest.fixture
async def http(cognito: FakeCognito) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(cognito.handle)) as client:
        yield client


async def test_the_user_signs_in_once_for_many_streams(cognito: FakeCognito, http: httpx.AsyncClient) -> None:
    tokens = CognitoTokens(ENDPOINTS, http)
    given = await asyncio.gather(*(tokens.token() for _ in range(20)))
    assert len(set(given)) == 1
    assert cognito.calls == ["USER_SRP_AUTH", "RespondToAuthChallenge"]


async def test_a_token_about_to_expire_is_renewed_without_the_password(
    cognito: FakeCognito, http: httpx.AsyncClient
) -> None:
    cognito.lifetime = 0
    tokens = CognitoTokens(ENDPOINTS, http)
    first = await tokens.token()
    cognito.lifetime = 3600
    second = await tokens.token()
    assert second != first
    assert await tokens.token() == second
    assert cognito.calls[2:] == ["REFRESH_TOKEN_AUTH"]


async def test_a_refused_token_is_renewed_once_for_all_who_held_it(
    cognito: FakeCognito, http: httpx.AsyncClient
) -> None:
    tokens = CognitoTokens(ENDPOINTS, http)
    old = await tokens.token()
    renewed = await asyncio.gather(*(tokens.token(refused=old) for _ in range(5)))
    assert len(set(renewed)) == 1
    assert old not in renewed
    assert cognito.calls.count("REFRESH_TOKEN_AUTH") == 1


async def test_a_revoked_refresh_token_leads_back_to_the_password(
    cognito: FakeCognito, http: httpx.AsyncClient
) -> None:
    tokens = CognitoTokens(ENDPOINTS, http)
    old = await tokens.token()
    cognito.refresh_tokens.clear()
    assert await tokens.token(refused=old) != old
    assert cognito.calls[2:] == ["REFRESH_TOKEN_AUTH", "USER_SRP_AUTH", "RespondToAuthChallenge"]


async def test_a_wrong_password_is_told(cognito: FakeCognito, http: httpx.AsyncClient) -> None:
    tokens = CognitoTokens(replace(ENDPOINTS, password="wrong"), http)
    with pytest.raises(WrongCredentials, match="password is wrong"):
        await tokens.token()


async def test_without_a_user_nothing_is_sent(cognito: FakeCognito, http: httpx.AsyncClient) -> None:
    with pytest.raises(SignInFailed, match="user name and a password"):
        await CognitoTokens(replace(ENDPOINTS, username=None), http).token()
    assert cognito.calls == []


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (refused("com.amazonaws#UserNotConfirmedException"), SignInFailed, "confirmed"),
        (refused("ResourceNotFoundException"), SignInFailed, "endpoints"),
        (refused("NovelException"), SignInFailed, "NovelException"),
        (refused("TooManyRequestsException"), ConnectionFailed, "overloaded"),
        (httpx.Response(503, text="<html>"), ConnectionFailed, "overloaded"),
        (httpx.Response(200, json={"ChallengeName": "NEW_PASSWORD_REQUIRED"}), SignInFailed, "username alice "),
        (httpx.Response(200, json={"ChallengeName": "SMS_MFA"}), SignInFailed, "SMS_MFA"),
        (
            httpx.Response(200, json={"ChallengeName": "PASSWORD_VERIFIER", "ChallengeParameters": {}}),
            SignInFailed,
            "can't be answered",
        ),
        (httpx.Response(200, text="<html>"), SignInFailed, "asks for nothing"),
        (httpx.Response(200, json={"AuthenticationResult": {"IdToken": "no-jwt"}}), SignInFailed, "JWT"),
    ],
)
async def test_every_refusal_says_what_is_the_matter(
    cognito: FakeCognito, http: httpx.AsyncClient, answer: httpx.Response, error: type[Exception], told: str
) -> None:
    cognito.next_answer = answer
    with pytest.raises(error, match=told):
        await CognitoTokens(ENDPOINTS, http).token()


async def test_an_unreachable_cognito_is_a_failed_connection() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:9"):
            await CognitoTokens(ENDPOINTS, http).token()
