from pathlib import Path
from typing import Any

import pytest

from local.invoke.intrinsics import Scope
from tests.template.test_permissions import as_list
from tests.template.transformed import ROOT, source, stack, transformed

APPSYNC_SECONDS = 30
"""How long AppSync waits for a data source. Source: AppSync service quotas."""
PIPELINE = ["getStreamRecord", "getStreamHolding", "getStreamFollowing"]


def only(type_: str, **parameters: str) -> dict[str, Any]:
    [(_, properties)] = stack(**parameters).of_type(type_)
    return properties


def api(**parameters: str) -> dict[str, Any]:
    return only("AWS::AppSync::GraphQLApi", **parameters)


def resolvers() -> dict[str, dict[str, Any]]:
    return {
        f"{properties['TypeName']}.{properties['FieldName']}": properties
        for _, properties in stack().of_type("AWS::AppSync::Resolver")
    }


def data_source(properties: dict[str, Any]) -> dict[str, Any]:
    """The data source of a resolver or of a pipeline's function."""
    return stack().properties(properties["DataSourceName"].removesuffix(".Name"))


def steps() -> list[dict[str, Any]]:
    """The functions of the pipeline, in their order."""
    functions = resolvers()["Query.getStream"]["PipelineConfig"]["Functions"]
    return [stack().properties(function.removesuffix(".FunctionId")) for function in functions]


def code(properties: dict[str, Any]) -> Path:
    location: str = properties["CodeS3Location"]
    return ROOT / location


def event_source(function: str, **parameters: str) -> dict[str, Any]:
    [source] = [
        properties
        for _, properties in stack(**parameters).of_type("AWS::Lambda::EventSourceMapping")
        if properties["FunctionName"] == function
    ]
    return source


# The API


def test_users_come_with_a_token_of_this_client_and_functions_with_iam() -> None:
    assert api()["AuthenticationType"] == "AMAZON_COGNITO_USER_POOLS"
    assert api()["UserPoolConfig"] == {
        "UserPoolId": "UserPool",
        "AwsRegion": "us-east-1",
        "AppIdClientRegex": "UserPoolClient",
        "DefaultAction": "ALLOW",
    }
    assert api()["AdditionalAuthenticationProviders"] == [{"AuthenticationType": "AWS_IAM"}]


def test_a_request_cannot_grow_without_bounds_or_ask_for_the_schema() -> None:
    assert 2 <= api()["QueryDepthLimit"] <= 5
    assert 1 <= api()["ResolverCountLimit"] <= 10
    assert api()["IntrospectionConfig"] == "DISABLED"


def test_neither_prompts_nor_tokens_get_into_the_log() -> None:
    logs = api()["LogConfig"]
    assert (logs["FieldLogLevel"], logs["ExcludeVerboseContent"]) == ("ERROR", True)


def test_the_log_is_the_one_with_a_retention() -> None:
    assert stack().properties("GraphQLLogs")["LogGroupName"] == "/aws/appsync/apis/GraphQLApi.ApiId"
    assert stack(LogRetentionDays="7").properties("GraphQLLogs")["RetentionInDays"] == "7"


def test_it_is_traced_where_the_functions_are() -> None:
    assert api()["XrayEnabled"] is False
    assert api(Tracing="Active")["XrayEnabled"] is True


def test_every_resolver_runs_its_own_file_behind_its_own_data_source() -> None:
    assert (ROOT / only("AWS::AppSync::GraphQLSchema")["DefinitionS3Location"]).is_file()
    found = {
        name: (code(properties).stem, data_source(properties)["Type"])
        for name, properties in resolvers().items()
        if properties.get("Kind") != "PIPELINE"
    }
    assert found == {
        "Mutation.startStream": ("startStream", "AWS_LAMBDA"),
        "Mutation.cancelStream": ("cancelStream", "AMAZON_DYNAMODB"),
        "Mutation.publishToken": ("publishToken", "NONE"),
        "Subscription.onTokenReceived": ("onTokenReceived", "NONE"),
    }
    assert code(resolvers()["Query.getStream"]).stem == "getStream"
    assert [(step["Name"], code(step).stem) for step in steps()] == [(name, name) for name in PIPELINE]
    assert {data_source(step)["Name"] for step in steps()} == {"Sessions"}
    for properties in [*resolvers().values(), *steps()]:
        assert code(properties).is_file()
        assert properties["Runtime"] == {"Name": "APPSYNC_JS", "RuntimeVersion": "1.0.0"}


def test_no_resolver_is_attached_before_the_schema_is_there() -> None:
    for logical_id, resource in source()["Resources"].items():
        if resource["Type"] == "AWS::AppSync::Resolver":
            assert resource["DependsOn"] == "GraphQLSchema", logical_id


def test_clients_find_both_addresses() -> None:
    template = transformed()
    url = "https://abc123.appsync-api.eu-central-1.amazonaws.com/graphql"
    outputs = Scope.of(template, {}, {"GraphQLApi.GraphQLUrl": url}).resolve(
        {name: template["Outputs"][name]["Value"] for name in ("GraphQLUrl", "GraphQLRealtimeUrl")}
    )
    assert outputs == {
        "GraphQLUrl": url,
        "GraphQLRealtimeUrl": "wss://abc123.appsync-realtime-api.eu-central-1.amazonaws.com/graphql",
    }


# What AppSync may do


