"""What a client may say on a WebSocket connection. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.json import encode

from tokenstream.errors import InvalidRequest
from tokenstream.frames import BEGINNING, Position
from tokenstream.request import Limits, StreamRequest, parse_session_id, read_request
from tokenstream.sessions import LAST_SEQUENCE

MAX_REQUEST_ID_CHARACTERS = 128
MAX_ATTEMPT = 999_999


@dataclass(frozen=True, slots=True)
class Stream:
    """A new answer is wanted; `fields` is the request as it came, with its session id."""

    request: StreamRequest
    fields: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The request as JSON, as on the other paths."""
        return encode(self.fields)


@dataclass(frozen=True, slots=True)
class Cancel:
    """An answer is to end."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Resume:
    """What comes after a position is wanted on this connection."""

    session_id: str
    after: Position


@dataclass(frozen=True, slots=True)
class Ping:
    """A sign of life is wanted."""


Message = Stream | Cancel | Resume | Ping


def request_id_of(document: object) -> str | None:
    """Return the id that the answer has to carry; None where there is none, or none that could be given back."""
    match document:
        case {"requestId": str(request_id)} if request_id and len(request_id) <= MAX_REQUEST_ID_CHARACTERS:
            return request_id
    return None


def session_id_of(document: object) -> str | None:
    """Return the session that a message speaks of, if it names one properly."""
    match document:
        case {"sessionId": str(session_id)}:
            try:
                return parse_session_id(session_id)
            except InvalidRequest:
                return None
    return None


def read_message(document: object, limits: Limits, new_session_id: str) -> Message:
    """Read a message from its JSON's value; raises `InvalidRequest` with the field at fault."""
    if not isinstance(document, Mapping):
        raise InvalidRequest("A message has to be a JSON object.")
    fields = {name: value for name, value in document.items() if value is not None}
    if "requestId" in fields and request_id_of(fields) is None:
        raise InvalidRequest(
            f"A request id is a text of 1 to {MAX_REQUEST_ID_CHARACTERS} characters.", field="requestId"
        )
    fields.pop("requestId", None)
    match fields.pop("action", None):
        case "stream":
            request = read_request(fields, limits, new_session_id)
            return Stream(request, fields | {"sessionId": request.session_id})
        case "cancel":
            return Cancel(_session_id(_only(fields, "sessionId")))
        case "resume":
            return Resume(_session_id(_only(fields, "sessionId", "after")), _position(fields.get("after")))
        case "ping":
            _only(fields)
            return Ping()
    raise InvalidRequest("This has to be one of: stream, cancel, resume, ping.", field="action")


def _only(fields: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in fields.keys() - set(names):
        raise InvalidRequest("There is no such field.", field=name[:64])
    return fields


def _session_id(fields: Mapping[str, Any]) -> str:
    value = fields.get("sessionId")
    if not isinstance(value, str):
        raise InvalidRequest("A session id is needed.", field="sessionId")
    return parse_session_id(value)


def _position(after: object) -> Position:
    match after:
        case None:
            return BEGINNING
        case {"attempt": attempt, "sequence": sequence, **rest} if not rest:
            return Position(_whole(attempt, "attempt", MAX_ATTEMPT), _whole(sequence, "sequence", LAST_SEQUENCE))
    raise InvalidRequest("A position has `attempt` and `sequence`, and nothing else.", field="after")


def _whole(value: object, name: Literal["attempt", "sequence"], highest: int) -> int:
    if type(value) is not int or not 0 <= value <= highest:
        raise InvalidRequest(f"This has to be a whole number from 0 to {highest}.", field=f"after.{name}")
    return value
