"""A GraphQL API whose schema and code come from S3 works after the deployment, though the emulator forgets them."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack
from local.cloud.graphql_gaps import close_graphql_gaps
from local.errors import StackError
from tests.graphql.emulated_api import token

BUCKET = "artifacts"
UPLOADED = {
    "schema": "type Query { greet(name: String!): String welcome: String }",
    "greet": "export function request(ctx) { return {}; }\n"
    "export function response(ctx) { return `Hello, ${ctx.prev.result}`; }",
    "shout": "export function request(ctx) { return { payload: ctx.args.name.toUpperCase() }; }\n"
    "export function response(ctx) { return ctx.result; }",
    "mark": "export function request(ctx) { return { payload: `${ctx.prev.result}!` }; }\n"
    "export function response(ctx) { return ctx.result; }",
    "welcome": "export function request(ctx) { return { payload: 'Welcome' }; }\n"
    "export function response(ctx) { return ctx.result; }",
}
RUNTIME = {"Name": "APPSYNC_JS", "RuntimeVersion": "1.0.0"}
API = {"Fn::GetAtt": ["Api", "ApiId"]}


def resource(type_: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::AppSync::{type_}", "Properties": properties}


def step(name: str) -> dict[str, Any]:
    return resource(
        "FunctionConfiguration",
        ApiId=API,
        Name=name,
        DataSourceName={"Fn::GetAtt": ["Nothing", "Name"]},
        Runtime=RUNTIME,
        CodeS3Location=f"s3://{BUCKET}/{name}",
    )


def resolver(field: str, **properties: Any) -> dict[str, Any]:
    location = f"s3://{BUCKET}/{field}"
    return resource(
        "Resolver", ApiId=API, TypeName="Query", FieldName=field, Runtime=RUNTIME, CodeS3Location=location, **properties
    )


TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Api": resource(
            "GraphQLApi",
            Name="greetings",
            AuthenticationType="AMAZON_COGNITO_USER_POOLS",
            UserPoolConfig={"UserPoolId": "us-east-1_none", "AwsRegion": "us-east-1", "DefaultAction": "ALLOW"},
            AdditionalAuthenticationProviders=[{"AuthenticationType": "AWS_IAM"}],
            QueryDepthLimit=3,
        ),
        "Schema": resource("GraphQLSchema", ApiId=API, DefinitionS3Location=f"s3://{BUCKET}/schema"),
        "Nothing": resource("DataSource", ApiId=API, Name="None", Type="NONE"),
        "Shout": step("shout"),
        "Mark": step("mark"),
        "Greet": resolver(
            "greet",
            Kind="PIPELINE",
            PipelineConfig={"Functions": [{"Fn::GetAtt": [name, "FunctionId"]} for name in ("Shout", "Mark")]},
        ),
        "Welcome": resolver("welcome", DataSourceName={"Fn::GetAtt": ["Nothing", "Name"]}),
    },
    "Outputs": {"Url": {"Value": {"Fn::GetAtt": ["Api", "GraphQLUrl"]}}},
}


@pytest.fixture
def deployed(aws: AwsClients) -> DeployedStack:
    aws("s3").create_bucket(Bucket=BUCKET)
    for key, body in UPLOADED.items():
        aws("s3").put_object(Bucket=BUCKET, Key=key, Body=body.encode())
    name = f"greetings-{uuid4()}"
    aws("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(TEMPLATE))
    aws("cloudformation").get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    return DeployedStack.read(aws, name)


@pytest.fixture
def ask(aws: AwsClients, deployed: DeployedStack) -> Callable[[str], Any]:
    def ask(query: str) -> Any:
        url = f"{aws.endpoint}/v1/apis/{deployed.physical_ids['Api']}/graphql"
        answer = httpx.post(url, json={"query": query}, headers={"Authorization": token("somebody")}, timeout=60)
        return answer.json()

    return ask


def test_queries_are_answered_by_the_code_that_was_deployed(
    aws: AwsClients, deployed: DeployedStack, ask: Callable[[str], Any]
) -> None:
    close_graphql_gaps(aws, deployed)
    assert ask('{ greet(name: "you") welcome }') == {"data": {"greet": "Hello, YOU!", "welcome": "Welcome"}}
    assert "errors" in ask("{ unknown }")


def test_a_setting_that_was_not_kept_ends_the_start(aws: AwsClients, deployed: DeployedStack) -> None:
    deployed.template["Resources"]["Api"]["Properties"]["QueryDepthLimit"] = 4
    with pytest.raises(StackError, match="QueryDepthLimit of Api"):
        close_graphql_gaps(aws, deployed)
