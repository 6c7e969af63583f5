"""How a real-time client says who it is before there is a connection: by a subprotocol, or in the address.

Source: AppSync developer guide, "Building a real-time WebSocket client", "Header parameter format".
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from local.edge.appsync_messages import parse_headers

SUBPROTOCOL = "graphql-ws"
_HEADER_PREFIX = "header-"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Headers that authorize, `host` among them, and the body that a signature covers."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class NoCredentialsError(Exception):
    """There are none, or they can't be read."""


def credentials(subprotocols: Sequence[str], query: str) -> Credentials:
    """Find a client's credentials; `query` as it stands in the address. Raises `NoCredentialsError`."""
    # base64 has plus signs, which would be spaces in a form's query.
    parameters = dict(pair.partition("=")[::2] for pair in query.split("&"))
    offered = [name.removeprefix(_HEADER_PREFIX) for name in subprotocols if name.startswith(_HEADER_PREFIX)]
    match offered:
        case [encoded]:
            body = b"{}"
        case []:
            encoded = unquote(parameters.get("header", ""))
            body = _decoded(unquote(parameters.get("payload", ""))) or b"{}"
        case _:
            raise NoCredentialsError
    try:
        headers = parse_headers(json.loads(_decoded(encoded)))
    except (ValueError, RecursionError):
        headers = None
    if not headers:
        raise NoCredentialsError
    return Credentials(headers, body)


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet, with its padding or without."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise NoCredentialsError from None
