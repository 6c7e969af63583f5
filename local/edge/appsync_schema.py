"""An AppSync API's schema: what it declares by directives about who may see what, and which mutation feeds whom.

Source: AppSync developer guide, "Configuring authorization and authentication": a field has the modes of its own
directives, else its type's, else the API's default one. A user's groups are looked at where a directive names some.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    value_from_ast_untyped,
)
from graphql.language import ConstDirectiveNode

from local.edge.appsync_callers import AuthMode, Caller, CognitoUser, mode_of

_PRELUDE = """
scalar AWSDate
scalar AWSTime
scalar AWSDateTime
scalar AWSTimestamp
scalar AWSEmail
scalar AWSJSON
scalar AWSURL
scalar AWSPhone
scalar AWSIPAddress
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
directive @aws_auth(cognito_groups: [String!]!) on FIELD_DEFINITION | OBJECT
directive @aws_cognito_user_pools(cognito_groups: [String!]) on FIELD_DEFINITION | OBJECT
directive @aws_iam on FIELD_DEFINITION | OBJECT
directive @aws_api_key on FIELD_DEFINITION | OBJECT
directive @aws_oidc on FIELD_DEFINITION | OBJECT
directive @aws_lambda on FIELD_DEFINITION | OBJECT
"""
# None for modes that the edge knows no caller of.
_MODES = {
    "aws_cognito_user_pools": AuthMode.COGNITO,
    "aws_iam": AuthMode.IAM,
    "aws_api_key": None,
    "aws_oidc": None,
    "aws_lambda": None,
}
_ANYBODY: frozenset[str] = frozenset()

_Access: TypeAlias = Mapping[AuthMode | None, frozenset[str]]
"""The modes that let a caller in, and of which groups a user has to be in one; empty for no matter which."""


class ApiSchema:
    """`modes` are the API's, its default first. Raises `graphql.GraphQLError` and `TypeError` for what is no schema."""

    def __init__(self, sdl: str, modes: tuple[AuthMode, ...]) -> None:
        self.graphql: GraphQLSchema = build_schema(_PRELUDE + sdl)
        self._modes = modes
        self._subscriptions: defaultdict[str, list[str]] = defaultdict(list)
        if self.graphql.subscription_type:
            for name, field in self.graphql.subscription_type.fields.items():
                for mutation in _mutations(field):
                    self._subscriptions[mutation].append(name)

    def subscriptions_of(self, mutation: str) -> list[str]:
        """Name the subscription fields that a mutation's result goes to."""
        return self._subscriptions.get(mutation, [])

    def may(self, caller: Caller, type_: GraphQLNamedType, field: str) -> bool:
        """Tell whether a caller may see a field of a type, whichever object type it turns out to be."""
        if type_.name.startswith("__") or field.startswith("__"):
            return True
        return all(self._admits(self._access(owner, field), caller) for owner in self._owners(type_))

    def _owners(self, type_: GraphQLNamedType) -> Iterator[GraphQLObjectType | GraphQLInterfaceType]:
        if isinstance(type_, GraphQLInterfaceType):
            yield type_
            yield from self.graphql.get_possible_types(type_)
        elif isinstance(type_, GraphQLObjectType):
            yield type_

    def _access(self, type_: GraphQLObjectType | GraphQLInterfaceType, field: str) -> _Access:
        default: _Access = {self._modes[0]: _ANYBODY}
        return self._declared(type_.fields[field]) or self._declared(type_) or default

    def _declared(self, place: GraphQLField | GraphQLObjectType | GraphQLInterfaceType) -> _Access:
        access: dict[AuthMode | None, frozenset[str]] = {}
        for directive in _directives(place):
            name = directive.name.value
            if name in _MODES:
                access[_MODES[name]] = frozenset(_arguments(directive).get("cognito_groups") or ())
            elif name == "aws_auth" and self._modes == (AuthMode.COGNITO,):
                # Without effect beside other modes. Source: as above, "Using additional authorization modes".
                access[AuthMode.COGNITO] = frozenset(_arguments(directive)["cognito_groups"])
        return access

    def _admits(self, access: _Access, caller: Caller) -> bool:
        mode = mode_of(caller)
        if mode not in access:
            return False
        groups = access[mode]
        return not groups or (isinstance(caller, CognitoUser) and bool(groups & caller.groups))


def _mutations(field: GraphQLField) -> list[str]:
    for directive in _directives(field):
        if directive.name.value == "aws_subscribe":
            return list(_arguments(directive)["mutations"])
    return []


def _directives(place: GraphQLField | GraphQLNamedType) -> Iterator[ConstDirectiveNode]:
    if place.ast_node:
        yield from place.ast_node.directives or ()
    for extension in getattr(place, "extension_ast_nodes", ()):
        yield from extension.directives or ()


def _arguments(directive: ConstDirectiveNode) -> dict[str, Any]:
    return {argument.name.value: value_from_ast_untyped(argument.value) for argument in directive.arguments or ()}
