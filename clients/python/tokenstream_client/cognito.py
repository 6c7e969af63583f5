"""Signing in to a Cognito user pool, over its plain JSON API.

Source: Amazon Cognito API reference, `InitiateAuth` and `RespondToAuthChallenge`. The flow is USER_SRP_AUTH: the
password is proved, never sent, and it is the flow that a stack's client allows.
"""

import asyncio
import base64
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx

from tokenstream_client.endpoints import Endpoints
from tokenstream_client.errors import ConnectionFailed, SignInFailed, WrongCredentials
from tokenstream_client.srp import PasswordProof
from tokenstream_client.transports.http import connection_failures

RENEW_BEFORE = 60.0
"""Seconds before its expiry at which a token is renewed; a tenth of its lifetime when that is shorter."""

_USER_AT_FAULT = {
    "UserNotConfirmedException": "The user hasn't been confirmed yet.",
    "PasswordResetRequiredException": "The user has to reset the password first.",
    "ResourceNotFoundException": "The user pool or its client doesn't exist: are the endpoints those of the stack?",
}
_WRONG_CREDENTIALS = frozenset({"NotAuthorizedException", "UserNotFoundException"})
_TOO_MANY = frozenset({"TooManyRequestsException", "LimitExceededException", "RequestLimitExceeded"})


@dataclass(frozen=True, slots=True)
class _Tokens:
    id_token: str
    refresh_token: str | None
    renew_at: float


class CognitoTokens:
    """A `TokenProvider` that signs a user in on first use and renews the token before it expires.

    Raises `SignInFailed` when Cognito refuses and `ConnectionFailed` when it isn't reached.
    """

    def __init__(self, endpoints: Endpoints, http: httpx.AsyncClient) -> None:
        self._endpoints = endpoints
        self._http = http
        self._tokens: _Tokens | None = None
        self._one_at_a_time = asyncio.Lock()

    async def token(self, refused: str | None = None) -> str:
        """Return an ID token; a new one when the present one is about to expire or was refused."""
        async with self._one_at_a_time:
            tokens = self._tokens
            if tokens is None or tokens.id_token == refused or time.monotonic() >= tokens.renew_at:
                tokens = self._tokens = await self._renew(tokens)
            return tokens.id_token

    async def _renew(self, old: _Tokens | None) -> _Tokens:
        if old is None or old.refresh_token is None:
            return await self._sign_in()
        parameters = {"REFRESH_TOKEN": old.refresh_token}
        try:
            answer = await self._initiate("REFRESH_TOKEN_AUTH", parameters)
        except SignInFailed:
            # The refresh token has expired or was revoked.
            return await self._sign_in()
        return _tokens_of(answer, refresh_token=old.refresh_token)

    async def _sign_in(self) -> _Tokens:
        username, password = self._endpoints.username, self._endpoints.password
        if not username or not password:
            raise SignInFailed("Signing in needs a user name and a password.")
        proof = PasswordProof(self._endpoints.user_pool_id, password)
        parameters = {"USERNAME": username, "SRP_A": proof.public_value}
        answer = await self._initiate("USER_SRP_AUTH", parameters)
        if answer.get("ChallengeName") == "PASSWORD_VERIFIER":
            try:
                responses = proof.answer(answer["ChallengeParameters"], datetime.now(UTC))
            except (KeyError, ValueError) as error:
                raise SignInFailed("Cognito's challenge can't be answered.") from error
            challenge = {"ChallengeName": "PASSWORD_VERIFIER", "ChallengeResponses": responses}
            answer = await self._call("RespondToAuthChallenge", challenge)
        if answer.get("ChallengeName") == "NEW_PASSWORD_REQUIRED":
            raise SignInFailed(_temporary_password(self._endpoints.user_pool_id, username))
        return _tokens_of(answer)

    async def _initiate(self, flow: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        return await self._call("InitiateAuth", {"AuthFlow": flow, "AuthParameters": parameters})

    async def _call(self, action: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {"ClientId": self._endpoints.user_pool_client_id, **arguments}
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityProviderService.{action}",
        }
        url = httpx.URL(self._endpoints.cognito_url)
        with connection_failures(url):
            response = await self._http.post(url, content=json.dumps(body).encode(), headers=headers)
        answer = _json_object(response)
        if response.is_success:
            return answer
        # AWS names the exception with or without a namespace before it.
        error = str(answer.get("__type", "")).rpartition("#")[2]
        if error in _TOO_MANY or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ConnectionFailed(f"Cognito is overloaded ({error or response.status_code}).")
        if error in _WRONG_CREDENTIALS:
            raise WrongCredentials("The user name or the password is wrong.")
        raise SignInFailed(_USER_AT_FAULT.get(error, f"Cognito refused to sign in ({error or response.status_code})."))


def _temporary_password(user_pool_id: str, username: str) -> str:
    return (
        f"The password of {username} is a temporary one. An administrator sets a permanent one: "
        f"aws cognito-idp admin-set-user-password --user-pool-id {user_pool_id} --username {shlex.quote(username)} "
        "--password … --permanent"
    )


def _tokens_of(answer: Mapping[str, Any], *, refresh_token: str | None = None) -> _Tokens:
    result = answer.get("AuthenticationResult")
    if not isinstance(result, dict) or not isinstance(result.get("IdToken"), str):
        challenge = answer.get("ChallengeName", "nothing")
        raise SignInFailed(f"Cognito asks for {challenge}, which this client can't answer: sign in once elsewhere.")
    id_token: str = result["IdToken"]
    lifetime = _lifetime(id_token)
    renew_at = time.monotonic() + lifetime - min(RENEW_BEFORE, lifetime / 10)
    return _Tokens(id_token, result.get("RefreshToken") or refresh_token, renew_at)


def _lifetime(token: str) -> float:
    """Return the seconds that a JWT lives, by its own claims: this machine's clock may be wrong.

    Nothing is verified: the token comes from Cognito itself, and whoever receives it verifies it.
    """
    payload = token.split(".")[1] if token.count(".") == 2 else ""  # noqa: PLR2004 - header, payload, signature
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"] - claims["iat"])
    except (ValueError, KeyError, TypeError) as error:
        raise SignInFailed("Cognito's token isn't a JWT.") from error


def _json_object(response: httpx.Response) -> Mapping[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
