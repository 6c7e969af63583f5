"""Where the credentials come from that requests are signed with.

On Lambda they stand in the environment and last as long as the sandbox: nothing of the SDK is imported for these, whose
chain of providers takes as long to load as all the rest of a function. Whatever else there is, and whatever has to be
refreshed, is botocore's: profiles, containers (SnapStart), roles.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple, Protocol

from tokenstream.settings import SettingsError


class FrozenKeys(Protocol):
    """What one request is signed with; botocore's `ReadOnlyCredentials` are such."""

    @property
    def access_key(self) -> str | None:
        """The key's id."""
        ...

    @property
    def secret_key(self) -> str | None:
        """The key."""
        ...

    @property
    def token(self) -> str | None:
        """The session's token; None for a user's own key."""
        ...


class Credentials(Protocol):
    """What gives keys that go together; botocore's `Credentials` are such, and refresh them when it is time."""

    def get_frozen_credentials(self) -> FrozenKeys:
        """Return the keys of the moment."""
        ...


class Keys(NamedTuple):
    """Keys that last."""

    access_key: str
    secret_key: str
    token: str | None

    def get_frozen_credentials(self) -> "Keys":
        """Return them."""
        return self


def find(environment: Mapping[str, str]) -> Credentials:
    """Return the function's credentials; raises `SettingsError` where there are none."""
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if access_key and secret_key and not environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return Keys(access_key, secret_key, environment.get("AWS_SESSION_TOKEN") or None)
    return _by_the_chain()


@cache
def _by_the_chain() -> Credentials:
    import botocore.session  # noqa: PLC0415 - see above

    credentials = botocore.session.get_session().get_credentials()
    if credentials is None:
        raise SettingsError("there are no AWS credentials")
    return credentials
