"""The messages of AppSync's real-time protocol and the GraphQL that this client asks for, as JSON: pure.

Sources: AppSync developer guide, "Building a real-time WebSocket client"; graphql/schema.graphql.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenstream_client.errors import ProtocolError
from tokenstream_client.frames import Message

# Text travels in variables, never in the documents.
START_STREAM = """\
mutation StartStream(
  $prompt: String, $messages: [MessageInput!], $system: String, $model: String, $options: StreamOptions,
  $sessionId: ID, $delivery: String
) {
  startStream(
    prompt: $prompt, messages: $messages, system: $system, model: $model, options: $options,
    sessionId: $sessionId, delivery: $delivery
  ) { sessionId status }
}
"""
CANCEL_STREAM = "mutation CancelStream($sessionId: ID!) { cancelStream(sessionId: $sessionId) { sessionId status } }"
GET_STREAM = """\
query GetStream($sessionId: ID!, $afterAttempt: Int, $afterSequence: Int) {
  getStream(sessionId: $sessionId, afterAttempt: $afterAttempt, afterSequence: $afterSequence) { frames more }
}
"""
_SUBSCRIBE = """\
subscription OnTokenReceived($sessionId: ID!) { onTokenReceived(sessionId: $sessionId) { frame } }
"""

CONNECTION_INIT = json.dumps({"type": "connection_init"})

_KEEP_ALIVE = 300.0
"""Seconds; what AppSync says unless it says something else."""


@dataclass(frozen=True, slots=True)
class Page:
    """Frames that are stored, in order; `more` says that there are more behind them."""

    frames: tuple[Message, ...] = ()
    more: bool = False

    @classmethod
    def of(cls, state: object) -> "Page":
        """Read a `StreamState`; raises `ProtocolError`."""
        match state:
            case {"frames": list(frames), "more": bool(more)}:
                return cls(tuple(map(_frame, frames)), more)
        raise ProtocolError("The server answered with something other than a stream's state.")


def authorization(host: str, token: str) -> dict[str, str]:
    """Return the headers that authorize; `host` is the one of the API's address for queries and mutations."""
    return {"host": host, "Authorization": token}


def credential(headers: Mapping[str, str]) -> str:
    """Return the subprotocol that carries the headers."""
    return "header-" + base64.urlsafe_b64encode(json.dumps(headers).encode()).decode().rstrip("=")


def start(subscription_id: str, session_id: str, headers: Mapping[str, str]) -> str:
    """Subscribe to a session's frames."""
    request = {"query": _SUBSCRIBE, "variables": {"sessionId": session_id}}
    payload = {"data": json.dumps(request), "extensions": {"authorization": headers}}
    return json.dumps({"id": subscription_id, "type": "start", "payload": payload})


def stop(subscription_id: str) -> str:
    """End a subscription."""
    return json.dumps({"id": subscription_id, "type": "stop"})


def keep_alive_of(acknowledgement: Message) -> float:
    """Return the seconds without a message after which the connection is dead, from a `connection_ack`."""
    match acknowledgement:
        case {"payload": {"connectionTimeoutMs": int(milliseconds)}} if milliseconds > 0:
            return milliseconds / 1000
    return _KEEP_ALIVE


def frame_of(payload: object) -> Message | None:
    """Return the frame of an event; `None` for an event without one, which counts as lost. Raises `ProtocolError`."""
    match payload:
        case {"data": {"onTokenReceived": {"frame": frame}}} if frame is not None:
            return _frame(frame)
    return None


def _frame(text: Any) -> Message:
    try:
        frame = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ProtocolError("The server sent a frame that isn't JSON.") from error
    if not isinstance(frame, dict):
        raise ProtocolError("The server sent a frame that isn't a JSON object.")
    return frame
