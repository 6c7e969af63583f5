"""Where a stack is: the file that the local stack writes, and its like for a deployed one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, assert_never, get_args

from tokenstream_client.errors import EndpointsError

PathName = Literal["url", "rest", "websocket", "appsync"]
PATHS: tuple[PathName, ...] = get_args(PathName)

DEFAULT_FILE = Path(".local") / "endpoints.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The addresses of one stack, without a slash at their end, and its user pool.

    `aws_endpoint_url` is where the AWS services of a local stack are; `None` means AWS itself. `websocket_url`,
    `graphql_url` and `graphql_realtime_url` are `None` for a stack that is older than their path.
    """

    function_url: str
    rest_url: str
    region: str
    user_pool_id: str
    user_pool_client_id: str
    websocket_url: str | None = None
    graphql_url: str | None = None
    graphql_realtime_url: str | None = None
    aws_endpoint_url: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Read the keys of an endpoints file; others are ignored. Raises `EndpointsError`."""
        return cls(
            function_url=_url(values, "functionUrl"),
            rest_url=_url(values, "restUrl"),
            region=_text(values, "region"),
            user_pool_id=_text(values, "userPoolId"),
            user_pool_client_id=_text(values, "userPoolClientId"),
            websocket_url=_optional_url(values, "websocketUrl", "ws"),
            graphql_url=_optional_url(values, "graphqlUrl"),
            graphql_realtime_url=_optional_url(values, "graphqlRealtimeUrl", "ws"),
            aws_endpoint_url=_optional_url(values, "awsEndpointUrl"),
            username=values.get("username"),
            password=values.get("password"),
        )

    @classmethod
    def load(cls, file: Path | None = None) -> Self:
        """Read a file; by default `.local/endpoints.json` in the current folder or the nearest one above it."""
        file = file or _find()
        try:
            values = json.loads(file.read_bytes())
        except OSError as error:
            raise EndpointsError(f"{file} can't be read: {error.strerror}.") from error
        except ValueError as error:
            raise EndpointsError(f"{file} isn't JSON.") from error
        if not isinstance(values, dict):
            raise EndpointsError(f"{file} isn't a JSON object.")
        try:
            return cls.from_mapping(values)
        except EndpointsError as error:
            raise EndpointsError(f"{file}: {error.message}") from error

    def url(self, path: PathName) -> str:
        """Return the address that a path posts or connects to; raises `EndpointsError` when there is none."""
        match path:
            case "url":
                return self.function_url
            case "rest":
                return self.rest_url
            case "websocket":
                return _present(self.websocket_url, "websocketUrl", path)
            case "appsync":
                return _present(self.graphql_url, "graphqlUrl", path)
            case _:
                assert_never(path)

    def has(self, path: PathName) -> bool:
        """Tell whether the stack has a path."""
        match path:
            case "url" | "rest":
                return True
            case "websocket":
                return self.websocket_url is not None
            case "appsync":
                return self.graphql_url is not None and self.graphql_realtime_url is not None
            case _:
                assert_never(path)

    @property
    def realtime_url(self) -> str:
        """The address to which the path `appsync` connects for answers; raises `EndpointsError` when there is none."""
        return _present(self.graphql_realtime_url, "graphqlRealtimeUrl", "appsync")

    def with_user(self, username: str, password: str) -> Self:
        """Return the same stack with another user to sign in as."""
        return replace(self, username=username, password=password)

    @property
    def cognito_url(self) -> str:
        """The address of the user pool's API."""
        return self.aws_endpoint_url or f"https://cognito-idp.{self.region}.amazonaws.com"


def _find() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DEFAULT_FILE).is_file():
            return folder / DEFAULT_FILE
    raise EndpointsError(
        f"There is no {DEFAULT_FILE} here or above: is the local stack running? Start it with `make run`, "
        "or name a deployed stack's file with --endpoints."
    )


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise EndpointsError(f"`{key}` is missing.")
    return value


def _present(url: str | None, key: str, path: PathName) -> str:
    if url is None:
        raise EndpointsError(f"`{key}` is missing: the stack, or the file about it, is older than the path {path}.")
    return url


def _optional_url(values: Mapping[str, Any], key: str, scheme: str = "http") -> str | None:
    return _url(values, key, scheme) if values.get(key) else None


def _url(values: Mapping[str, Any], key: str, scheme: str = "http") -> str:
    value = _text(values, key)
    if not value.startswith((f"{scheme}://", f"{scheme}s://")):
        raise EndpointsError(f"`{key}` doesn't begin with {scheme}:// or {scheme}s://.")
    return value.rstrip("/")
