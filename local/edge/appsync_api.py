"""A deployed AppSync API, as far as the edge has a part in it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, GraphQLObjectType

from local.cloud.clients import AwsClients
from local.cloud.environment import DUMMY_CREDENTIALS
from local.edge.appsync_callers import AuthMode, Callers, UserPool
from local.edge.appsync_operation import DocumentLimits
from local.edge.appsync_schema import ApiSchema
from local.edge.appsync_signature import SignatureVerifier
from local.edge.user_pool_keys import UserPoolKeys
from local.errors import StackError

_NAME = "AppSync"

DUMMY_KEYS = (DUMMY_CREDENTIALS["AWS_ACCESS_KEY_ID"], DUMMY_CREDENTIALS["AWS_SECRET_ACCESS_KEY"])


@dataclass(frozen=True, slots=True)
class AppSyncApi:
    """`domain` is its host on AWS; `subscription_resolvers` the code for the subscriptions that have any."""

    api_id: str
    domain: str
    schema: ApiSchema
    limits: DocumentLimits
    resolved_fields: frozenset[tuple[str, str]]
    subscription_resolvers: Mapping[str, str]

    def has_resolver(self, type_: str, field: str) -> bool:
        """Tell whether a type's field is resolved by code of its own."""
        return (type_, field) in self.resolved_fields


def read_appsync_api(
    aws: AwsClients, api_id: str, keys: tuple[str, str] | None = DUMMY_KEYS
) -> tuple[AppSyncApi, Callers]:
    """Read a deployed API, and whom it lets in; raises `StackError` for what the edge doesn't do. Blocks.

    `keys` are those that the functions sign with, None where they are the user's own.
    """
    appsync = aws("appsync")
    api = appsync.get_graphql_api(apiId=api_id)["graphqlApi"]
    providers = [
        {"authenticationType": api["authenticationType"], "userPoolConfig": api.get("userPoolConfig")},
        *api.get("additionalAuthenticationProviders", ()),
    ]
    modes = tuple(_mode(provider["authenticationType"]) for provider in providers)
    sdl = appsync.get_introspection_schema(apiId=api_id, format="SDL", includeDirectives=True)["schema"].read()
    try:
        schema = ApiSchema(sdl.decode(), modes)
    except (GraphQLError, TypeError) as error:
        raise StackError(f"{_NAME}: the deployed schema is not in order: {error}") from error
    resolvers = [
        resolver
        for type_ in schema.graphql.type_map.values()
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__")
        for page in appsync.get_paginator("list_resolvers").paginate(apiId=api_id, typeName=type_.name)
        for resolver in page["resolvers"]
    ]
    subscription = schema.graphql.subscription_type
    if not shutil.which("node"):
        raise StackError(f"{_NAME}: resolvers need Node, and there is no `node` on the PATH.")
    deployed = AppSyncApi(
        api_id=api_id,
        domain=f"{api_id}.appsync-api.{aws.region}.amazonaws.com",
        schema=schema,
        limits=DocumentLimits(
            introspection=api.get("introspectionConfig") != "DISABLED",
            depth=api.get("queryDepthLimit") or None,
            resolvers=api.get("resolverCountLimit") or None,
        ),
        resolved_fields=frozenset((resolver["typeName"], resolver["fieldName"]) for resolver in resolvers),
        subscription_resolvers={
            resolver["fieldName"]: _code(appsync, api_id, resolver)
            for resolver in resolvers
            if subscription and resolver["typeName"] == subscription.name
        },
    )
    return deployed, _callers(aws, providers, keys)


def _mode(name: str) -> AuthMode:
    try:
        return AuthMode(name)
    except ValueError:
        raise StackError(f"{_NAME}: the edge doesn't know the authorization {name}.") from None


def _callers(aws: AwsClients, providers: list[dict[str, Any]], keys: tuple[str, str] | None) -> Callers:
    pools = [config for provider in providers if (config := provider.get("userPoolConfig"))]
    if len(pools) > 1 or any(pool.get("defaultAction", "ALLOW") != "ALLOW" for pool in pools):
        raise StackError(f"{_NAME}: the edge knows one user pool, with the default action ALLOW.")
    pool = None
    for config in pools:
        pool_keys = UserPoolKeys(aws.endpoint, config["userPoolId"])
        pool = UserPool(pool_keys, config["awsRegion"], config["userPoolId"], config.get("appIdClientRegex"))
    signatures = SignatureVerifier(keys, aws.region)
    by_signature = any(provider["authenticationType"] == AuthMode.IAM.value for provider in providers)
    return Callers(pool, signatures if by_signature else None)


def _code(appsync: Any, api_id: str, resolver: Mapping[str, Any]) -> str:
    name = f"{resolver['typeName']}.{resolver['fieldName']}"
    source = appsync.get_data_source(apiId=api_id, name=resolver.get("dataSourceName") or "NONE")["dataSource"]
    if resolver.get("kind", "UNIT") != "UNIT" or source["type"] != "NONE" or not resolver.get("code"):
        raise StackError(f"{_NAME}: the edge runs a subscription's JavaScript before a data source NONE, not {name}.")
    return str(resolver["code"])
