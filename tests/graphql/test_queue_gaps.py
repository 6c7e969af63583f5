"""A queue whose event source takes a number from a parameter is read, though the emulator makes a text of it."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack
from local.cloud.queue_gaps import close_queue_gaps
from local.errors import StackError
from tests.graphql.emulated_api import zipped
from tests.local.stack_process import eventually

BUCKET = "artifacts"
TEMPLATE: dict[str, Any] = {
    "Parameters": {"Number": {"Type": "Number", "Default": 40}},
    "Resources": {
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "VisibilityTimeout": {"Ref": "Number"},
                "MessageRetentionPeriod": 3600,
                "SqsManagedSseEnabled": True,
                "RedrivePolicy": {
                    "deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetters", "Arn"]},
                    "maxReceiveCount": {"Ref": "Number"},
                },
            },
        },
        "DeadLetters": {"Type": "AWS::SQS::Queue"},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
        },
        "Reader": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "app.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"S3Bucket": BUCKET, "S3Key": "reader"},
            },
        },
        "Source": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
                "FunctionName": {"Ref": "Reader"},
                "BatchSize": 1,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": {"Ref": "Number"}},
            },
        },
    },
    "Outputs": {"Queue": {"Value": {"Ref": "Queue"}}},
}


@pytest.fixture
def deployed(aws: AwsClients) -> Iterator[DeployedStack]:
    aws("s3").create_bucket(Bucket=BUCKET)
    aws("s3").put_object(Bucket=BUCKET, Key="reader", Body=zipped("def handler(event, context): return {}\n"))
    name = f"queue-{uuid4()}"
    aws("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(TEMPLATE))
    aws("cloudformation").get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    yield DeployedStack.read(aws, name)
    # One event source as the emulator has left it is in the way of all others.
    aws("cloudformation").delete_stack(StackName=name)


def test_a_message_reaches_its_function(aws: AwsClients, deployed: DeployedStack) -> None:
    close_queue_gaps(aws, deployed)
    queue = deployed.physical_ids["Queue"]
    aws("sqs").send_message(QueueUrl=queue, MessageBody="hello")
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def empty() -> bool:
        found = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=counts)["Attributes"]
        return set(found.values()) == {"0"}

    eventually(empty)


@pytest.mark.parametrize("name", ["VisibilityTimeout", "MessageRetentionPeriod"])
def test_a_setting_that_was_not_kept_ends_the_start(aws: AwsClients, deployed: DeployedStack, name: str) -> None:
    deployed.template["Resources"]["Queue"]["Properties"][name] = 77
    with pytest.raises(StackError, match=f"{name} of Queue"):
        close_queue_gaps(aws, deployed)


def test_a_number_of_tries_that_was_not_kept_ends_the_start(aws: AwsClients, deployed: DeployedStack) -> None:
    deployed.template["Resources"]["Queue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] = 4
    with pytest.raises(StackError, match="maxReceiveCount of Queue"):
        close_queue_gaps(aws, deployed)
