"""What API Gateway's Cognito authorizer does for a method without scopes: it takes ID tokens of its user pool.

Source: API Gateway developer guide, "Control access to REST APIs using Amazon Cognito user pools as an authorizer".
"""

import time
from collections.abc import Mapping
from typing import Any

import jwt
from aiohttp import ClientError, ClientSession

_KEYS_MAX_AGE = 60.0


class UnauthorizedError(Exception):
    """The token isn't accepted; the message is API Gateway's."""


class AuthorizerFailedError(Exception):
    """The pool's keys can't be read."""


class CognitoAuthorizer:
    """Verifies tokens of one user pool, whose keys the emulator at `endpoint` publishes; `clients` are its app clients.

    The issuer is AWS's own address whatever the endpoint.
    """

    def __init__(self, endpoint: str, region: str, pool: str, clients: frozenset[str]) -> None:
        self._keys_url = f"{endpoint}/{pool}/.well-known/jwks.json"
        self._issuer = f"https://cognito-idp.{region}.amazonaws.com/{pool}"
        self._clients = clients
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")

    async def claims(self, header: str | None) -> dict[str, str]:
        """Verify a token and give its claims as the function's event shows them.

        Raises `UnauthorizedError` and `AuthorizerFailedError`.
        """
        token = (header or "").strip()
        scheme, _, rest = token.partition(" ")
        if scheme.lower() == "bearer":
            token = rest.strip()
        if not token:
            raise UnauthorizedError("Unauthorized")
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid", ""))
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._clients,
                issuer=self._issuer,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The incoming token has expired") from None
        except jwt.PyJWTError:
            raise UnauthorizedError("Unauthorized") from None
        if claims.get("token_use") != "id":
            raise UnauthorizedError("Unauthorized")
        return claims_in_event(claims)

    async def _key(self, key_id: str) -> jwt.PyJWK:
        if key_id not in self._keys and time.monotonic() - self._fetched > _KEYS_MAX_AGE:
            try:
                async with ClientSession(raise_for_status=True) as http, http.get(self._keys_url) as answer:
                    keys = jwt.PyJWKSet.from_dict(await answer.json())
            except (ClientError, ValueError, jwt.PyJWTError) as error:
                raise AuthorizerFailedError(str(error)) from error
            self._keys = {key.key_id: key for key in keys.keys if key.key_id}
            self._fetched = time.monotonic()
        if key_id not in self._keys:
            raise UnauthorizedError("Unauthorized")
        return self._keys[key_id]


def claims_in_event(claims: Mapping[str, Any]) -> dict[str, str]:
    """Every claim as a string, dates and lists in API Gateway's own way."""
    return {name: _claim(name, value) for name, value in claims.items()}


def _claim(name: str, value: Any) -> str:
    match value:
        case int() if name in {"exp", "iat"}:
            return time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(value))
        case bool():
            return str(value).lower()
        case list():
            return ",".join(str(item) for item in value)
        case _:
            return str(value)
