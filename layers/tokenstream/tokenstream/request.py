"""What a client may ask for: the request, its limits and its validation. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

from msgspec import DecodeError
from msgspec.json import decode

from tokenstream.errors import InvalidRequest, TooLarge
from tokenstream.frames import Delivery, Position

MAX_REQUEST_BYTES = 100_000
MAX_MESSAGES = 1000
MAX_STOP_SEQUENCES = 4
MAX_STOP_SEQUENCE_CHARACTERS = 256

Role = Literal["user", "assistant"]

_POSITION = re.compile(r"([0-9]{1,6})\.([0-9]{1,8})")


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of the conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Options:
    """How the model generates; what is None is left to the model."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A valid request for one answer: turns alternate, from the user's to the user's."""

    session_id: str
    messages: tuple[Message, ...]
    system: str | None
    model: str
    options: Options
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Limits:
    """What this stack allows: the first model is the default, a larger `maxTokens` than the cap is refused.

    A request may name one of `deliveries`; without `direct_send` every answer is queued, whatever it names.
    """

    models: tuple[str, ...]
    max_tokens: int
    deliveries: tuple[Delivery, ...] = ("direct",)
    direct_send: bool = True


def parse_request(body: bytes, limits: Limits, new_session_id: str) -> StreamRequest:
    """Read a request's JSON; `new_session_id` is taken when the client names none.

    Raises `TooLarge` and `InvalidRequest` with the field at fault.
    """
    require_size(body)
    return read_request(parse_json(body), limits, new_session_id)


def require_size(body: bytes) -> None:
    """Raise `TooLarge` for more bytes than a request may have."""
    if len(body) > MAX_REQUEST_BYTES:
        raise TooLarge(f"A request has at most {MAX_REQUEST_BYTES} bytes.")


def parse_json(body: bytes) -> object:
    """Read JSON; raises `InvalidRequest`."""
    try:
        return decode(body)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidRequest("The body is not valid JSON.") from None


def read_request(document: object, limits: Limits, new_session_id: str) -> StreamRequest:
    """Read a request from its JSON's value; raises `InvalidRequest` with the field at fault."""
    fields = _Fields(document)
    request = StreamRequest(
        session_id=_session_id(fields, new_session_id),
        messages=_messages(fields),
        system=fields.text("system"),
        model=fields.choice("model", limits.models) or limits.models[0],
        options=_options(fields.fields("options"), limits),
        delivery=_delivery(fields, limits),
    )
    fields.none_left()
    return request


def _session_id(fields: "_Fields", new_session_id: str) -> str:
    value = fields.text("sessionId")
    if value is None:
        return new_session_id
    return parse_session_id(value)


def parse_session_id(value: str) -> str:
    """Return a session id in its one spelling; raises `InvalidRequest` when it is no UUID."""
    try:
        identifier = UUID(value)
    except ValueError:
        raise InvalidRequest("A session id is a UUID.", field="sessionId") from None
    if str(identifier) != value.lower():
        raise InvalidRequest("A session id is a UUID, with its hyphens.", field="sessionId")
    return str(identifier)


def parse_position(value: str) -> Position:
    """Read where a client stands, `<attempt>.<sequence>`; raises `InvalidRequest`."""
    match = _POSITION.fullmatch(value)
    if match is None:
        raise InvalidRequest("A position is `<attempt>.<sequence>`.", field="after")
    return Position(int(match[1]), int(match[2]))


def _messages(fields: "_Fields") -> tuple[Message, ...]:
    prompt = fields.text("prompt")
    turns = fields.sequence("messages", MAX_MESSAGES)
    if (prompt is None) == (turns is None):
        raise InvalidRequest("Either `prompt` or `messages` is needed, not both.", field="prompt")
    if turns is None:
        return (Message("user", cast("str", prompt)),)
    messages = tuple(_message(_Fields(turn, f"messages[{index}]"), index) for index, turn in enumerate(turns))
    if len(messages) % 2 == 0:
        raise InvalidRequest("The last message has to be the user's.", field="messages")
    return messages


def _message(fields: "_Fields", index: int) -> Message:
    expected: Role = "assistant" if index % 2 else "user"
    if fields.choice("role", ("user", "assistant")) != expected:
        raise InvalidRequest(
            "Messages alternate between user and assistant, the user's first.", field=fields.path("role")
        )
    content = fields.text("content")
    if content is None:
        raise InvalidRequest("A message needs `content`.", field=fields.path("content"))
    fields.none_left()
    return Message(expected, content)


def _options(fields: "_Fields", limits: Limits) -> Options:
    sequences = fields.sequence("stopSequences", MAX_STOP_SEQUENCES) or []
    options = Options(
        max_tokens=fields.whole("maxTokens", 1, limits.max_tokens) or limits.max_tokens,
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("topP", 0, 1),
        stop_sequences=tuple(_stop_sequence(value, index) for index, value in enumerate(sequences)),
    )
    fields.none_left()
    return options


def _delivery(fields: "_Fields", limits: Limits) -> Delivery:
    wanted = cast("Delivery", fields.choice("delivery", limits.deliveries) or "direct")
    return wanted if limits.direct_send else "queued"


def _stop_sequence(value: object, index: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_STOP_SEQUENCE_CHARACTERS:
        raise InvalidRequest(
            f"A stop sequence is a text of 1 to {MAX_STOP_SEQUENCE_CHARACTERS} characters.",
            field=f"options.stopSequences[{index}]",
        )
    return value


class _Fields:
    """Takes the fields of a JSON object one by one; null counts as absent, what nobody took is unknown."""

    def __init__(self, document: object, name: str = "") -> None:
        if not isinstance(document, Mapping):
            raise InvalidRequest(f"{name or 'The body'} has to be a JSON object.", field=name or None)
        self._values: dict[str, Any] = {key: value for key, value in document.items() if value is not None}
        self._name = name

    def path(self, field: str) -> str:
        return f"{self._name}.{field}" if self._name else field

    def none_left(self) -> None:
        for field in self._values:
            raise InvalidRequest("There is no such field.", field=self.path(field[:64]))

    def text(self, field: str) -> str | None:
        value = self._values.pop(field, None)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise InvalidRequest("This has to be a text that is not empty.", field=self.path(field))
        return value

    def choice(self, field: str, choices: tuple[str, ...] | list[str]) -> str | None:
        value = self._values.pop(field, None)
        if value is not None and value not in choices:
            raise InvalidRequest(f"This has to be one of: {', '.join(choices)}.", field=self.path(field))
        return cast("str | None", value)

    def sequence(self, field: str, longest: int) -> list[object] | None:
        value = self._values.pop(field, None)
        if value is not None and (not isinstance(value, list) or not 1 <= len(value) <= longest):
            raise InvalidRequest(f"This has to be a list of 1 to {longest} items.", field=self.path(field))
        return value

    def fields(self, field: str) -> "_Fields":
        return _Fields(self._values.pop(field, {}), self.path(field))

    def whole(self, field: str, lowest: int, highest: int) -> int | None:
        value = self._values.pop(field, None)
        if value is not None and (type(value) is not int or not lowest <= value <= highest):
            raise InvalidRequest(f"This has to be a whole number from {lowest} to {highest}.", field=self.path(field))
        return value

    def number(self, field: str, lowest: float, highest: float) -> float | None:
        value = self._values.pop(field, None)
        if value is not None and (type(value) not in {int, float} or not lowest <= value <= highest):
            raise InvalidRequest(f"This has to be a number from {lowest} to {highest}.", field=self.path(field))
        return cast("float | None", value)