@pytest.mark.parametrize(
    ("role", "actions", "resource"),
    [
        ("GraphQLSessionsRole", {"dynamodb:GetItem", "dynamodb:Query"}, "SessionsTable.Arn"),
        ("GraphQLCancelRole", {"dynamodb:UpdateItem"}, "SessionsTable.Arn"),
        ("GraphQLStartRole", {"lambda:InvokeFunction"}, "AppSyncStartFunction.Arn"),
        ("GraphQLLogsRole", set(), ""),
    ],
)
def test_a_data_source_may_do_just_what_its_resolvers_do(role: str, actions: set[str], resource: str) -> None:
    statements = stack().statements(role)
    assert {action for statement in statements for action in as_list(statement["Action"])} == actions
    assert {statement["Resource"] for statement in statements} == ({resource} if resource else set())
    trust = stack().properties(role)["AssumeRolePolicyDocument"]["Statement"]
    assert [statement["Principal"] for statement in trust] == [{"Service": "appsync.amazonaws.com"}]


def test_appsync_writes_its_own_log_and_no_other() -> None:
    policy = stack().properties("GraphQLLogsPolicy")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert policy["Roles"] == ["GraphQLLogsRole"]
    assert statement["Resource"] == "GraphQLLogs.Arn"
    assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}


def test_publishing_is_for_the_functions_that_push_frames_and_on_this_field_alone() -> None:
    deployed = stack()
    publishers = {
        role: (statement["Action"], statement["Resource"])
        for role, _ in deployed.of_type("AWS::IAM::Role")
        for statement in deployed.statements(role)
        if any(action.startswith("appsync:") for action in as_list(statement["Action"]))
    }
    field = ("appsync:GraphQL", "GraphQLApi.Arn/types/Mutation/fields/publishToken")
    roles = {"AppSyncProcessFunctionRole", "DeliverFunctionRole", "RecoveryFunctionRole"}
    assert publishers == dict.fromkeys(roles, field)


def test_appsync_is_not_kept_waiting_for_longer_than_it_waits() -> None:
    assert stack().properties("AppSyncStartFunction")["Timeout"] < APPSYNC_SECONDS


# The queue


@pytest.mark.parametrize("timeout", ["30", "600", "900"])
def test_lambda_takes_the_queue_for_any_length_of_an_answer(timeout: str) -> None:
    deployed = stack(StreamTimeoutSeconds=timeout)
    # Lambda refuses a queue whose messages come back while their function may still run.
    function = deployed.properties("AppSyncProcessFunction")["Timeout"]
    assert int(deployed.properties("PromptQueue")["VisibilityTimeout"]) >= int(function) == int(timeout)
    recovery_start = deployed.properties("RecoveryStartFunction")["Timeout"]
    assert deployed.properties("PromptDeadLetterQueue")["VisibilityTimeout"] >= recovery_start


def test_a_prompt_is_kept_no_longer_than_its_session() -> None:
    deployed = stack(SessionTtlSeconds="7200")
    for queue in ("PromptQueue", "PromptDeadLetterQueue"):
        assert deployed.properties(queue)["MessageRetentionPeriod"] == "7200"


def test_the_worker_knows_which_try_is_the_last() -> None:
    deployed = stack(PromptMaxReceives="5")
    redrive = deployed.properties("PromptQueue")["RedrivePolicy"]
    assert redrive == {"deadLetterTargetArn": "PromptDeadLetterQueue.Arn", "maxReceiveCount": "5"}
    assert deployed.environment("AppSyncProcessFunction")["PROMPT_MAX_RECEIVES"] == "5"


def test_prompts_are_encrypted_and_travel_in_tls_alone() -> None:
    queues = {"PromptQueue", "PromptDeadLetterQueue"}
    assert all(stack().properties(queue)["SqsManagedSseEnabled"] is True for queue in queues)
    policy = stack().properties("PromptQueuePolicy")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert set(policy["Queues"]) == queues
    assert set(statement["Resource"]) == {f"{queue}.Arn" for queue in queues}
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "sqs:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_no_answer_waits_for_another_ones_end() -> None:
    source = event_source("AppSyncProcessFunction", PromptConcurrency="7")
    assert source["EventSourceArn"] == "PromptQueue.Arn"
    assert source["BatchSize"] == 1
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": "7"}


def test_prompts_whose_tries_are_used_up_are_recovered() -> None:
    source = event_source("RecoveryStartFunction")
    assert source["EventSourceArn"] == "PromptDeadLetterQueue.Arn"
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize(
    ("role", "queue", "actions"),
    [
        ("AppSyncStartFunctionRole", "PromptQueue.Arn", {"SendMessage"}),
        (
            "AppSyncProcessFunctionRole",
            "PromptQueue.Arn",
            {"ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"},
        ),
        (
            "RecoveryStartFunctionRole",
            "PromptDeadLetterQueue.Arn",
            {"ReceiveMessage", "DeleteMessage", "GetQueueAttributes"},
        ),
        (
            "DeliverFunctionRole",
            "FramesQueue.Arn",
            {"ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"},
        ),
    ],
)
def test_a_function_may_do_just_what_it_does_with_its_queue(role: str, queue: str, actions: set[str]) -> None:
    found = [
        (resource, action.removeprefix("sqs:"))
        for statement in stack().statements(role)
        for resource in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
        if action.startswith("sqs:")
    ]
    assert sorted(found) == sorted((queue, action) for action in actions)
