"""Marks in a prompt that tell the paced model how to answer it.

A mark is `[[name=value …]]`, anywhere in the last message; several marks add up. A value is a word without spaces and
`]`, or a JSON string. `[[` with anything else behind it than `name=` is the prompt's own text.

| Name | Value |
|---|---|
| `ttft` | seconds until the first token |
| `head` | seconds until the response's head and the message's start; without it they come with the first token |
| `rate` | tokens per second; `inf` for all at once |
| `jitter` | 0 to 1: by what part of the interval a token may be late |
| `tokens` | the text's length in tokens |
| `reasoning` | how many tokens of reasoning come before the text |
| `say` | the exact text, as a JSON string; `tokens` means nothing then |
| `fault` | see `local.model.faults` |
| `model` | a part of a model's id: the fault is for such models alone |
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.model.faults import FaultSpec, FaultSyntaxError, parse_fault

MAX_TOKENS = 100_000
"""The longest answer that a mark may ask for."""

_OPENING = re.compile(r"\[\[(?=[a-z]+=)")
_NAME = re.compile(r"\s*([a-z]+)=")
_CLOSING = re.compile(r"\s*\]\]")
_WORD = re.compile(r"[^\s\]]+")
_JSON = json.JSONDecoder(strict=False)


class MarkError(ValueError):
    """A mark can't be read; the message names it. `reason` is the message without what the prompt says."""

    def __init__(self, reason: str, excerpt: str = "") -> None:
        super().__init__(f"{reason}: {excerpt}" if excerpt else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Marks:
    """What a prompt's marks ask for; None where they say nothing."""

    ttft: float | None = None
    head: float | None = None
    rate: float | None = None
    jitter: float | None = None
    tokens: int | None = None
    reasoning: int | None = None
    say: str | None = None
    fault: FaultSpec | None = None
    model: str | None = None

    def fault_of(self, model: str) -> FaultSpec | None:
        """Give the fault that the model with this id has."""
        return self.fault if self.model is None or self.model in model else None


def parse_marks(prompt: str) -> tuple[str, Marks]:
    """Return the prompt without its marks, and what these say."""
    values: dict[str, Any] = {}
    plain: list[str] = []
    position = 0
    while opening := _OPENING.search(prompt, position):
        plain.append(prompt[position : opening.start()])
        position = opening.end()
        while not (closing := _CLOSING.match(prompt, position)):
            name, value, position = _setting(prompt, position)
            if name in values:
                raise MarkError(f"mark {name!r} is set twice")
            values[name] = _read(name, value)
        position = closing.end()
    plain.append(prompt[position:])
    if "model" in values and "fault" not in values:
        raise MarkError("mark 'model' without a fault")
    return "".join(plain).strip(), Marks(**values)


def _setting(prompt: str, position: int) -> tuple[str, str, int]:
    """Read the next `name=value`: name, raw value, position behind it."""
    name = _NAME.match(prompt, position)
    if not name:
        raise MarkError("mark without an end or a name", repr(prompt[position : position + 40]))
    if prompt.startswith('"', name.end()):
        try:
            value, position = _JSON.raw_decode(prompt, name.end())
        except json.JSONDecodeError as error:
            raise MarkError(f"mark {name[1]!r} is no JSON string: {error.msg}") from error
        return name[1], value, position
    word = _WORD.match(prompt, name.end())
    if not word:
        raise MarkError(f"mark {name[1]!r} has no value")
    return name[1], word[0], word.end()


def _read(name: str, value: str) -> object:
    if name not in _READERS:
        raise MarkError(f"unknown mark {name!r}")
    try:
        return _READERS[name](value)
    except FaultSyntaxError as error:
        raise MarkError("mark 'fault' can't be read", str(error)) from error
    except ValueError as error:
        raise MarkError(f"mark {name!r} can't have this value", repr(value)) from error


def _seconds(value: str) -> float:
    return _number(value, 0, 86_400)


def _rate(value: str) -> float:
    return math.inf if value == "inf" else _number(value, 0.001, 1e6)


def _fraction(value: str) -> float:
    return _number(value, 0, 1)


def _length(value: str) -> int:
    length = int(value)
    if not 0 <= length <= MAX_TOKENS:
        raise ValueError(value)
    return length


def _text(value: str) -> str:
    value.encode()  # a lone surrogate has no bytes: UnicodeEncodeError is a ValueError
    return value


def _number(value: str, least: float, most: float) -> float:
    number = float(value)
    if not least <= number <= most:
        raise ValueError(value)
    return number


_READERS: dict[str, Callable[[str], object]] = {
    "ttft": _seconds,
    "head": _seconds,
    "rate": _rate,
    "jitter": _fraction,
    "tokens": _length,
    "reasoning": _length,
    "say": _text,
    "fault": parse_fault,
    "model": _text,
}
