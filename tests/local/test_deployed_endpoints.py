from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber

from local.deployed_endpoints import deployed_endpoints
from local.errors import StackError
from tokenstream_client.endpoints import Endpoints

OUTPUTS = {
    "FunctionUrl": "https://abc.lambda-url.eu-central-1.on.aws/",
    "RestUrl": "https://def.execute-api.eu-central-1.amazonaws.com/dev",
    "WebSocketUrl": "wss://ghi.execute-api.eu-central-1.amazonaws.com/dev",
    "GraphQLUrl": "https://jkl.appsync-api.eu-central-1.amazonaws.com/graphql",
    "GraphQLRealtimeUrl": "wss://jkl.appsync-realtime-api.eu-central-1.amazonaws.com/graphql",
    "Region": "eu-central-1",
    "UserPoolId": "eu-central-1_abc",
    "UserPoolClientId": "client",
    "SessionsTableName": "table",
}


@pytest.fixture
def cloudformation() -> Any:
    return botocore.session.get_session().create_client(
        "cloudformation", "eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture
def aws(cloudformation: Any) -> Iterator[Stubber]:
    with Stubber(cloudformation) as stubber:
        yield stubber


def answer(outputs: dict[str, str]) -> dict[str, Any]:
    entries = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    stack = {"StackName": "s", "CreationTime": "2026-11-20T12:00:00Z", "StackStatus": "CREATE_COMPLETE"}
    return {"Stacks": [{**stack, "Outputs": entries}]}


def test_the_client_can_use_a_stack_on_aws(cloudformation: Any, aws: Stubber) -> None:
    aws.add_response("describe_stacks", answer(OUTPUTS), {"StackName": "tokenstream-dev"})
    found = deployed_endpoints(cloudformation, "tokenstream-dev")
    assert found["websocketUrl"] == OUTPUTS["WebSocketUrl"]
    assert found["graphqlUrl"] == OUTPUTS["GraphQLUrl"]
    assert found["graphqlRealtimeUrl"] == OUTPUTS["GraphQLRealtimeUrl"]
    endpoints = Endpoints.from_mapping(found)
    assert endpoints.function_url == "https://abc.lambda-url.eu-central-1.on.aws"
    assert endpoints.aws_endpoint_url is None
    assert endpoints.password is None


def test_another_projects_stack_is_refused(cloudformation: Any, aws: Stubber) -> None:
    aws.add_response("describe_stacks", answer({"Region": "eu-central-1"}))
    with pytest.raises(StackError, match=r"has no output FunctionUrl, .*RestUrl, .*WebSocketUrl"):
        deployed_endpoints(cloudformation, "other")


def test_a_stack_that_is_not_there_is_said(cloudformation: Any, aws: Stubber) -> None:
    aws.add_client_error("describe_stacks", "ValidationError", "Stack with id nope does not exist")
    with pytest.raises(StackError, match="nope"):
        deployed_endpoints(cloudformation, "nope")
