"""A state machine that is written in YAML runs, and catches what its function raised: MiniStack made to do as AWS."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack
from local.cloud.workflow_gaps import close_workflow_gaps
from local.errors import StackError
from tests.graphql.emulated_api import zipped
from tests.local.stack_process import eventually

# As what stands in for a function in the stack fails.
CODE = """
import json

def handler(event, context):
    print("a line, for which MiniStack would wait")
    if event["session"] == "broken":
        raise Exception("no JSON")
    failure = {"errorType": "ModelBusy", "errorMessage": "later", "requestId": context.aws_request_id}
    raise Exception(json.dumps(failure))
"""
DEFINITION = """
QueryLanguage: JSONata
StartAt: Try
States:
  # A comment.
  Try:
    Type: Task
    Resource: arn:aws:states:::lambda:invoke
    Arguments:
      FunctionName: ${Function}
      Payload: { session: "{% $states.input.session %}" }
    Catch:
      - ErrorEquals: [ModelBusy]
        Assign: { cause: "{% $parse($states.errorOutput.Cause) %}" }
        Next: Caught
    Next: Caught
  Caught:
    Type: Pass
    Output: "{% {'type': $cause.errorType, 'message': $cause.errorMessage, 'tries': ${Tries}} %}"
    End: true
"""
TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
        },
        "Step": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "app.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"S3Bucket": "workflows", "S3Key": "step"},
            },
        },
        "Machine": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "StateMachineType": "STANDARD",
                "DefinitionS3Location": {"Bucket": "workflows", "Key": "definition"},
                "DefinitionSubstitutions": {"Function": {"Fn::GetAtt": ["Step", "Arn"]}, "Tries": 2},
            },
        },
        "EveryMinute": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {
                "ScheduleExpression": "rate(1 minute)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                # It would run in other tests.
                "State": "DISABLED",
                "Target": {"Arn": {"Fn::GetAtt": ["Step", "Arn"]}, "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]}},
            },
        },
    },
    "Outputs": {"Machine": {"Value": {"Ref": "Machine"}}},
}


@pytest.fixture
def deployed(aws: AwsClients) -> Iterator[DeployedStack]:
    aws("s3").create_bucket(Bucket="workflows")
    aws("s3").put_object(Bucket="workflows", Key="step", Body=zipped(CODE))
    aws("s3").put_object(Bucket="workflows", Key="definition", Body=DEFINITION.encode())
    name = f"workflow-{uuid4()}"
    aws("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(TEMPLATE))
    aws("cloudformation").get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    yield DeployedStack.read(aws, name)
    aws("cloudformation").delete_stack(StackName=name)


def _executed(aws: AwsClients, deployed: DeployedStack, session: str) -> dict[str, Any]:
    """Run the state machine to its end."""
    stepfunctions = aws("stepfunctions")
    started = stepfunctions.start_execution(
        stateMachineArn=deployed.output("Machine"), input=json.dumps({"session": session})
    )

    def ended() -> dict[str, Any] | None:
        execution: dict[str, Any] = stepfunctions.describe_execution(executionArn=started["executionArn"])
        return None if execution["status"] == "RUNNING" else execution

    execution: dict[str, Any] = eventually(ended, 60)
    return execution


def test_a_state_machine_catches_what_its_function_raised_by_name(aws: AwsClients, deployed: DeployedStack) -> None:
    close_workflow_gaps(aws, deployed)
    execution = _executed(aws, deployed, "s")
    assert execution["status"] == "SUCCEEDED"
    assert json.loads(execution["output"]) == {"type": "ModelBusy", "message": "later", "tries": 2}


def test_a_failure_of_the_emulator_itself_stays_as_it_is(aws: AwsClients, deployed: DeployedStack) -> None:
    close_workflow_gaps(aws, deployed)
    execution = _executed(aws, deployed, "broken")
    assert execution["status"] == "FAILED"
    assert "no JSON" in execution["cause"]


@pytest.mark.parametrize(
    ("resource", "name", "other", "named"),
    [
        ("Machine", "StateMachineType", "EXPRESS", "type of Machine"),
        ("EveryMinute", "ScheduleExpression", "rate(2 minutes)", "ScheduleExpression of EveryMinute"),
        ("EveryMinute", "State", "ENABLED", "State of EveryMinute"),
        ("EveryMinute", "Target", {"Arn": {"Fn::GetAtt": ["Role", "Arn"]}}, "target of EveryMinute"),
    ],
)
def test_what_was_not_kept_ends_the_start(
    aws: AwsClients, deployed: DeployedStack, resource: str, name: str, other: Any, named: str
) -> None:
    deployed.template["Resources"][resource]["Properties"][name] = other
    with pytest.raises(StackError, match=f"did not keep .*{named}"):
        close_workflow_gaps(aws, deployed)


def test_a_definition_with_a_gap_in_it_ends_the_start(aws: AwsClients, deployed: DeployedStack) -> None:
    state = {"Type": "Task", "Resource": "${Forgotten}", "End": True}
    definition = json.dumps({"QueryLanguage": "JSONata", "StartAt": "Try", "States": {"Try": state}})
    aws("stepfunctions").update_state_machine(stateMachineArn=deployed.output("Machine"), definition=definition)
    with pytest.raises(StackError, match=r"substitutions of Machine.*Forgotten"):
        close_workflow_gaps(aws, deployed)
