"""Which function is meant, and how it is configured: by the running local stack, else by the template's defaults."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import BotoCoreError, ClientError

from local.checkout import Checkout
from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack
from local.cloud.environment import DEFAULT_REGION, DUMMY_CREDENTIALS, connections_endpoint, emulated_services
from local.errors import StackError
from local.functions.config import FunctionConfig
from local.invoke.intrinsics import Scope

_FUNCTION = "AWS::Serverless::Function"
_LAYER = "TokenstreamLayer"
_DEFAULT_TIMEOUT = 3
_DEFAULT_MEMORY = 128
"""Seconds and MB where a function names none. Source: AWS SAM developer guide, `AWS::Serverless::Function`."""

_NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nothing listens: without a stack a call to AWS fails at once, here."""


@dataclass(frozen=True, slots=True)
class BuiltFunction:
    """A function of a template that `sam build` has written."""

    template: Path
    logical_id: str

    @classmethod
    def named(cls, folder: str, checkout: Checkout, built: Path) -> "BuiltFunction":
        """Find the function whose code is in `functions/<folder>`; raises `StackError`."""
        functions = functions_by_folder(built, checkout)
        if folder not in functions:
            raise StackError(f"There is no function {folder!r}. There is: {', '.join(sorted(functions))}.")
        return cls(built, functions[folder])

    def configuration(self, checkout: Checkout, environment: Mapping[str, str]) -> FunctionConfig:
        """Everything that a worker needs; relative paths are the template's."""
        template = _load(self.template)
        scope = Scope.of(template, {})
        resources = template["Resources"]
        properties = scope.resolve({**template["Globals"]["Function"], **resources[self.logical_id]["Properties"]})
        folder = self.template.parent
        return FunctionConfig(
            name=self.logical_id,
            handler=properties["Handler"],
            code=(folder / properties["CodeUri"]).resolve(),
            layer=(folder / resources[_LAYER]["Properties"]["ContentUri"]).resolve(),
            environment=environment,
            timeout=float(properties.get("Timeout", _DEFAULT_TIMEOUT)),
            memory=int(properties.get("MemorySize", _DEFAULT_MEMORY)),
            layer_sources=checkout.layer,
        )

    def default_environment(self) -> dict[str, str]:
        """Give what the template sets with its defaults; a resource is called by its logical id."""
        template = _load(self.template)
        shared = template["Globals"]["Function"]["Environment"]["Variables"]
        own = template["Resources"][self.logical_id]["Properties"].get("Environment", {}).get("Variables", {})
        variables: dict[str, str] = Scope.of(template, {}).resolve({**shared, **own})
        region = {"AWS_REGION": DEFAULT_REGION, "AWS_DEFAULT_REGION": DEFAULT_REGION}
        return {
            **variables,
            **DUMMY_CREDENTIALS,
            **region,
            "AWS_ENDPOINT_URL": _NOWHERE,
            "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": _NOWHERE,
            **({"GRAPHQL_ENDPOINT": f"{_NOWHERE}/graphql"} if "GRAPHQL_ENDPOINT" in variables else {}),
        }

    def deployed_environment(self, endpoints: Mapping[str, str]) -> dict[str, str]:
        """Give what the running stack set; raises `StackError` when the stack doesn't answer."""
        endpoint, region = endpoints["awsEndpointUrl"], endpoints["region"]
        aws = AwsClients(endpoint, region)
        try:
            stack = DeployedStack.read(aws, endpoints["stackName"])
            name = stack.physical_ids[self.logical_id]
            deployed = aws("lambda").get_function_configuration(FunctionName=name)
        except (BotoCoreError, ClientError, KeyError) as error:
            raise StackError(f"The local stack at {endpoint} does not answer for {self.logical_id}.") from error
        bedrock = endpoints.get("bedrockUrl", _NOWHERE)
        variables: dict[str, str] = deployed["Environment"]["Variables"]
        direct = {
            **connections_endpoint(endpoint, stack.output("WebSocketUrl")),
            **({"GRAPHQL_ENDPOINT": endpoints["graphqlUrl"]} if "GRAPHQL_ENDPOINT" in variables else {}),
        }
        return {**variables, **emulated_services(endpoint, bedrock, region), **direct}

    def with_environment(self, environment: Mapping[str, str], architecture: str) -> "BuiltFunction":
        """Write a template beside this one in which the function has exactly this environment.

        `sam local invoke --env-vars` would drop the variables that the template doesn't name (AWS_ENDPOINT_URL).
        """
        template = _load(self.template)
        template["Resources"][self.logical_id]["Properties"]["Environment"] = {"Variables": dict(environment)}
        template["Parameters"]["Architecture"]["Default"] = architecture
        resolved = self.template.with_name("invoke.yaml")
        resolved.write_text(yaml.safe_dump(template, sort_keys=False))
        return replace(self, template=resolved)


def functions_by_folder(template: Path, checkout: Checkout) -> dict[str, str]:
    """Map each function's folder in `functions` to its logical id."""
    return {
        folder.name: logical_id
        for logical_id, resource in _load(template)["Resources"].items()
        if resource["Type"] == _FUNCTION
        and (folder := (template.parent / resource["Properties"]["CodeUri"]).resolve()).parent == checkout.functions
    }


def running_stack(checkout: Checkout) -> dict[str, str] | None:
    """Read what the running local stack says of itself; None when none runs."""
    try:
        endpoints: dict[str, str] = json.loads(checkout.endpoints.read_text())
    except FileNotFoundError:
        return None
    return endpoints


def _load(path: Path) -> dict[str, Any]:
    template: dict[str, Any] = yaml.safe_load(path.read_text())
    return template
