"""`.local/endpoints.json`: what a client needs to know of the running stack."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.cloud.users import User
from local.edge.appsync import MOUNT as GRAPHQL_MOUNT
from local.edge.appsync import REALTIME_MOUNT


@dataclass(frozen=True, slots=True)
class GraphQLEndpoints:
    """Where AppSync's front is, plainly and with TLS by the certificate in a file: most clients insist on it."""

    plain: str
    tls: str
    ca_file: Path

    @property
    def url(self) -> str:
        """For queries and mutations."""
        return f"{self.plain}{GRAPHQL_MOUNT}"

    @property
    def realtime_url(self) -> str:
        """For subscriptions."""
        return f"{self.plain}{REALTIME_MOUNT}".replace("http", "ws", 1)

    @property
    def tls_url(self) -> str:
        """For queries and mutations, with TLS."""
        return f"{self.tls}{GRAPHQL_MOUNT}"

    @property
    def realtime_tls_url(self) -> str:
        """For subscriptions, with TLS."""
        return f"{self.tls}{REALTIME_MOUNT}".replace("http", "ws", 1)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses without a slash at the end. `bedrock_url` is None when the model is AWS's, `web_url` without a page."""

    web_url: str | None
    function_url: str
    rest_url: str
    websocket_url: str
    graphql: "GraphQLEndpoints"
    aws_endpoint_url: str
    bedrock_url: str | None
    region: str
    user_pool_id: str
    user_pool_client_id: str
    user: User
    other_users: Sequence[User]
    stack_name: str

    def to_json(self) -> dict[str, Any]:
        """As a client reads it; what there is not is left out."""
        return {
            **({"webUrl": self.web_url} if self.web_url else {}),
            "functionUrl": self.function_url,
            "restUrl": self.rest_url,
            "websocketUrl": self.websocket_url,
            "graphqlUrl": self.graphql.url,
            "graphqlRealtimeUrl": self.graphql.realtime_url,
            "graphqlTlsUrl": self.graphql.tls_url,
            "graphqlRealtimeTlsUrl": self.graphql.realtime_tls_url,
            "caFile": str(self.graphql.ca_file),
            "awsEndpointUrl": self.aws_endpoint_url,
            **({"bedrockUrl": self.bedrock_url} if self.bedrock_url else {}),
            "region": self.region,
            "userPoolId": self.user_pool_id,
            "userPoolClientId": self.user_pool_client_id,
            "username": self.user.username,
            "password": self.user.password,
            "otherUsers": [{"username": user.username, "password": user.password} for user in self.other_users],
            "stackName": self.stack_name,
        }


@contextmanager
def published(endpoints: Endpoints, path: Path) -> Iterator[None]:
    """Keep the file there, whole or not at all, readable for its owner only, until the end."""
    draft = path.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(endpoints.to_json(), file, indent=2)
        file.write("\n")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
