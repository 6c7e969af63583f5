"""What is published comes back with every field that filters and clients need."""

import json
from datetime import datetime
from typing import Any

import pytest

from tests.contract.sinks import AWKWARD_TEXT
from tests.fakes.frames import SESSION, Attempt
from tests.graphql.emulated_api import USER, EmulatedApi, signed
from tokenstream.errors import ModelError
from tokenstream.frames import Sealed

PUBLISH = """
mutation (
  $sessionId: ID!, $owner: ID!, $attempt: Int!, $sequence: Int!, $type: String!, $token: String, $frame: AWSJSON!
) {
  publishToken(
    sessionId: $sessionId, owner: $owner, attempt: $attempt, sequence: $sequence,
    type: $type, token: $token, frame: $frame
  ) { sessionId owner attempt sequence type token isComplete frame timestamp }
}
"""


def publish(api: EmulatedApi, sealed: Sealed) -> dict[str, Any]:
    frame = json.loads(sealed.json)
    variables = {name: frame.get(name) for name in ("sessionId", "attempt", "sequence", "type", "token")}
    answer = api.ask(
        PUBLISH, {**variables, "owner": USER, "frame": sealed.json.decode()}, authorization=signed(api.region)
    )
    assert "errors" not in answer, answer
    event: dict[str, Any] = answer["data"]["publishToken"]
    return event


@pytest.mark.parametrize(
    "text",
    [
        AWKWARD_TEXT,
        "",
        " ",
        '"',
        "\\",
        "\n",
        "\r\n",
        "\x00",
        "\u2028\u2029\x85",
        "\\u2028",
        "\ud7ff\ue000",
        "👩\u200d🚀",
        "\u202e\u05e9\u05dc\u05d5\u05dd",
        "$ctx.args ${x} {{a}} %s",
        '"}}',
        "null",
        "<&>",
    ],
)
def test_a_token_comes_back_to_the_character(api: EmulatedApi, text: str) -> None:
    sealed = Attempt().token(text)
    event = publish(api, sealed)
    assert event["token"] == text
    assert json.loads(event["frame"]) == json.loads(sealed.json)


def test_every_field_of_a_frame_is_there(api: EmulatedApi) -> None:
    frames = Attempt(attempt=2)
    frames.start()
    event = publish(api, frames.token("Hello"))
    frame = json.loads(event.pop("frame"))
    assert datetime.fromisoformat(event.pop("timestamp")).tzinfo
    assert event == {
        "sessionId": SESSION,
        "owner": USER,
        "attempt": 2,
        "sequence": 2,
        "type": "token",
        "token": "Hello",
        "isComplete": False,
    }
    assert frame == {"type": "token", "sessionId": SESSION, "attempt": 2, "sequence": 2, "token": "Hello"}


def test_simple_clients_are_told_of_the_end_and_of_nothing_else(api: EmulatedApi) -> None:
    frames = Attempt()
    events = [
        publish(api, sealed)
        for sealed in (
            frames.start(),
            frames.token("a"),
            frames.reasoning("b"),
            frames.complete(),
            frames.error(ModelError("The model failed.")),
        )
    ]
    assert [(event["type"], event["token"], event["isComplete"]) for event in events] == [
        ("start", None, False),
        ("token", "a", False),
        ("reasoning", "b", False),
        ("complete", None, True),
        ("error", None, True),
    ]
    assert json.loads(events[3]["frame"])["timings"] == {"timeToFirstTokenMs": 20, "durationMs": 100}
    assert json.loads(events[4]["frame"])["error"]["code"] == "model_error"


def test_what_is_no_json_is_not_published(api: EmulatedApi) -> None:
    variables = {"sessionId": SESSION, "owner": USER, "attempt": 1, "sequence": 1, "type": "token", "frame": "{"}
    assert api.ask(PUBLISH, variables, authorization=signed(api.region))["errors"]
