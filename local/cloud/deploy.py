"""From the deployed stack to what runs it here: function configuration, routes, users' pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local.checkout import Checkout
from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack, Resource
from local.cloud.sam import ARTIFACTS_BUCKET
from local.errors import StackError
from local.functions.lambda_service import FunctionConfig

STREAMING_FUNCTION = "HttpStreamFunction"
_LAYER = "TokenstreamLayer"


@dataclass(frozen=True, slots=True)
class BuiltTemplate:
    """What `sam build` made, and where from."""

    path: Path
    resources: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "BuiltTemplate":
        """Blocks."""
        return cls(path, yaml.safe_load(path.read_text())["Resources"])

    def folder(self, logical_id: str, property_: str) -> Path:
        """Find the absolute folder that a resource's `CodeUri` or `ContentUri` names."""
        uri: str = self.resources[logical_id]["Properties"][property_]
        return (self.path.parent / uri).resolve()


def create_artifacts_bucket(aws: AwsClients) -> None:
    """Where `sam deploy` puts what it uploads. Blocks."""
    region = aws.region
    elsewhere = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    aws("s3").create_bucket(Bucket=ARTIFACTS_BUCKET, **elsewhere)


def read_functions(aws: AwsClients, stack: DeployedStack, checkout: Checkout) -> dict[str, FunctionConfig]:
    """Read each function as deployed, by logical id, on its sources. Blocks."""
    built = BuiltTemplate.read(checkout.built_template)
    return {
        function.logical_id: _function(aws, function, built, checkout)
        for function in stack.resources("AWS::Lambda::Function")
    }


def _function(aws: AwsClients, function: Resource, built: BuiltTemplate, checkout: Checkout) -> FunctionConfig:
    deployed = aws("lambda").get_function_configuration(FunctionName=function.physical_id)
    environment = deployed.get("Environment", {}).get("Variables", {})
    for variable, value in environment.items():
        if not isinstance(value, str) or "${" in value or '{"' in value:
            raise StackError(
                f"The emulator did not resolve the variable {variable} of {function.logical_id}: {value!r}."
            )
    return FunctionConfig(
        name=function.physical_id,
        handler=deployed["Handler"],
        code=built.folder(function.logical_id, "CodeUri"),
        layer=built.folder(_LAYER, "ContentUri"),
        environment={
            **environment,
            # Neither the sources nor the built layer change when they are run.
            "PYTHONPYCACHEPREFIX": str(checkout.local / "pycache"),
        },
        timeout=float(deployed["Timeout"]),
        memory=int(deployed["MemorySize"]),
        layer_sources=checkout.layer,
    )
