from typing import Any

import pytest

from tests.template.transformed import stack


def public_permissions(function_url_auth_type: str) -> list[dict[str, Any]]:
    deployed = stack(FunctionUrlAuthType=function_url_auth_type)
    return [
        permission for _, permission in deployed.of_type("AWS::Lambda::Permission") if permission["Principal"] == "*"
    ]


def test_a_public_url_has_both_permissions_or_aws_answers_403() -> None:
    permissions = {permission["Action"]: permission for permission in public_permissions("NONE")}
    assert permissions.keys() == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert permissions["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"] == "NONE"


def test_the_public_invokes_the_function_by_its_url_only() -> None:
    permissions = {permission["Action"]: permission for permission in public_permissions("NONE")}
    assert permissions["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True


def test_a_url_behind_sigv4_is_open_to_nobody_else() -> None:
    assert public_permissions("AWS_IAM") == []


@pytest.mark.parametrize("auth_type", ["NONE", "AWS_IAM"])
def test_the_url_asks_for_sigv4_where_that_is_wanted(auth_type: str) -> None:
    assert stack(FunctionUrlAuthType=auth_type).properties("HttpStreamFunctionUrl")["AuthType"] == auth_type


def test_the_url_streams() -> None:
    assert stack().properties("HttpStreamFunctionUrl")["InvokeMode"] == "RESPONSE_STREAM"


def test_pages_of_the_allowed_origins_alone_may_call_the_url() -> None:
    cors = stack(AllowedOrigins="https://a.example,https://b.example").properties("HttpStreamFunctionUrl")["Cors"]
    assert cors["AllowOrigins"] == ["https://a.example", "https://b.example"]


def test_a_page_can_send_what_the_client_sends_and_read_what_it_needs() -> None:
    cors = stack().properties("HttpStreamFunctionUrl")["Cors"]
    assert set(cors["AllowHeaders"]) >= {"authorization", "x-authorization", "content-type", "accept", "last-event-id"}
    assert set(cors["ExposeHeaders"]) == {"X-Session-Id", "Retry-After"}
    assert set(cors["AllowMethods"]) == {"POST", "GET", "DELETE"}


def test_the_url_allows_no_method_that_lambda_refuses() -> None:
    # Lambda takes at most six characters: OPTIONS fails the deployment, and is answered without being listed.
    assert all(len(method) <= 6 for method in stack().properties("HttpStreamFunctionUrl")["Cors"]["AllowMethods"])
