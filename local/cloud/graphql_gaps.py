"""What the emulator drops of an AppSync API: schema and code that come from S3, and a pipeline's functions altogether.

They are made from what was deployed, the objects that `sam deploy` has uploaded, and read back.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack, Resource, require_kept

_SETTINGS = {
    "AuthenticationType": "authenticationType",
    "QueryDepthLimit": "queryDepthLimit",
    "ResolverCountLimit": "resolverCountLimit",
    "IntrospectionConfig": "introspectionConfig",
}


def close_graphql_gaps(aws: AwsClients, stack: DeployedStack) -> None:
    """Give the stack's APIs what their templates say; raises `StackError` where that fails. Blocks."""
    for api in stack.resources("AWS::AppSync::GraphQLApi"):
        _check_settings(aws, api)
    for schema in stack.resources("AWS::AppSync::GraphQLSchema"):
        _schema(aws, stack, schema)
    functions = {
        function.logical_id: _function(aws, stack, function)
        for function in stack.resources("AWS::AppSync::FunctionConfiguration")
    }
    for resolver in stack.resources("AWS::AppSync::Resolver"):
        _resolver(aws, stack, resolver, functions)


def _check_settings(aws: AwsClients, api: Resource) -> None:
    found = aws("appsync").get_graphql_api(apiId=api.physical_id)["graphqlApi"]
    for name, member in _SETTINGS.items():
        if name in api.properties:
            require_kept(f"{name} of {api.logical_id}", api.properties[name], found.get(member))
    modes = [provider["AuthenticationType"] for provider in api.properties["AdditionalAuthenticationProviders"]]
    found_modes = [provider["authenticationType"] for provider in found.get("additionalAuthenticationProviders", [])]
    require_kept(f"the further ways to authenticate with {api.logical_id}", modes, found_modes)


def _schema(aws: AwsClients, stack: DeployedStack, schema: Resource) -> None:
    definition = _uploaded(aws, schema.properties["DefinitionS3Location"])
    api_id = _api_id(stack, schema)
    aws("appsync").start_schema_creation(apiId=api_id, definition=definition)
    found = aws("appsync").get_introspection_schema(apiId=api_id, format="SDL")["schema"].read()
    require_kept(f"the schema {schema.logical_id}", definition, found)


def _function(aws: AwsClients, stack: DeployedStack, function: Resource) -> str:
    """Create a function of a pipeline; gives its id, which is not the one that the emulator made up."""
    properties = function.properties
    address = {"apiId": _api_id(stack, function)}
    created = aws("appsync").create_function(
        **address,
        name=properties["Name"],
        dataSourceName=_data_source(stack, function),
        runtime=_runtime(properties),
        code=_uploaded(aws, properties["CodeS3Location"]).decode(),
    )
    function_id: str = created["functionConfiguration"]["functionId"]
    return function_id


def _resolver(aws: AwsClients, stack: DeployedStack, resolver: Resource, functions: Mapping[str, str]) -> None:
    properties = resolver.properties
    address = {
        "apiId": _api_id(stack, resolver),
        "typeName": properties["TypeName"],
        "fieldName": properties["FieldName"],
    }
    wanted: dict[str, Any] = {
        "kind": properties.get("Kind", "UNIT"),
        "runtime": _runtime(properties),
        "code": _uploaded(aws, properties["CodeS3Location"]).decode(),
    }
    if "PipelineConfig" in properties:
        steps = [step["Fn::GetAtt"][0] for step in properties["PipelineConfig"]["Functions"]]
        wanted["pipelineConfig"] = {"functions": [functions[step] for step in steps]}
    else:
        wanted["dataSourceName"] = _data_source(stack, resolver)
    aws("appsync").update_resolver(**address, **wanted)
    found = aws("appsync").get_resolver(**address)["resolver"]
    for name, value in wanted.items():
        require_kept(f"{name} of {resolver.logical_id}", value, found.get(name))


def _api_id(stack: DeployedStack, resource: Resource) -> str:
    owner: str = resource.properties["ApiId"]["Fn::GetAtt"][0]
    return stack.physical_ids[owner]


def _data_source(stack: DeployedStack, resource: Resource) -> str:
    owner: str = resource.properties["DataSourceName"]["Fn::GetAtt"][0]
    name: str = stack.template["Resources"][owner]["Properties"]["Name"]
    return name


def _runtime(properties: Mapping[str, Any]) -> dict[str, str]:
    return {"name": properties["Runtime"]["Name"], "runtimeVersion": properties["Runtime"]["RuntimeVersion"]}


def _uploaded(aws: AwsClients, location: str) -> bytes:
    """Read what `sam deploy` has put to `s3://<bucket>/<key>`."""
    address = urlsplit(location)
    uploaded: bytes = aws("s3").get_object(Bucket=address.netloc, Key=address.path.lstrip("/"))["Body"].read()
    return uploaded
