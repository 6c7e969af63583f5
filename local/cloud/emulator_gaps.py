"""What the emulator drops from the template without a word: set through the services' own APIs, then checked.

A deployment that succeeds proves nothing here, so everything that the local stack builds on is read back and compared
with the template; a difference ends the start.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack, Resource, require_kept
from local.cloud.graphql_gaps import close_graphql_gaps
from local.cloud.queue_gaps import close_queue_gaps
from local.cloud.topic_gaps import close_topic_gaps
from local.cloud.workflow_gaps import close_workflow_gaps

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "x-amazon-apigateway-any-method"})


def close_gaps(aws: AwsClients, stack: DeployedStack) -> None:
    """Bring what is deployed in line with the template; raises `StackError` where that fails. Blocks."""
    for table in stack.resources("AWS::DynamoDB::Table"):
        _time_to_live(aws, stack, table)
        _check_indexes(aws, table)
    for api in stack.resources("AWS::ApiGateway::RestApi"):
        _gateway_responses(aws, stack, api)
        _integration_timeouts(aws, stack, api)
    for url in stack.resources("AWS::Lambda::Url"):
        _check_function_url(aws, url)
    for client in stack.resources("AWS::Cognito::UserPoolClient"):
        _check_token_validity(aws, stack, client)
    for stage in stack.resources("AWS::ApiGatewayV2::Stage"):
        _throttling(aws, stack, stage)
    for api in stack.resources("AWS::ApiGatewayV2::Api"):
        _check_routes(aws, stack, api)
    for config in stack.resources("AWS::Lambda::EventInvokeConfig"):
        _check_asynchronous_invocation(aws, stack, config)
    close_queue_gaps(aws, stack)
    close_topic_gaps(aws, stack)
    close_workflow_gaps(aws, stack)
    close_graphql_gaps(aws, stack)


def _time_to_live(aws: AwsClients, stack: DeployedStack, table: Resource) -> None:
    wanted = stack.resolve(table.properties.get("TimeToLiveSpecification"))
    if not wanted:
        return
    dynamodb = aws("dynamodb")
    dynamodb.update_time_to_live(TableName=table.physical_id, TimeToLiveSpecification=wanted)
    found = dynamodb.describe_time_to_live(TableName=table.physical_id)["TimeToLiveDescription"]
    what = f"the time to live of {table.logical_id}"
    require_kept(what, wanted["AttributeName"], found.get("AttributeName"))
    require_kept(what, wanted["Enabled"], found["TimeToLiveStatus"] in {"ENABLED", "ENABLING"})


def _check_indexes(aws: AwsClients, table: Resource) -> None:
    wanted = table.properties.get("GlobalSecondaryIndexes", [])
    found = aws("dynamodb").describe_table(TableName=table.physical_id)["Table"].get("GlobalSecondaryIndexes", [])
    kept = [{name: index.get(name) for name in ("IndexName", "KeySchema", "Projection")} for index in found]
    require_kept(f"the indexes of {table.logical_id}", wanted, kept)


def _gateway_responses(aws: AwsClients, stack: DeployedStack, api: Resource) -> None:
    wanted = stack.resolve(api.properties["Body"].get("x-amazon-apigateway-gateway-responses", {}))
    apigateway = aws("apigateway")
    for type_, response in wanted.items():
        given = {
            "responseParameters": response.get("responseParameters", {}),
            "responseTemplates": response.get("responseTemplates", {}),
        }
        if "statusCode" in response:
            given["statusCode"] = str(response["statusCode"])
        apigateway.put_gateway_response(restApiId=api.physical_id, responseType=type_, **given)
        found = apigateway.get_gateway_response(restApiId=api.physical_id, responseType=type_)
        for key, value in given.items():
            require_kept(f"the gateway response {type_} ({key})", value, found.get(key))


def _integration_timeouts(aws: AwsClients, stack: DeployedStack, api: Resource) -> None:
    apigateway = aws("apigateway")
    resources = apigateway.get_resources(restApiId=api.physical_id, limit=500)["items"]
    ids = {resource["path"]: resource["id"] for resource in resources}
    for path, methods in api.properties["Body"]["paths"].items():
        for name, method in methods.items():
            if name not in _METHODS or not (integration := method.get("x-amazon-apigateway-integration")):
                continue
            require_kept(f"the path {path}", True, path in ids)
            target = {
                "restApiId": api.physical_id,
                "resourceId": ids[path],
                "httpMethod": "ANY" if name == "x-amazon-apigateway-any-method" else name.upper(),
            }
            if timeout := stack.resolve(integration.get("timeoutInMillis")):
                apigateway.update_integration(
                    **target,
                    patchOperations=[{"op": "replace", "path": "/timeoutInMillis", "value": str(timeout)}],
                )
                found = int(apigateway.get_integration(**target)["timeoutInMillis"])
                require_kept(f"the time-out of {target['httpMethod']} {path}", int(timeout), found)


def _check_function_url(aws: AwsClients, url: Resource) -> None:
    found = aws("lambda").get_function_url_config(FunctionName=url.physical_id)
    require_kept(
        f"the invoke mode of {url.logical_id}", url.properties.get("InvokeMode", "BUFFERED"), found["InvokeMode"]
    )
    require_kept(f"the CORS settings of {url.logical_id}", "Cors" in url.properties, bool(found.get("Cors")))


def _check_token_validity(aws: AwsClients, stack: DeployedStack, client: Resource) -> None:
    pool = stack.resolve(client.properties["UserPoolId"])
    found = aws("cognito-idp").describe_user_pool_client(UserPoolId=pool, ClientId=client.physical_id)["UserPoolClient"]
    for name in ("IdTokenValidity", "AccessTokenValidity", "RefreshTokenValidity", "TokenValidityUnits"):
        if name in client.properties:
            require_kept(f"{name} of {client.logical_id}", stack.resolve(client.properties[name]), found.get(name))


def _throttling(aws: AwsClients, stack: DeployedStack, stage: Resource) -> None:
    settings = stack.resolve(stage.properties.get("DefaultRouteSettings", {}))
    wanted = {name: value for name, value in settings.items() if name.startswith("Throttling")}
    address = {"ApiId": stack.resolve(stage.properties["ApiId"]), "StageName": stage.physical_id}
    apigateway = aws("apigatewayv2")
    apigateway.update_stage(**address, DefaultRouteSettings=wanted)
    found = apigateway.get_stage(**address).get("DefaultRouteSettings", {})
    for name, value in wanted.items():
        require_kept(f"{name} of {stage.logical_id}", value, found.get(name))


def _check_routes(aws: AwsClients, stack: DeployedStack, api: Resource) -> None:
    apigateway = aws("apigatewayv2")
    name, value = "RouteSelectionExpression", api.properties["RouteSelectionExpression"]
    require_kept(f"{name} of {api.logical_id}", value, apigateway.get_api(ApiId=api.physical_id).get(name))
    routes = {route["RouteKey"]: route for route in apigateway.get_routes(ApiId=api.physical_id)["Items"]}
    for route in stack.resources("AWS::ApiGatewayV2::Route"):
        found = routes.get(route.properties["RouteKey"], {})
        for name in ("AuthorizationType", "AuthorizerId", "Target"):
            if name in route.properties:
                require_kept(f"{name} of {route.logical_id}", stack.resolve(route.properties[name]), found.get(name))
    integrations = {item["IntegrationId"]: item for item in apigateway.get_integrations(ApiId=api.physical_id)["Items"]}
    for integration in stack.resources("AWS::ApiGatewayV2::Integration"):
        uri = integrations.get(integration.physical_id, {}).get("IntegrationUri")
        _require_function(f"the function of {integration.logical_id}", stack, integration, uri)
    authorizers = {item["AuthorizerId"]: item for item in apigateway.get_authorizers(ApiId=api.physical_id)["Items"]}
    for authorizer in stack.resources("AWS::ApiGatewayV2::Authorizer"):
        found = authorizers.get(authorizer.physical_id, {})
        for name in ("AuthorizerType", "IdentitySource"):
            require_kept(f"{name} of {authorizer.logical_id}", authorizer.properties[name], found.get(name))
        _require_function(f"the function of {authorizer.logical_id}", stack, authorizer, found.get("AuthorizerUri"))


def _check_asynchronous_invocation(aws: AwsClients, stack: DeployedStack, config: Resource) -> None:
    function = stack.resolve(config.properties["FunctionName"])
    qualifier = config.properties["Qualifier"]
    found = aws("lambda").get_function_event_invoke_config(FunctionName=function, Qualifier=qualifier)
    for name in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
        if name in config.properties:
            require_kept(f"{name} of {config.logical_id}", stack.resolve(config.properties[name]), found.get(name))
    if config.properties.get("DestinationConfig"):
        destination = found.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        _require_function(f"the failure destination of {config.logical_id}", stack, config, destination)


def _require_function(what: str, stack: DeployedStack, resource: Resource, found: str | None) -> None:
    """Compare the function whose ARN is in a resource's properties with the ARN, or the URI around it, as deployed."""
    wanted = stack.physical_ids[next(_attribute_owners(resource.properties))]
    name = (found or "").partition(":function:")[2].partition("/")[0]
    require_kept(what, wanted, name)


def _attribute_owners(value: Any) -> Iterator[str]:
    """Find the resources whose attributes a property's value is made of."""
    match value:
        case {"Fn::GetAtt": [str(logical_id), *_]}:
            yield logical_id
        case Mapping():
            yield from chain.from_iterable(map(_attribute_owners, value.values()))
        case list():
            yield from chain.from_iterable(map(_attribute_owners, value))
