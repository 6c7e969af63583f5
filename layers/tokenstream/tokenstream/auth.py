"""A Cognito ID token to a principal: signature, issuer, audience, `token_use` and expiry.

Source: Amazon Cognito developer guide, "Verifying JSON web tokens".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import loads
from typing import TYPE_CHECKING, Any, Self

from tokenstream.errors import Internal, Unauthorized
from tokenstream.settings import UserPool

if TYPE_CHECKING:
    from jwt import PyJWK

JWKS_TIMEOUT_SECONDS = 3.0
JWKS_REFRESH_SECONDS = 60.0
"""Keys are fetched again for a key id that isn't known, but no more often than this: anybody can make one up."""

MAX_TOKEN_CHARACTERS = 8192


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the user's `sub`, and until when the token speaks for them, in epoch seconds.

    The time is None where an authorizer in front has checked it already.
    """

    sub: str
    expires_at: int | None


class KeysUnavailable(Internal):
    """The issuer's keys can't be read."""


def bearer(header: str) -> str:
    """Take the token out of an `Authorization` header; raises `Unauthorized`."""
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("An `Authorization: Bearer` header with the ID token is needed.")
    return token.strip()


def fetch_json(url: str) -> dict[str, Any]:
    """Read a JSON object over HTTP(S); raises `KeysUnavailable`."""
    # As `jwt` below: whoever verifies no token needs none of it.
    from http.client import HTTPException  # noqa: PLC0415
    from urllib.request import urlopen  # noqa: PLC0415

    try:
        with urlopen(url, timeout=JWKS_TIMEOUT_SECONDS) as answer:  # noqa: S310 - the URL is the stack's own
            document = loads(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        raise KeysUnavailable from error
    if not isinstance(document, dict):
        raise KeysUnavailable
    return document


class TokenVerifier:
    """Verifies ID tokens that a user pool made for one client of it.

    `clock` gives seconds for the age of the keys; `fetch` reads the JSON document at a URL.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        jwks_url: str,
        clock: Callable[[], float],
        fetch: Callable[[str], Mapping[str, Any]] = fetch_json,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._jwks_url = jwks_url
        self._clock = clock
        self._fetch = fetch
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at: float | None = None

    @classmethod
    def of(cls, pool: UserPool, *, clock: Callable[[], float]) -> Self:
        """Verify the tokens that a pool makes for its client."""
        return cls(issuer=pool.issuer, client_id=pool.client_id, jwks_url=pool.jwks_url, clock=clock)

    def verify(self, token: str) -> Principal:
        """Return whom a token speaks for; raises `Unauthorized`, and `KeysUnavailable` when it can't be told."""
        # Behind an authorizer no token is verified here: the import, a good part of a cold start, is spared.
        import jwt  # noqa: PLC0415 - see above

        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthorized("The token is too long.")
        try:
            claims = jwt.decode(
                token,
                self._key(jwt.get_unverified_header(token).get("kid")),
                algorithms=["RS256"],
                issuer=self._issuer,
                audience=self._client_id,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "token_use"], "verify_iat": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The token has expired.") from error
        except (jwt.InvalidTokenError, UnicodeEncodeError) as error:
            raise Unauthorized("The token is not valid.") from error
        return Principal(self._subject(claims), claims["exp"])

    def accept(self, claims: Mapping[str, Any]) -> Principal:
        """Return whom claims speak for that API Gateway has verified, apart from the client; raises `Unauthorized`."""
        if claims.get("aud") != self._client_id:
            raise Unauthorized("The token was made for another client.")
        return Principal(self._subject(claims), None)

    @staticmethod
    def _subject(claims: Mapping[str, Any]) -> str:
        match claims:
            case {"token_use": "id", "sub": str(sub)} if sub:
                return sub
        raise Unauthorized("The token is not an ID token.")

    def _key(self, key_id: object) -> "PyJWK":
        if key_id not in self._keys and self._keys_are_old():
            self._refresh()
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise Unauthorized("The token is not valid.")
        return self._keys[key_id]

    def _keys_are_old(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= JWKS_REFRESH_SECONDS

    def _refresh(self) -> None:
        import jwt  # noqa: PLC0415 - as in `verify`

        document = self._fetch(self._jwks_url)
        try:
            keys = jwt.PyJWKSet.from_dict(dict(document)).keys
        except jwt.PyJWTError as error:
            raise KeysUnavailable from error
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._fetched_at = self._clock()
