"""The keys that a Cognito user pool signs its tokens with, as the emulator publishes them."""

import time

import jwt
from aiohttp import ClientError, ClientSession

_MAX_AGE = 60.0


class UnknownKeyError(Exception):
    """The pool has no such key."""


class KeysUnreadableError(Exception):
    """The pool's keys can't be read."""


class UserPoolKeys:
    """Keys of one pool, read again when an unknown one is asked for, though not at every such request."""

    def __init__(self, endpoint: str, pool: str) -> None:
        self._url = f"{endpoint}/{pool}/.well-known/jwks.json"
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")

    async def key(self, token: str) -> jwt.PyJWK:
        """Give the key that a token says it is signed with.

        Raises `jwt.PyJWTError` for what is no token, `UnknownKeyError` and `KeysUnreadableError`.
        """
        key_id = jwt.get_unverified_header(token).get("kid", "")
        if key_id not in self._keys and time.monotonic() - self._fetched > _MAX_AGE:
            try:
                async with ClientSession(raise_for_status=True) as http, http.get(self._url) as answer:
                    keys = jwt.PyJWKSet.from_dict(await answer.json())
            except (ClientError, ValueError, jwt.PyJWTError) as error:
                raise KeysUnreadableError(str(error)) from error
            self._keys = {key.key_id: key for key in keys.keys if key.key_id}
            self._fetched = time.monotonic()
        if key_id not in self._keys:
            raise UnknownKeyError
        return self._keys[key_id]


def issuer(region: str, pool: str) -> str:
    """Tell the issuer that a pool's tokens name: AWS's own address, whatever the endpoint."""
    return f"https://cognito-idp.{region}.amazonaws.com/{pool}"
