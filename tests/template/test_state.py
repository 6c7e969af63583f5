from typing import Any

from tests.template.transformed import stack


def client(**parameters: str) -> dict[str, Any]:
    return stack(**parameters).properties("UserPoolClient")


def test_sessions_expire() -> None:
    ttl = stack().properties("SessionsTable")["TimeToLiveSpecification"]
    assert ttl == {"AttributeName": "expiresAt", "Enabled": True}


def test_sessions_are_keyed_by_id_and_item_and_encrypted() -> None:
    table = stack().properties("SessionsTable")
    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == [
        ("sessionId", "HASH"),
        ("item", "RANGE"),
    ]
    assert table["SSESpecification"]["SSEEnabled"] is True
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_nobody_signs_up_by_themselves_to_stream_at_the_owners_cost() -> None:
    assert stack().properties("UserPool")["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True


def test_no_text_message_is_ever_sent() -> None:
    pool = stack().properties("UserPool")
    assert "SmsConfiguration" not in pool
    assert "phone_number" not in pool["AutoVerifiedAttributes"]


def test_passwords_are_long() -> None:
    assert stack().properties("UserPool")["Policies"]["PasswordPolicy"]["MinimumLength"] >= 12


def test_the_users_of_prod_survive_a_stack_deleted_by_mistake() -> None:
    assert stack(Stage="prod").properties("UserPool")["DeletionProtection"] == "ACTIVE"
    assert stack(Stage="dev").properties("UserPool")["DeletionProtection"] == "INACTIVE"


def test_the_client_keeps_no_secret_and_names_no_users() -> None:
    assert client()["GenerateSecret"] is False
    assert client()["PreventUserExistenceErrors"] == "ENABLED"


def test_a_password_leaves_the_client_only_where_that_is_asked_for() -> None:
    flows = ["ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    assert client()["ExplicitAuthFlows"] == flows
    assert client(PasswordSignIn="true")["ExplicitAuthFlows"] == [*flows, "ALLOW_USER_PASSWORD_AUTH"]
