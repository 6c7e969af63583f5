"""What the emulator makes of queues and their event sources: a number that comes from a parameter stays a text.

As an event source's `MaximumConcurrency` it would stop the poller of all queues.
"""

import json

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack, Resource, require_kept

_ATTRIBUTES = (
    "VisibilityTimeout",
    "MessageRetentionPeriod",
    "SqsManagedSseEnabled",
    "FifoQueue",
    "DeduplicationScope",
    "FifoThroughputLimit",
)


def close_queue_gaps(aws: AwsClients, stack: DeployedStack) -> None:
    """Bring queues and event sources in line with the template; raises `StackError` where that fails. Blocks."""
    for queue in stack.resources("AWS::SQS::Queue"):
        _check_queue(aws, stack, queue)
    for policy in stack.resources("AWS::SQS::QueuePolicy"):
        _check_policy(aws, stack, policy)
    for source in stack.resources("AWS::Lambda::EventSourceMapping"):
        _event_source(aws, stack, source)


def _check_queue(aws: AwsClients, stack: DeployedStack, queue: Resource) -> None:
    found = aws("sqs").get_queue_attributes(QueueUrl=queue.physical_id, AttributeNames=["All"])["Attributes"]
    for name in _ATTRIBUTES:
        if name in queue.properties:
            wanted = str(stack.resolve(queue.properties[name]))
            require_kept(f"{name} of {queue.logical_id}", wanted.lower(), found.get(name, "").lower())
    if redrive := queue.properties.get("RedrivePolicy"):
        tries = int(stack.resolve(redrive["maxReceiveCount"]))
        policy = json.loads(found.get("RedrivePolicy", "{}"))
        require_kept(f"maxReceiveCount of {queue.logical_id}", tries, int(policy.get("maxReceiveCount", 0)))


def _check_policy(aws: AwsClients, stack: DeployedStack, policy: Resource) -> None:
    """Without it the emulator's topics, as AWS's, deliver nothing to a queue."""
    wanted = [statement["Sid"] for statement in policy.properties["PolicyDocument"]["Statement"]]
    for queue in stack.resolve(policy.properties["Queues"]):
        attributes = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]
        found = [statement["Sid"] for statement in json.loads(attributes.get("Policy", "{}")).get("Statement", [])]
        require_kept(f"the statements of {policy.logical_id}", wanted, found)


def _event_source(aws: AwsClients, stack: DeployedStack, source: Resource) -> None:
    properties = source.properties
    scaling = {"MaximumConcurrency": int(stack.resolve(properties["ScalingConfig"]["MaximumConcurrency"]))}
    aws("lambda").update_event_source_mapping(UUID=source.physical_id, ScalingConfig=scaling)
    found = aws("lambda").get_event_source_mapping(UUID=source.physical_id)
    require_kept(f"ScalingConfig of {source.logical_id}", scaling, found.get("ScalingConfig"))
    for name in ("BatchSize", "FunctionResponseTypes"):
        require_kept(f"{name} of {source.logical_id}", stack.resolve(properties[name]), found.get(name))
