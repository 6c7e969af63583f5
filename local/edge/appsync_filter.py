"""Subscription filters: whether an event is for a subscriber.

Source: AppSync developer guide, "Extensions", the argument of `setSubscriptionFilter`. A field that an event lacks is
null. Which of these null fulfils is not documented: none here but what is said in the negative.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class MalformedFilterError(Exception):
    """It isn't a filter."""


@dataclass(frozen=True, slots=True)
class _Rule:
    field: tuple[str, ...]
    holds: Callable[[Any, Any], bool]
    value: Any

    def admits(self, event: Mapping[str, Any]) -> bool:
        found: Any = event
        for name in self.field:
            found = found.get(name) if isinstance(found, Mapping) else None
        return self.holds(found, self.value)


class SubscriptionFilter:
    """Groups of rules: an event passes when it fulfils every rule of one of the groups."""

    def __init__(self, groups: tuple[tuple[_Rule, ...], ...]) -> None:
        self._groups = groups

    @classmethod
    def parse(cls, document: Any) -> "SubscriptionFilter":
        """Read what was given to `setSubscriptionFilter`; raises `MalformedFilterError`."""
        match document:
            case {"filterGroup": list(groups)}:
                return cls(tuple(_group(group) for group in groups))
        raise MalformedFilterError(f"a filter has a filterGroup: {document!r}")

    def admits(self, event: Mapping[str, Any]) -> bool:
        """Tell whether an event passes."""
        return any(all(rule.admits(event) for rule in group) for group in self._groups)


def same(found: Any, wanted: Any) -> bool:
    """Compare as JSON does: true isn't 1."""
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _group(document: Any) -> tuple[_Rule, ...]:
    match document:
        case {"filters": [_, *_] as rules}:
            return tuple(_rule(rule) for rule in rules)
    raise MalformedFilterError(f"a group has filters: {document!r}")


def _rule(document: Any) -> _Rule:
    match document:
        case {"fieldName": str(name), "operator": str(operator), "value": value} if operator in _OPERATORS:
            takes, holds = _OPERATORS[operator]
            if takes(value):
                return _Rule(tuple(name.split(".")), holds, value)
    raise MalformedFilterError(f"a filter has fieldName, operator and a value that fits it: {document!r}")


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _comparable(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_scalar, value))


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_comparable, value))  # noqa: PLR2004 from and to


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Compare numbers with numbers and strings with strings; anything else doesn't hold."""

    def compare(found: Any, wanted: Any) -> bool:
        return _comparable(found) and isinstance(found, str) == isinstance(wanted, str) and holds(found, wanted)

    return compare


def _contains(found: Any, wanted: Any) -> bool:
    match found:
        case str():
            return isinstance(wanted, str) and wanted in found
        case list():
            return any(same(item, wanted) for item in found)
    return False


def _in(found: Any, wanted: list[Any]) -> bool:
    return any(same(found, item) for item in wanted)


_LESS_EQUAL = (_comparable, _ordered(lambda found, wanted: found <= wanted))
_GREATER_EQUAL = (_comparable, _ordered(lambda found, wanted: found >= wanted))
_OPERATORS: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any, Any], bool]]] = {
    "eq": (_scalar, same),
    "ne": (_scalar, lambda found, wanted: not same(found, wanted)),
    "le": _LESS_EQUAL,
    "lte": _LESS_EQUAL,
    "lt": (_comparable, _ordered(lambda found, wanted: found < wanted)),
    "ge": _GREATER_EQUAL,
    "gte": _GREATER_EQUAL,
    "gt": (_comparable, _ordered(lambda found, wanted: found > wanted)),
    "between": (
        _pair,
        lambda found, wanted: (
            _ordered(lambda a, b: a >= b)(found, wanted[0]) and _ordered(lambda a, b: a <= b)(found, wanted[1])
        ),
    ),
    "contains": (_scalar, _contains),
    "notContains": (_scalar, lambda found, wanted: not _contains(found, wanted)),
    "beginsWith": (_scalar, lambda found, wanted: isinstance(found, str) and found.startswith(str(wanted))),
    "in": (_list, _in),
    "notIn": (_list, lambda found, wanted: not _in(found, wanted)),
    "containsAny": (_list, lambda found, wanted: any(_contains(found, item) for item in wanted)),
}
