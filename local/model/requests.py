"""Requests as Bedrock Runtime takes them, checked as it checks them, as `ModelRequest`.

`InvokeModelWithResponseStream` carries the Anthropic Messages body, `ConverseStream` Bedrock's own. What is wrong is a
ValidationException that names the member. Only text is understood: the other blocks have no meaning here.
"""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeVar

from local.model.interface import ErrorType, ModelError, ModelRequest, Turn

ANTHROPIC_VERSION = "bedrock-2023-05-31"

# `provider.model`, with a region's prefix for an inference profile. An ARN or another name doesn't show the provider.
_PROVIDER = re.compile(r"(?:(?:us|us-gov|eu|apac|jp|au|ca|global)\.)?([a-z0-9]+)\.[a-z0-9]")
_GUARDRAIL_VERSION = re.compile(r"[1-9]\d{0,7}|DRAFT", re.ASCII)
_MODEL_ID = re.compile(r"[A-Za-z0-9:./_-]{1,2048}")
_Json = TypeVar("_Json", dict[str, Any], list[Any], str)


def parse_invoke(model: str, headers: Mapping[str, str], body: bytes) -> ModelRequest:
    """Read a request to an Anthropic model in its own format."""
    _check_model(model)
    provider = _PROVIDER.match(model)
    if provider and provider[1] != "anthropic":
        raise _invalid(f"Malformed input request: {model} does not take the Anthropic Messages body.")
    members = _json_object(body)
    if members.get("anthropic_version") != ANTHROPIC_VERSION:
        raise _invalid(f'anthropic_version: Input should be "{ANTHROPIC_VERSION}"')
    if "max_tokens" not in members:
        raise _invalid("max_tokens: Field required")
    turns = tuple(_anthropic_turn(index, message) for index, message in enumerate(_messages(members)))
    if turns[0].role != "user":
        raise _invalid('messages: first message must use the "user" role')
    system = members.get("system")
    return ModelRequest(
        turns=turns,
        model=model,
        system=None if system is None else _anthropic_text("system", system),
        max_tokens=_limit("max_tokens", members["max_tokens"]),
        temperature=_fraction("temperature", members.get("temperature")),
        top_p=_fraction("top_p", members.get("top_p")),
        stop_sequences=_strings("stop_sequences", members.get("stop_sequences")),
        guardrail=_guardrail(
            headers.get("X-Amzn-Bedrock-GuardrailIdentifier"), headers.get("X-Amzn-Bedrock-GuardrailVersion")
        ),
    )


def parse_converse(model: str, _headers: Mapping[str, str], body: bytes) -> ModelRequest:
    """Read a request to any model in Converse's format."""
    _check_model(model)
    members = _json_object(body)
    turns = tuple(_converse_turn(index, message) for index, message in enumerate(_messages(members)))
    if turns[0].role != "user":
        raise _invalid(
            "A conversation must start with a user message. "
            "Try again with a conversation that starts with a user message."
        )
    if any(one.role == next_.role for one, next_ in pairwise(turns)):
        raise _invalid(
            "A conversation must alternate between user and assistant roles. "
            "Make sure the conversation alternates between user and assistant roles and try again."
        )
    inference = _member("inferenceConfig", members.get("inferenceConfig") or {}, dict)
    guardrail = _member("guardrailConfig", members.get("guardrailConfig") or {}, dict)
    system = members.get("system")
    max_tokens = inference.get("maxTokens")
    return ModelRequest(
        turns=turns,
        model=model,
        system=_converse_text("system", system) if system else None,
        max_tokens=None if max_tokens is None else _limit("inferenceConfig.maxTokens", max_tokens),
        temperature=_fraction("inferenceConfig.temperature", inference.get("temperature")),
        top_p=_fraction("inferenceConfig.topP", inference.get("topP")),
        stop_sequences=_strings("inferenceConfig.stopSequences", inference.get("stopSequences")),
        guardrail=_guardrail(guardrail.get("guardrailIdentifier"), guardrail.get("guardrailVersion")),
    )


def _check_model(model: str) -> None:
    if not _MODEL_ID.fullmatch(model):
        raise _invalid("The provided model identifier is invalid.")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        members = json.loads(body)
    except ValueError as error:
        raise _invalid("Malformed input request, please reformat your input and try again.") from error
    return _member("the request", members, dict)


def _messages(members: Mapping[str, Any]) -> list[Any]:
    messages = _member("messages", members.get("messages"), list)
    if not messages:
        raise _invalid("messages: at least one message is required")
    return messages


def _anthropic_turn(index: int, message: object) -> Turn:
    where = f"messages.{index}"
    members = _member(where, message, dict)
    return _turn(where, members.get("role"), _anthropic_text(f"{where}.content", members.get("content")))


def _anthropic_text(where: str, content: object) -> str:
    if isinstance(content, str):
        return _text(where, content)
    texts = []
    for index, block in enumerate(_member(where, content, list)):
        match block:
            case {"type": "text", "text": text}:
                texts.append(_text(f"{where}.{index}.text", text))
            case _:
                raise _invalid(f"{where}.{index}: only text is understood here")
    return "".join(texts)


def _converse_turn(index: int, message: object) -> Turn:
    where = f"messages.{index}"
    members = _member(where, message, dict)
    return _turn(where, members.get("role"), _converse_text(f"{where}.content", members.get("content")))


def _converse_text(where: str, content: object) -> str:
    texts = []
    for index, block in enumerate(_member(where, content, list)):
        match block:
            case {"text": text} | {"guardContent": {"text": {"text": text}}}:
                texts.append(_text(f"{where}.{index}.text", text))
            case {"cachePoint": _}:
                pass
            case _:
                raise _invalid(f"{where}.{index}: only text is understood here")
    return "".join(texts)


def _turn(where: str, role: object, text: str) -> Turn:
    match role:
        case "user" | "assistant":
            if not text.strip():
                raise _invalid(f"{where}.content: text content blocks must be non-empty")
            return Turn(role, text)
        case _:
            raise _invalid(f"{where}.role: must be user or assistant")


def _text(where: str, value: object) -> str:
    text = _member(where, value, str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(f"{where}: not valid Unicode") from error
    return text


def _limit(where: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise _invalid(f"{where}: must be a whole number of at least 1")
    return value


def _fraction(where: str, value: object) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]  # narrowed by type()
        raise _invalid(f"{where}: must be between 0 and 1")
    return float(value)  # type: ignore[arg-type]


def _strings(where: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    strings = _member(where, value, list)
    if not all(isinstance(string, str) and string.strip() for string in strings):
        raise _invalid(f"{where}: each stop sequence must contain non-whitespace")
    return tuple(_text(where, string) for string in strings)


def _guardrail(identifier: object, version: object) -> str | None:
    if not identifier and not version:
        return None
    if not (isinstance(identifier, str) and isinstance(version, str) and _GUARDRAIL_VERSION.fullmatch(version)):
        raise _invalid("A guardrail needs both its identifier and its version, a number or DRAFT.")
    return f"{identifier}:{version}"


def _member(where: str, value: object, type_: type[_Json]) -> _Json:
    if not isinstance(value, type_):
        raise _invalid(f"{where}: must be {_NAMES[type_]}")
    return value


_NAMES: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}


def _invalid(message: str) -> ModelError:
    return ModelError(ErrorType.VALIDATION, message)
