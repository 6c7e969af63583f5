from typing import Any

import pytest

from tokenstream.errors import Unauthorized
from tokenstream.handshake import offered_protocols, presented_token

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"


def handshake(*protocols: str, header: str = "Sec-WebSocket-Protocol", **query: str) -> dict[str, Any]:
    """Return the parts of an event that are read here, as API Gateway has them."""
    headers = {"Host": "api.example", **({header: protocols[-1]} if protocols else {})}
    several = {"Host": ["api.example"], **({header: list(protocols)} if protocols else {})}
    return {"headers": headers, "multiValueHeaders": several, "queryStringParameters": query}


@pytest.mark.parametrize(
    "event",
    [
        handshake(f"tokenstream, {JWT}"),
        handshake(f"tokenstream,{JWT}"),
        handshake(f"  tokenstream ,\t{JWT} "),
        handshake(f"tokenstream, {JWT}, another"),
        handshake("tokenstream", JWT),
        handshake(f"tokenstream, {JWT}", header="sec-websocket-protocol"),
        handshake(f"tokenstream, {JWT}", header="SEC-WEBSOCKET-PROTOCOL"),
        handshake(token=JWT),
        handshake("tokenstream", token=JWT),
        handshake("another", token=JWT),
        {"headers": {"sec-websocket-protocol": f"tokenstream, {JWT}"}, "queryStringParameters": None},
    ],
)
def test_a_client_may_bring_its_token_either_way(event: dict[str, Any]) -> None:
    assert presented_token(event) == JWT


def test_the_subprotocol_goes_before_the_address() -> None:
    assert presented_token(handshake(f"tokenstream, {JWT}", token="another")) == JWT


@pytest.mark.parametrize(
    "event",
    [
        handshake(),
        handshake("tokenstream"),
        handshake("tokenstream,"),
        handshake("tokenstream, ,"),
        handshake(JWT),
        handshake(f"{JWT}, tokenstream"),
        handshake(f"another, {JWT}"),
        handshake(token=""),
        handshake(Token=JWT),
        {},
        {"headers": None, "multiValueHeaders": None, "queryStringParameters": None},
    ],
)
def test_without_a_token_there_is_none(event: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized) as raised:
        presented_token(event)
    assert not raised.value.retryable


def test_what_is_offered_is_known_in_its_order() -> None:
    assert offered_protocols(handshake(f"tokenstream, {JWT}", "another")) == ["tokenstream", JWT, "another"]
    assert offered_protocols(handshake()) == []
