"""What a client brings along when it opens a WebSocket connection: the protocols that it offers, and its token.

The one header that a browser's WebSocket can set is that of the subprotocols. So the token comes as a second one, which
is never answered, or in the address, which logs on the way may keep.
"""

from collections.abc import Mapping
from typing import Any

from tokenstream.errors import Unauthorized

PROTOCOL = "tokenstream"
PROTOCOL_HEADER = "Sec-WebSocket-Protocol"


def offered_protocols(event: Mapping[str, Any]) -> list[str]:
    """Read the subprotocols that a `$connect` event offers, its authorizer's event too."""
    values = _values(event, PROTOCOL_HEADER.lower())
    return [protocol for value in values for item in value.split(",") if (protocol := item.strip())]


def presented_token(event: Mapping[str, Any]) -> str:
    """Take the token out of `["tokenstream", "<JWT>"]`, or else of `?token=`; raises `Unauthorized`."""
    protocols = offered_protocols(event)
    if protocols[:1] == [PROTOCOL] and len(protocols) > 1:
        return protocols[1]
    token: str = (event.get("queryStringParameters") or {}).get("token", "")
    if not token:
        raise Unauthorized("The ID token is needed, as a subprotocol or as `?token=`.")
    return token


def _values(event: Mapping[str, Any], header: str) -> list[str]:
    # The list may come as one header or as several, of which `headers` has the last.
    several = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    return [value for name, values in several.items() if name.lower() == header for value in values]
