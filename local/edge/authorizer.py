"""What API Gateway's Cognito authorizer does for a method without scopes: it takes ID tokens of its user pool.

Source: API Gateway developer guide, "Control access to REST APIs using Amazon Cognito user pools as an authorizer".
"""

import time
from collections.abc import Mapping
from typing import Any

import jwt

from local.edge.user_pool_keys import KeysUnreadableError, UnknownKeyError, UserPoolKeys, issuer


class UnauthorizedError(Exception):
    """The token isn't accepted; the message is API Gateway's."""


class AuthorizerFailedError(Exception):
    """The pool's keys can't be read."""


class CognitoAuthorizer:
    """Verifies tokens of one user pool, whose keys the emulator at `endpoint` publishes; `clients` are its clients."""

    def __init__(self, endpoint: str, region: str, pool: str, clients: frozenset[str]) -> None:
        self._keys = UserPoolKeys(endpoint, pool)
        self._issuer = issuer(region, pool)
        self._clients = clients

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
            claims = jwt.decode(
                token,
                await self._keys.key(token),
                algorithms=["RS256"],
                audience=self._clients,
                issuer=self._issuer,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The incoming token has expired") from None
        except (jwt.PyJWTError, UnknownKeyError):
            raise UnauthorizedError("Unauthorized") from None
        except KeysUnreadableError as error:
            raise AuthorizerFailedError(str(error)) from error
        if claims.get("token_use") != "id":
            raise UnauthorizedError("Unauthorized")
        return claims_in_event(claims)


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
