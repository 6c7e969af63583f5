"""Who may see which field, as the schema's directives say."""

import pytest
from graphql import GraphQLNamedType

from local.edge.appsync_callers import AuthMode, Caller, CognitoUser, IamCaller
from local.edge.appsync_schema import ApiSchema
from tests.local.appsync_fakes import SDL

USER = CognitoUser({"sub": "u"})
ADMIN = CognitoUser({"sub": "a", "cognito:groups": ["admin", "other"]})
FUNCTION = IamCaller("test")
BOTH = (AuthMode.COGNITO, AuthMode.IAM)

DIRECTED = """
  type Query {
    plain: Plain
    iam: Int @aws_iam
    both: Int @aws_iam @aws_cognito_user_pools
    admin: Int @aws_cognito_user_pools(cognito_groups: ["admin"])
    old: Int @aws_auth(cognito_groups: ["admin"])
    key: Int @aws_api_key
    keyOrIam: Int @aws_api_key @aws_iam
  }
  type Plain { x: Int }
  type OfIam @aws_iam { x: Int own: Int @aws_cognito_user_pools }
  extend type Extended @aws_iam
  type Extended { x: Int }
  interface Face { x: Int }
  type Shown implements Face { x: Int }
  type Hidden implements Face @aws_iam { x: Int }
"""


def may(schema: ApiSchema, caller: Caller, name: str) -> bool:
    type_name, _, field = name.partition(".")
    type_ = schema.graphql.get_type(type_name)
    assert isinstance(type_, GraphQLNamedType)
    return schema.may(caller, type_, field)


@pytest.mark.parametrize(
    ("field", "callers"),
    [
        ("Query.plain", {"user", "admin"}),
        ("Query.iam", {"function"}),
        ("Query.both", {"user", "admin", "function"}),
        ("Query.admin", {"admin"}),
        # Without effect beside another mode: a trap of AppSync's.
        ("Query.old", {"user", "admin"}),
        ("Query.key", set()),
        ("Query.keyOrIam", {"function"}),
        ("Query.__typename", {"user", "admin", "function"}),
        ("Plain.x", {"user", "admin"}),
        ("OfIam.x", {"function"}),
        ("OfIam.own", {"user", "admin"}),
        ("Extended.x", {"function"}),
        ("Shown.x", {"user", "admin"}),
        ("Face.x", set()),
        ("__Type.name", {"user", "admin", "function"}),
    ],
)
def test_a_field_goes_by_its_own_directives_then_its_types_then_the_default(field: str, callers: set[str]) -> None:
    schema = ApiSchema(DIRECTED, BOTH)
    named: dict[str, Caller] = {"user": USER, "admin": ADMIN, "function": FUNCTION}
    assert {name for name, caller in named.items() if may(schema, caller, field)} == callers


def test_the_default_is_the_first_mode() -> None:
    schema = ApiSchema(DIRECTED, BOTH[::-1])
    assert may(schema, FUNCTION, "Query.plain")
    assert not may(schema, USER, "Query.plain")


def test_the_old_directive_holds_where_users_are_alone() -> None:
    schema = ApiSchema(DIRECTED, (AuthMode.COGNITO,))
    assert may(schema, ADMIN, "Query.old")
    assert not may(schema, USER, "Query.old")


def test_the_projects_own_schema_lets_functions_publish_and_users_do_everything_else() -> None:
    schema = ApiSchema(SDL, BOTH)
    for caller, mutations in ((USER, {"startStream", "cancelStream"}), (FUNCTION, {"publishToken"})):
        mutation = schema.graphql.mutation_type
        assert mutation is not None
        assert {name for name in mutation.fields if schema.may(caller, mutation, name)} == mutations
        assert may(schema, caller, "TokenEvent.frame")
    assert may(schema, USER, "Subscription.onTokenReceived")
    assert not may(schema, FUNCTION, "Subscription.onTokenReceived")
    assert not may(schema, FUNCTION, "Query.getStream")
    assert schema.subscriptions_of("publishToken") == ["onTokenReceived"]
    assert schema.subscriptions_of("startStream") == []
