"""The REST API's authorizer against tokens forged in the usual ways."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from local.edge.authorizer import AuthorizerFailedError, CognitoAuthorizer, UnauthorizedError, claims_in_event

_POOL = "us-east-1_abc"
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _token(key: Any = _KEY, *, kid: str = "k1", algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    payload = {
        "sub": "user-1",
        "aud": "client-1",
        "iss": f"https://cognito-idp.us-east-1.amazonaws.com/{_POOL}",
        "token_use": "id",
        "iat": now - 10,
        # Many are made when the tests are collected.
        "exp": now + 24 * 3600,
        **claims,
    }
    return jwt.encode(
        {name: value for name, value in payload.items() if value is not None}, key, algorithm, {"kid": kid}
    )


@pytest.fixture
async def authorizer() -> AsyncIterator[CognitoAuthorizer]:
    public = json.loads(RSAAlgorithm.to_jwk(_KEY.public_key()))

    async def keys(_request: web.Request) -> web.Response:
        return web.json_response({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]})

    app = web.Application()
    app.router.add_get(f"/{_POOL}/.well-known/jwks.json", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield CognitoAuthorizer(
            f"http://127.0.0.1:{runner.addresses[0][1]}", "us-east-1", _POOL, frozenset({"client-1"})
        )
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
async def test_an_id_token_is_accepted_with_and_without_bearer(authorizer: CognitoAuthorizer, scheme: str) -> None:
    assert (await authorizer.claims(scheme + _token()))["sub"] == "user-1"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x.y.z",
        _token(_OTHER_KEY),
        _token(kid="unknown"),
        _token(aud="client-2"),
        _token(iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_other"),
        _token(token_use="access"),
        _token(token_use=None),
        _token(exp=None),
        _token("a-secret-that-is-long-enough-for-this", algorithm="HS256"),
        _token("", algorithm="none"),
    ],
    ids=[
        *("missing", "empty", "no token", "no jwt", "foreign key", "unknown key", "foreign client", "foreign pool"),
        *("access token", "no use", "never expires", "symmetric", "unsigned"),
    ],
)
async def test_any_other_token_is_refused(authorizer: CognitoAuthorizer, header: str | None) -> None:
    with pytest.raises(UnauthorizedError, match="Unauthorized"):
        await authorizer.claims(header)


async def test_an_expired_token_is_told_so(authorizer: CognitoAuthorizer) -> None:
    with pytest.raises(UnauthorizedError, match="expired"):
        await authorizer.claims(_token(exp=int(time.time()) - 5))


async def test_keys_that_cannot_be_read_are_no_refusal_of_the_user() -> None:
    authorizer = CognitoAuthorizer("http://127.0.0.1:1", "us-east-1", _POOL, frozenset({"client-1"}))
    with pytest.raises(AuthorizerFailedError):
        await authorizer.claims(_token())


def test_claims_reach_the_function_as_strings() -> None:
    claims = {
        "exp": 1795208400,
        "auth_time": 1795204800,
        "email_verified": True,
        "cognito:groups": ["a", "b"],
        "sub": "u",
    }
    assert claims_in_event(claims) == {
        "exp": "Fri Nov 20 21:00:00 UTC 2026",
        "auth_time": "1795204800",
        "email_verified": "true",
        "cognito:groups": "a,b",
        "sub": "u",
    }
