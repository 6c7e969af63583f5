"""What the emulator's CloudFormation knows of the deployed stack."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.cloud.clients import AwsClients
from local.errors import StackError


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the template after SAM's transformation."""

    logical_id: str
    physical_id: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeployedStack:
    """The stack's outputs, its transformed template, and what its resources are called."""

    name: str
    outputs: Mapping[str, str]
    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    physical_ids: Mapping[str, str]

    @classmethod
    def read(cls, aws: AwsClients, name: str) -> "DeployedStack":
        """Blocks."""
        cloudformation = aws("cloudformation")
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        return cls(
            name=name,
            outputs={output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]},
            template=cloudformation.get_template(StackName=name, TemplateStage="Processed")["TemplateBody"],
            parameters={
                parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])
            },
            physical_ids={resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources},
        )

    def output(self, key: str) -> str:
        """Get an output's value; raises `StackError` when the template doesn't give it."""
        if key not in self.outputs:
            raise StackError(f"The template has no output {key}.")
        return self.outputs[key]

    def resources(self, type_: str) -> Iterator[Resource]:
        """Go through the deployed resources of this type."""
        for logical_id, resource in self.template["Resources"].items():
            if resource["Type"] == type_ and logical_id in self.physical_ids:
                yield Resource(logical_id, self.physical_ids[logical_id], resource.get("Properties", {}))

    def resolve(self, value: Any) -> Any:
        """Replace `Ref` and `Fn::Join` in a property's value; raises `StackError` for any other intrinsic function."""
        match value:
            case {"Ref": str(name)} if len(value) == 1:
                if name in self.parameters:
                    return self.parameters[name]
                if name in self.physical_ids:
                    return self.physical_ids[name]
                raise StackError(f"The local stack can't resolve the reference to {name}.")
            case {"Fn::Join": [str(delimiter), list(items)]} if len(value) == 1:
                return delimiter.join(self.resolve(items))
            case Mapping():
                if len(value) == 1 and (function := next(iter(value))).startswith("Fn::"):
                    raise StackError(f"The local stack can't resolve {function} in {value!r}.")
                return {key: self.resolve(item) for key, item in value.items()}
            case list():
                return [self.resolve(item) for item in value]
            case _:
                return value


def require_kept(what: str, wanted: Any, found: Any) -> None:
    """Raise `StackError` where the emulator has made something else of what the template says."""
    if wanted != found:
        raise StackError(f"The emulator did not keep {what}: the template says {wanted!r}, deployed is {found!r}.")
