"""A GraphQL request as a client writes it: over HTTP, or within a real-time connection's `start`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.edge.appsync_errors import malformed

_MALFORMED = "Invalid JSON payload in GraphQLAuth POST request."


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """What is to be carried out: of a document that names several operations, the one with this name."""

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None

    @classmethod
    def parse(cls, text: bytes | str) -> "GraphQLRequest":
        """Read a request; raises `RefusedError`."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise malformed(_MALFORMED) from None
        match document:
            case {"query": str(query)}:
                variables, operation_name = document.get("variables"), document.get("operationName")
            case dict() if document.get("query") is None:
                raise malformed("Invalid request, `query` can't be null.")
            case _:
                raise malformed(_MALFORMED)
        if not isinstance(variables, dict | None) or not isinstance(operation_name, str | None):
            raise malformed(_MALFORMED)
        if not query.strip():
            raise malformed("Invalid request, `query` can't be empty.")
        return cls(query, variables or {}, operation_name)

    def to_json(self) -> dict[str, Any]:
        """Write it anew: whoever reads it next reads no more than what was looked at here."""
        return {"query": self.query, "variables": dict(self.variables), "operationName": self.operation_name}
