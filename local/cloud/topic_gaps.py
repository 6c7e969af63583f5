"""What the emulator drops of topics: everything that makes one a FIFO topic. Without it duplicates pass."""

from typing import Any

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack, Resource, require_kept

_ATTRIBUTES = ("FifoTopic", "ContentBasedDeduplication", "FifoThroughputScope", "KmsMasterKeyId")


def close_topic_gaps(aws: AwsClients, stack: DeployedStack) -> None:
    """Bring topics and their subscriptions in line with the template; raises `StackError` where that fails. Blocks."""
    for topic in stack.resources("AWS::SNS::Topic"):
        _topic(aws, stack, topic)
    for subscription in stack.resources("AWS::SNS::Subscription"):
        _check_subscription(aws, stack, subscription)


def _topic(aws: AwsClients, stack: DeployedStack, topic: Resource) -> None:
    wanted = {name: _text(stack.resolve(topic.properties[name])) for name in _ATTRIBUTES if name in topic.properties}
    sns = aws("sns")
    for name, value in wanted.items():
        sns.set_topic_attributes(TopicArn=topic.physical_id, AttributeName=name, AttributeValue=value)
    found = sns.get_topic_attributes(TopicArn=topic.physical_id)["Attributes"]
    for name, value in wanted.items():
        require_kept(f"{name} of {topic.logical_id}", value, found.get(name))


def _check_subscription(aws: AwsClients, stack: DeployedStack, subscription: Resource) -> None:
    properties, arn = subscription.properties, subscription.physical_id
    sns = aws("sns")
    raw = _text(stack.resolve(properties.get("RawMessageDelivery", False)))
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    require_kept(f"RawMessageDelivery of {subscription.logical_id}", raw, found.get("RawMessageDelivery"))
    queue = stack.physical_ids[properties["Endpoint"]["Fn::GetAtt"][0]]
    queue_arn = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    listed = sns.list_subscriptions_by_topic(TopicArn=stack.resolve(properties["TopicArn"]))["Subscriptions"]
    endpoints = [one["Endpoint"] for one in listed if one["SubscriptionArn"] == arn]
    require_kept(f"the queue of {subscription.logical_id}", [queue_arn], endpoints)


def _text(value: Any) -> str:
    """Write a property as the service has its attribute."""
    return str(value).lower() if isinstance(value, bool) else str(value)
