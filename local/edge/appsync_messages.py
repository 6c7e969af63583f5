"""The messages of AppSync's real-time protocol.

Sources: AppSync developer guide, "Building a real-time WebSocket client"; amplify-js `AWSWebSocketProvider`; of the
errors, aws-appsync-realtime-client-ios #67, amplify-js #12679, amplify-flutter #2763.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from local.edge.appsync_errors import BAD_REQUEST

CONNECTION_TIMEOUT_SECONDS = 300
"""After so long without `ka` a client takes its connection for broken."""

_Headers: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ConnectionInit:
    """The client asks whether it is let in. It may leave that out."""


@dataclass(frozen=True, slots=True)
class Start:
    """The client subscribes. `data` is the GraphQL request as it was written, `headers` authorize it."""

    id: str
    data: str
    headers: _Headers


@dataclass(frozen=True, slots=True)
class Stop:
    """The client wants no more of a subscription."""

    id: str


ClientMessage: TypeAlias = ConnectionInit | Start | Stop


class UnreadableMessageError(Exception):
    """The client's message isn't one; `reply` is what it is told."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


def parse_message(text: str) -> ClientMessage:
    """Read a client's message; raises `UnreadableMessageError`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    match document:
        case {"type": "connection_init"}:
            return ConnectionInit()
        case {"type": "start", "id": str(id_), "payload": {"data": str(data), "extensions": {"authorization": given}}}:
            if id_ and (headers := parse_headers(given)) is not None:
                return Start(id_, data, headers)
        case {"type": "stop", "id": str(id_)}:
            return Stop(id_)
        case {"type": str(type_)} if type_ not in {"start", "stop"}:
            raise UnreadableMessageError(
                error(None, "UnsupportedOperation", "Operation not supported through the realtime channel")
            )
    of = document.get("id") if isinstance(document, dict) else None
    message = "Expected start (id, payload.data, payload.extensions.authorization), stop (id) or connection_init."
    raise UnreadableMessageError(error(of if isinstance(of, str) else None, BAD_REQUEST, message))


def parse_headers(document: Any) -> _Headers | None:
    """Read headers that come as an object; None for what is none, or has a name twice."""
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        return None
    headers = tuple((name.lower(), value) for name, value in document.items())
    return headers if len(dict(headers)) == len(headers) else None


def connection_ack() -> str:
    """Let the client in."""
    return _message("connection_ack", payload={"connectionTimeoutMs": CONNECTION_TIMEOUT_SECONDS * 1000})


def connection_error(code: int, type_: str | None, message: str) -> str:
    """Don't let it in."""
    reason = {"errorType": type_, "message": message} if type_ else {"message": message}
    return _message("connection_error", payload={"errors": [{**reason, "errorCode": code}]})


def keep_alive() -> str:
    """Say that the connection is alive."""
    return _message("ka")


def start_ack(id_: str) -> str:
    """Confirm a subscription."""
    return _message("start_ack", id=id_)


def data(id_: str, payload: Mapping[str, Any]) -> str:
    """Deliver an event."""
    return _message("data", id=id_, payload=payload)


def complete(id_: str) -> str:
    """Confirm the end of a subscription."""
    return _message("complete", id=id_)


def error(id_: str | None, type_: str, message: str) -> str:
    """Tell what is wrong, with the message of this id or with none in particular."""
    return errors(id_, [{"errorType": type_, "message": message}])


def errors(id_: str | None, reasons: Sequence[Mapping[str, Any]]) -> str:
    """Tell the reasons why there is no such subscription."""
    return _message("error", **({} if id_ is None else {"id": id_}), payload={"errors": reasons})


def _message(type_: str, **members: Any) -> str:
    document = {**members, "type": type_}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair can be sent as an escape alone.
        return json.dumps(document, separators=(",", ":"))
    return text
