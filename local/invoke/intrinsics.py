"""CloudFormation's intrinsic functions, as far as the template uses them, resolved without CloudFormation.

A template comes in the long form (`{"Fn::Sub": …}`), which `sam build` writes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NO_VALUE = object()
"""What `!Ref AWS::NoValue` becomes: the property or item that holds it is left out."""

_PLACEHOLDER = re.compile(r"\$\{(!?)([^}]+)\}")


class UnresolvableError(ValueError):
    """A function or a name that is not known here."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What names stand for: parameters (a list for each list type), pseudo parameters, and resources.

    A resource is known by its logical id (`Ref`) or by `LogicalId.Attribute` (`Fn::GetAtt`); one that isn't stands for
    that very name.
    """

    values: Mapping[str, Any]
    resources: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, template: Mapping[str, Any], parameters: Mapping[str, str], resources: Mapping[str, str] | None = None
    ) -> "Scope":
        """Take the template's defaults where no parameter is given. Raises `UnresolvableError` for an unknown one."""
        declared = template.get("Parameters", {})
        if unknown := parameters.keys() - declared.keys():
            raise UnresolvableError(f"the template has no parameter {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {
            "AWS::AccountId": "000000000000",
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": "us-east-1",
            "AWS::StackName": "tokenstream",
            "AWS::URLSuffix": "amazonaws.com",
        }
        for name, definition in declared.items():
            value = str(parameters.get(name, definition.get("Default", "")))
            is_list = definition["Type"] in {"CommaDelimitedList", "List<String>"}
            values[name] = [item.strip() for item in value.split(",")] if is_list else value
        logical_ids = {name: name for name in template.get("Resources", {})}
        return cls(values, {**logical_ids, **(resources or {})}, template.get("Conditions", {}))

    def holds(self, condition: str) -> bool:
        """Whether a condition of the template is true."""
        if condition not in self.conditions:
            raise UnresolvableError(f"the template has no condition {condition}")
        return bool(self.resolve(self.conditions[condition]))

    def resolve(self, value: Any) -> Any:
        """Replace each function in a value by its result."""
        match value:
            case {"Condition": str(name)} if len(value) == 1:
                return self.holds(name)
            case Mapping() if len(value) == 1 and (name := next(iter(value))) and (name == "Ref" or "Fn::" in name):
                return self._call(name, value[name])
            case Mapping():
                resolved = {key: self.resolve(item) for key, item in value.items()}
                return {key: item for key, item in resolved.items() if item is not NO_VALUE}
            case list():
                items = [self.resolve(item) for item in value]
                return [item for item in items if item is not NO_VALUE]
            case _:
                return value

    def _call(self, function: str, argument: Any) -> Any:
        functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._reference,
            "Fn::GetAtt": self._attribute,
            "Fn::Sub": self._substitute,
            "Fn::Join": self._join,
            "Fn::Split": self._split,
            "Fn::If": self._if,
            "Fn::Equals": lambda sides: self.resolve(sides[0]) == self.resolve(sides[1]),
            "Fn::Not": lambda condition: not self.resolve(condition[0]),
        }
        if function not in functions:
            raise UnresolvableError(f"{function} of {argument!r} can't be resolved")
        return functions[function](argument)

    def _reference(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        if name in self.resources:
            return self.resources[name]
        raise UnresolvableError(f"there is no parameter or resource {name}")

    def _attribute(self, path: str | list[str]) -> str:
        name = path if isinstance(path, str) else ".".join(path)
        return self.resources.get(name, name)

    def _join(self, argument: Any) -> str:
        delimiter, items = argument
        # As CloudFormation: a function in place of the delimiter is refused.
        if not isinstance(delimiter, str):
            raise UnresolvableError(f"the delimiter of Fn::Join has to be a string, not {delimiter!r}")
        return delimiter.join(str(item) for item in self.resolve(items))

    def _split(self, argument: Any) -> list[str]:
        delimiter, text = argument
        items: list[str] = self.resolve(text).split(delimiter)
        return items

    def _if(self, argument: Any) -> Any:
        condition, then, otherwise = argument
        return self.resolve(then if self.holds(condition) else otherwise)

    def _substitute(self, argument: Any) -> str:
        text, names = (argument, {}) if isinstance(argument, str) else argument
        names = self.resolve(names)

        def replace(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in names:
                return str(names[name])
            return self._attribute(name) if "." in name else str(self._reference(name))

        return _PLACEHOLDER.sub(replace, text)
