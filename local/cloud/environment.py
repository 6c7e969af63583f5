"""Keeps the user's own AWS settings out of the stack, and the stack's out of AWS.

The emulator takes any credentials. With real ones in reach, a forgotten endpoint would be a call to the user's account.
"""

import os
from collections.abc import Mapping, MutableMapping

import botocore.session
from botocore.exceptions import BotoCoreError

from local.cloud.execute_api import emulated_address
from local.errors import StackError

DUMMY_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_LOOPBACK = "127.0.0.1,localhost"
_EMULATED = (
    "DYNAMODB",
    "COGNITO_IDENTITY_PROVIDER",
    "S3",
    "STS",
    "SQS",
    "SNS",
    "LAMBDA",
    "SFN",
    "XRAY",
    "LOGS",
    "APPSYNC",
)
DEFAULT_REGION = "us-east-1"


def require_credentials() -> str | None:
    """Check that the process environment, not isolated yet, leads to credentials; gives the region it leads to.

    Raises `StackError` when there are none.
    """
    try:
        session = botocore.session.Session()
        credentials = session.get_credentials()
        region: str | None = session.get_config_variable("region")
    except BotoCoreError as error:
        raise StackError(f"--model bedrock: {error}") from error
    if not credentials:
        raise StackError("--model bedrock: no AWS credentials were found; sign in, or set AWS_PROFILE.")
    return region


def isolate(environment: MutableMapping[str, str], region: str | None = None) -> dict[str, str]:
    """Replace every AWS setting in the environment by ones that reach no account; returns what the user had.

    Without a region it stays the environment's. A proxy, if the user has one, is not asked for loopback addresses.
    """
    users = {name: environment.pop(name) for name in list(environment) if name.startswith("AWS_")}
    region = region or users.get("AWS_REGION") or users.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
    environment.update(DUMMY_CREDENTIALS)
    environment.update(
        {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    )
    for name in ("no_proxy", "NO_PROXY"):
        environment[name] = ",".join(filter(None, (environment.get(name), _LOOPBACK)))
    return users


def emulated_services(endpoint: str, bedrock: str, region: str) -> dict[str, str]:
    """Point a function at this machine for every service: Bedrock at `bedrock`, the others at `endpoint`."""
    return {
        **DUMMY_CREDENTIALS,
        **_region(region),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock,
    }


def real_bedrock(endpoint: str, users: Mapping[str, str], home: str, region: str) -> dict[str, str]:
    """Point a function at AWS for Bedrock alone, with the user's own settings, and at this machine for the others.

    `AWS_ENDPOINT_URL` would take Bedrock along, so each other service has an endpoint of its own.
    """
    own = {name: value for name, value in users.items() if not name.startswith("AWS_ENDPOINT_URL")}
    return {
        **own,
        **_region(region),
        "HOME": home,
        **{f"AWS_ENDPOINT_URL_{service}": endpoint for service in _EMULATED},
    }


def connections_endpoint(endpoint: str, websocket_url: str) -> dict[str, str]:
    """Point a function at this machine for `@connections` of the WebSocket API that has this address on AWS."""
    return {"AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": emulated_address(endpoint, websocket_url)}


def _region(region: str) -> dict[str, str]:
    return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
