"""Where the bearer token of a request comes from: Cognito's *ID* token, on every path."""

from typing import Protocol


class TokenProvider(Protocol):
    """Gives tokens; may be asked by several streams at once."""

    async def token(self, refused: str | None = None) -> str:
        """Return a token to send.

        `refused` is one that the server has just answered with 401: give another if there is one. The same token
        again means that there is none, and the 401 reaches the caller as `RequestRejected`.
        """


class FixedToken:
    """A token that the caller already has."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self, refused: str | None = None) -> str:  # noqa: ARG002 - there is no other to give
        """Return the token."""
        return self._token
