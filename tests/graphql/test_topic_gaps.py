"""Queued frames keep their order, come once, and wait for nobody else's: MiniStack made to do as SNS and SQS."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack
from local.cloud.queue_gaps import close_queue_gaps
from local.cloud.topic_gaps import close_topic_gaps
from local.errors import StackError
from tests.graphql.emulated_api import zipped
from tests.local.stack_process import eventually

CODE = """
import json, time
from pathlib import Path

def handler(event, context):
    print("a line, for which MiniStack would wait")
    for record in event["Records"]:
        message = json.loads(record["body"])
        folder = Path(message["folder"])
        with (folder / "begun").open("a") as begun:
            begun.write(message["name"] + "\\n")
        while message["waits"] and not (folder / "gate").exists():
            time.sleep(0.01)
        with (folder / "done").open("a") as done:
            done.write(message["name"] + "\\n")
    return {"batchItemFailures": []}
"""
ARN = ["Queue", "Arn"]
SECONDS = 60.0
"""When a test gives up waiting; far beyond what a busy machine needs."""
TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Topic": {
            "Type": "AWS::SNS::Topic",
            "Properties": {
                "TopicName": {"Fn::Sub": "${AWS::StackName}.fifo"},
                "FifoTopic": True,
                "ContentBasedDeduplication": False,
                "FifoThroughputScope": "MessageGroup",
            },
        },
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {
                "TopicArn": {"Ref": "Topic"},
                "Protocol": "sqs",
                "Endpoint": {"Fn::GetAtt": ARN},
                "RawMessageDelivery": True,
            },
        },
        "Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "FifoQueue": True,
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            },
        },
        "Policy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "Topic",
                            "Effect": "Allow",
                            "Principal": {"Service": "sns.amazonaws.com"},
                            "Action": "sqs:SendMessage",
                            "Resource": {"Fn::GetAtt": ARN},
                            "Condition": {"ArnEquals": {"aws:SourceArn": {"Ref": "Topic"}}},
                        }
                    ],
                },
            },
        },
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
        },
        "Reader": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "app.handler",
                "Timeout": 300,
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"S3Bucket": "topics", "S3Key": "reader"},
            },
        },
        "Source": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ARN},
                "FunctionName": {"Ref": "Reader"},
                "BatchSize": 10,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": 2},
            },
        },
    },
    "Outputs": {"Topic": {"Value": {"Ref": "Topic"}}},
}


class Queued:
    """A topic whose messages end as lines of files; a message may wait there for `gate`."""

    def __init__(self, aws: AwsClients, stack: DeployedStack, folder: Path) -> None:
        self.stack = stack
        self._sns = aws("sns")
        self._folder = folder
        self._run = uuid4()

    def publish(self, group: str, name: str, *, waits: bool = False) -> None:
        self._sns.publish(
            TopicArn=self.stack.output("Topic"),
            Message=json.dumps({"folder": str(self._folder), "name": name, "waits": waits}),
            MessageGroupId=group,
            MessageDeduplicationId=f"{self._run}-{name}",
        )

    def open_gate(self) -> None:
        (self._folder / "gate").touch()

    def lines(self, what: str) -> list[str]:
        file = self._folder / what
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def queued(aws: AwsClients, tmp_path: Path) -> Iterator[Queued]:
    aws("s3").create_bucket(Bucket="topics")
    aws("s3").put_object(Bucket="topics", Key="reader", Body=zipped(CODE))
    name = f"topic-{uuid4()}"
    aws("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(TEMPLATE))
    aws("cloudformation").get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    queued = Queued(aws, DeployedStack.read(aws, name), tmp_path)
    yield queued
    queued.open_gate()
    aws("cloudformation").delete_stack(StackName=name)


def test_a_recipient_who_keeps_his_message_waiting_keeps_only_his_own_later_ones(
    aws: AwsClients, queued: Queued
) -> None:
    close_topic_gaps(aws, queued.stack)
    close_queue_gaps(aws, queued.stack)
    queued.publish("slow", "slow 1", waits=True)
    eventually(lambda: queued.lines("begun") == ["slow 1"], SECONDS)
    for name in ("slow 2", "slow 3"):
        queued.publish("slow", name)
    # Of several publishers, or of one that had no answer.
    for name in ("quick 1", "quick 2", "quick 1"):
        queued.publish("quick", name)
    eventually(lambda: "quick 2" in queued.lines("done"), SECONDS)
    assert queued.lines("done") == ["quick 1", "quick 2"]
    queued.open_gate()
    eventually(lambda: "slow 3" in queued.lines("done"), SECONDS)
    assert queued.lines("done") == ["quick 1", "quick 2", "slow 1", "slow 2", "slow 3"]


@pytest.mark.parametrize(
    ("resource", "name", "other", "named"),
    [
        ("Queue", "DeduplicationScope", "queue", "DeduplicationScope of Queue"),
        ("Queue", "FifoThroughputLimit", "perQueue", "FifoThroughputLimit of Queue"),
        ("Policy", "PolicyDocument", {"Statement": [{"Sid": "Other"}]}, "statements of Policy"),
        ("Subscription", "RawMessageDelivery", False, "RawMessageDelivery of Subscription"),
        ("Subscription", "TopicArn", None, "queue of Subscription"),
    ],
)
def test_what_was_not_kept_ends_the_start(
    aws: AwsClients, queued: Queued, resource: str, name: str, other: Any, named: str
) -> None:
    properties = queued.stack.template["Resources"][resource]["Properties"]
    # Another topic's subscribers, of which this queue is none.
    properties[name] = other if other is not None else aws("sns").create_topic(Name=f"other-{uuid4()}")["TopicArn"]
    close = close_topic_gaps if resource == "Subscription" else close_queue_gaps
    with pytest.raises(StackError, match=f"did not keep .*{named}"):
        close(aws, queued.stack)
