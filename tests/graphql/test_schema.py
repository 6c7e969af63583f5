"""The schema is what clients were promised, and publishing is for the functions alone."""

from collections.abc import Mapping

from graphql import (
    FieldDefinitionNode,
    GraphQLSchema,
    ObjectTypeDefinitionNode,
    build_schema,
    lexicographic_sort_schema,
    parse,
    print_schema,
)

from tests.graphql.emulated_api import GRAPHQL

SDL = (GRAPHQL / "schema.graphql").read_text(encoding="utf-8")
APPSYNC = """
scalar AWSJSON
scalar AWSDateTime
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
directive @aws_iam on FIELD_DEFINITION | OBJECT
directive @aws_cognito_user_pools on FIELD_DEFINITION | OBJECT
"""
PROMISED = """
type Mutation {
  startStream(prompt: String, messages: [MessageInput!], system: String, model: String, options: StreamOptions, sessionId: ID, delivery: String): StreamResponse!
  cancelStream(sessionId: ID!): StreamResponse!
  publishToken(sessionId: ID!, owner: ID!, attempt: Int!, sequence: Int!, type: String!, token: String, frame: AWSJSON!): TokenEvent!
}
type Query { getStream(sessionId: ID!, afterAttempt: Int, afterSequence: Int, limit: Int): StreamState! }
type Subscription { onTokenReceived(sessionId: ID!): TokenEvent }
type StreamResponse { sessionId: ID! status: String! }
type StreamState { sessionId: ID! status: String! frames: [AWSJSON!]! more: Boolean! }
type TokenEvent { sessionId: ID! owner: ID! attempt: Int! sequence: Int! type: String! token: String isComplete: Boolean! frame: AWSJSON! timestamp: AWSDateTime! }
input MessageInput { role: String! content: String! }
input StreamOptions { maxTokens: Int temperature: Float topP: Float stopSequences: [String!] }
"""  # noqa: E501 - as it was promised


def printed(schema: GraphQLSchema) -> str:
    return print_schema(lexicographic_sort_schema(schema))


def names_of(node: ObjectTypeDefinitionNode | FieldDefinitionNode) -> list[str]:
    return [directive.name.value for directive in node.directives or ()]


def directives() -> Mapping[str, list[str]]:
    """Give the directives of every type and field that has any, by `Type` and `Type.field`."""
    found: dict[str, list[str]] = {}
    for type_ in parse(SDL).definitions:
        if isinstance(type_, ObjectTypeDefinitionNode):
            name = type_.name.value
            found[name] = names_of(type_)
            found |= {f"{name}.{field.name.value}": names_of(field) for field in type_.fields or ()}
    return {name: names for name, names in found.items() if names}


def test_clients_find_the_operations_and_types_that_they_were_promised() -> None:
    assert printed(build_schema(APPSYNC + SDL)) == printed(build_schema(APPSYNC + PROMISED))


def test_users_can_neither_publish_nor_anything_else_than_users_call_the_rest() -> None:
    assert directives() == {
        "Mutation.publishToken": ["aws_iam"],
        "Subscription.onTokenReceived": ["aws_subscribe"],
        # Published with IAM, received with a token: every other type and field takes the default, Cognito alone.
        "TokenEvent": ["aws_iam", "aws_cognito_user_pools"],
    }


def test_every_operation_has_its_resolver() -> None:
    schema = build_schema(APPSYNC + SDL)
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    operations = {field for root in roots if root for field in root.fields}
    assert operations <= {path.stem for path in (GRAPHQL / "resolvers").glob("*.js")}
