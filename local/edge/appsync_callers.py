"""Who calls AppSync: a user of the pool, by a JWT, or a holder of AWS credentials, by a signature."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, assert_never

import jwt

from local.edge.appsync_errors import unauthorized
from local.edge.appsync_signature import ALGORITHM, SignatureVerifier, SignedRequest
from local.edge.user_pool_keys import UnknownKeyError, UserPoolKeys, issuer


class AuthMode(Enum):
    """How a caller may be authorized; the value is AppSync's name."""

    COGNITO = "AMAZON_COGNITO_USER_POOLS"
    IAM = "AWS_IAM"


@dataclass(frozen=True, slots=True)
class CognitoUser:
    """A user with the claims of the token that was verified."""

    claims: Mapping[str, Any]

    @property
    def groups(self) -> frozenset[str]:
        """The user's groups in the pool."""
        return frozenset(self.claims.get("cognito:groups") or ())


@dataclass(frozen=True, slots=True)
class IamCaller:
    """A holder of AWS credentials."""

    access_key: str


Caller: TypeAlias = CognitoUser | IamCaller


def mode_of(caller: Caller) -> AuthMode:
    """Tell how a caller was authorized."""
    match caller:
        case CognitoUser():
            return AuthMode.COGNITO
        case IamCaller():
            return AuthMode.IAM
        case other:
            assert_never(other)


def identity(caller: Caller) -> dict[str, Any]:
    """Give what a resolver sees of a caller as `ctx.identity`."""
    match caller:
        case CognitoUser(claims):
            return {
                "sub": claims["sub"],
                "username": claims.get("cognito:username") or claims.get("username"),
                "issuer": claims["iss"],
                "claims": dict(claims),
                "groups": claims.get("cognito:groups"),
                "sourceIp": ["127.0.0.1"],
                "defaultAuthStrategy": "ALLOW",
            }
        case IamCaller(access_key):
            return {"accountId": "000000000000", "username": access_key, "sourceIp": ["127.0.0.1"]}
        case other:
            assert_never(other)


class UserPool:
    """A pool whose ID and access tokens AppSync takes; `client_pattern` is what an app client's whole id matches."""

    def __init__(self, keys: UserPoolKeys, region: str, pool: str, client_pattern: str | None = None) -> None:
        self._keys = keys
        self._issuer = issuer(region, pool)
        self._client_pattern = re.compile(client_pattern) if client_pattern else None

    async def user(self, authorization: str) -> CognitoUser:
        """Verify a token, with `Bearer` before it or without; raises `RefusedError` and `KeysUnreadableError`."""
        scheme, _, rest = authorization.strip().partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else authorization.strip()
        try:
            claims = jwt.decode(
                token,
                await self._keys.key(token),
                algorithms=["RS256"],
                issuer=self._issuer,
                # An access token has no audience; the client is looked at below.
                options={"require": ["exp", "iat", "sub", "iss", "token_use"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("Token has expired.") from None
        except UnknownKeyError:
            raise unauthorized() from None
        except (jwt.InvalidSignatureError, jwt.InvalidIssuerError, jwt.MissingRequiredClaimError):
            raise unauthorized() from None
        except jwt.PyJWTError:
            raise unauthorized("Unable to parse JWT token.") from None
        match claims["token_use"]:
            case "id":
                client = claims.get("aud")
            case "access":
                client = claims.get("client_id")
            case _:
                client = None
        if not isinstance(client, str) or (self._client_pattern and not self._client_pattern.fullmatch(client)):
            raise unauthorized()
        return CognitoUser(claims)


class Callers:
    """Finds out who sent a request, by what its headers say. A mode that isn't configured is None."""

    def __init__(self, user_pool: UserPool | None, signatures: SignatureVerifier | None) -> None:
        self._user_pool = user_pool
        self._signatures = signatures

    async def caller(self, request: SignedRequest) -> Caller:
        """Verify a request's credential; raises `RefusedError` and `KeysUnreadableError`."""
        match request.values("authorization"):
            case [authorization] if authorization.strip():
                pass
            case _:
                # None; or several, of which one would be verified and another believed.
                raise unauthorized("Valid authorization header not provided.")
        if authorization.startswith(ALGORITHM):
            if not self._signatures:
                raise unauthorized()
            return IamCaller(self._signatures.verify(request, authorization))
        if not self._user_pool:
            raise unauthorized()
        return await self._user_pool.user(authorization)
