"""The template as CloudFormation gets it: transformed by SAM, with parameters, conditions and functions resolved."""

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from samtranslator.translator.transform import transform  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from local.invoke.intrinsics import Scope

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"


@cache
def _source() -> dict[str, Any]:
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return template


def source() -> dict[str, Any]:
    """The template as written."""
    return deepcopy(_source())


@cache
def _transformed(parameters: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    template = source()
    for logical_id, resource in template["Resources"].items():
        # As `sam package` does: SAM's transform takes nothing from a disk.
        for uri in {"CodeUri", "ContentUri", "DefinitionUri"} & resource["Properties"].keys():
            resource["Properties"][uri] = f"s3://artifacts/{logical_id}"
    no_managed_policies = SimpleNamespace(load=dict)
    # SAM sees the parameters as well: some properties it resolves itself.
    with patch.dict(os.environ, AWS_DEFAULT_REGION=REGION):
        transformed: dict[str, Any] = transform(template, dict(parameters), no_managed_policies)
    return transformed


def transformed() -> dict[str, Any]:
    """The template after SAM's transform, with its functions: what CloudFormation gets."""
    return deepcopy(_transformed(()))


@dataclass(frozen=True, slots=True)
class Stack:
    """What would be deployed: resources whose condition holds, with every function resolved."""

    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Any]

    def properties(self, logical_id: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.resources[logical_id]["Properties"]
        return properties

    def of_type(self, type_: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for logical_id, resource in self.resources.items():
            if resource["Type"] == type_:
                yield logical_id, resource["Properties"]

    def environment(self, function: str) -> dict[str, str]:
        variables: dict[str, str] = self.properties(function)["Environment"]["Variables"]
        return variables

    def methods(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The REST API's paths, methods and definitions."""
        for path, methods in self.properties("RestApi")["Body"]["paths"].items():
            for method, definition in methods.items():
                yield path, method.upper(), definition

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What a role is allowed by its own policies, and by the managed ones of the template."""
        properties = self.properties(role)
        managed = [arn for arn in properties.get("ManagedPolicyArns", []) if arn in self.resources]
        policies = [*properties.get("Policies", []), *map(self.properties, managed)]
        return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def stack(**parameters: str) -> Stack:
    """Deploy, on paper, with these parameters."""
    template = deepcopy(_transformed(tuple(sorted(parameters.items()))))
    scope = Scope.of(template, parameters)
    resources = {
        logical_id: scope.resolve({key: value for key, value in resource.items() if key != "Condition"})
        for logical_id, resource in template["Resources"].items()
        if "Condition" not in resource or scope.holds(resource["Condition"])
    }
    return Stack(resources, scope.resolve(template["Outputs"]))
