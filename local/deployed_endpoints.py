"""`python -m local.deployed_endpoints STACK FILE`: writes the endpoints of a stack on AWS, from its outputs.

The file has the keys of `.local/endpoints.json` without a user: `tokenstream --endpoints FILE` then talks to AWS.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from local.errors import StackError

_KEYS = {
    "FunctionUrl": "functionUrl",
    "RestUrl": "restUrl",
    "WebSocketUrl": "websocketUrl",
    "GraphQLUrl": "graphqlUrl",
    "GraphQLRealtimeUrl": "graphqlRealtimeUrl",
    "Region": "region",
    "UserPoolId": "userPoolId",
    "UserPoolClientId": "userPoolClientId",
}


def deployed_endpoints(cloudformation: Any, stack_name: str) -> dict[str, str]:
    """Read what a client needs of a stack with a CloudFormation client; raises `StackError`."""
    outputs = stack_outputs(cloudformation, stack_name)
    if missing := _KEYS.keys() - outputs.keys():
        raise StackError(f"The stack {stack_name} has no output {', '.join(sorted(missing))}: is it this project's?")
    return {"stackName": stack_name} | {key: outputs[name].rstrip("/") for name, key in _KEYS.items()}


def stack_outputs(cloudformation: Any, stack_name: str) -> dict[str, str]:
    """Read a stack's outputs; raises `StackError`."""
    try:
        [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    except NoCredentialsError as error:
        raise StackError("No AWS credentials were found: sign in, or set AWS_PROFILE.") from error
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"The stack {stack_name} can't be read: {error}") from error
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def main(arguments: Sequence[str]) -> int:
    """Write the file with the user's own credentials and region; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.deployed_endpoints")
    parser.add_argument("stack", help="the CloudFormation stack's name")
    parser.add_argument("file", type=Path, help="where to write its endpoints")
    # botocore doesn't read this variable, unlike AWS_DEFAULT_REGION.
    region = os.environ.get("AWS_REGION")
    parser.add_argument("--region", default=region, help="the stack's; default: AWS_REGION, else the profile's")
    options = parser.parse_args(arguments)
    file: Path = options.file
    try:
        endpoints = deployed_endpoints(_cloudformation(options.region), options.stack)
    except (StackError, BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(endpoints, indent=2) + "\n")
    print(f"wrote {file}; try:")
    print(f'.venv/bin/tokenstream --endpoints {shlex.quote(str(file))} chat --path url --username YOU "Hello"')
    return 0


def _cloudformation(region: str | None) -> Any:
    try:
        return botocore.session.get_session().create_client("cloudformation", region)
    except NoRegionError as error:
        raise StackError("In which region is the stack? Set AWS_REGION, or give --region.") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
