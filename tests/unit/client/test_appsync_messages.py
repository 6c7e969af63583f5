import base64
import json
from typing import Any

import pytest

from tokenstream_client.errors import ProtocolError
from tokenstream_client.transports import appsync_messages as messages
from tokenstream_client.transports.appsync_messages import Page


@pytest.mark.parametrize("token", ["t", "to", "tok", "toke", "é~ÿ?"])
def test_the_credential_is_a_subprotocol_that_every_server_takes(token: str) -> None:
    credential = messages.credential(messages.authorization("api.example", token))
    assert credential.startswith("header-")
    encoded = credential.removeprefix("header-")
    assert set(encoded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    assert json.loads(decoded) == {"host": "api.example", "Authorization": token}


@pytest.mark.parametrize(
    ("payload", "seconds"),
    [({"connectionTimeoutMs": 120_000}, 120), ({}, 300), (None, 300), ({"connectionTimeoutMs": 0}, 300), ([], 300)],
)
def test_the_connection_is_alive_as_long_as_the_server_says(payload: Any, seconds: float) -> None:
    assert messages.keep_alive_of({"type": "connection_ack", "payload": payload}) == seconds


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        [],
        {"frames": [], "more": None},
        {"frames": None, "more": False},
        {"frames": ["{"], "more": False},
        {"frames": ["[]"], "more": False},
        {"frames": [None], "more": False},
        {"frames": [{}], "more": False},
    ],
)
def test_what_is_no_state_of_a_stream_is_told(state: Any) -> None:
    with pytest.raises(ProtocolError):
        Page.of(state)
