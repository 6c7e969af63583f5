from typing import Any

import pytest

from tests.template.test_permissions import as_list
from tests.template.transformed import stack

STREAMING = {"WsStreamFunction": "WEBSOCKET_ENDPOINT", "AppSyncProcessFunction": "GRAPHQL_ENDPOINT"}
PUSHING = ["WsMessageFunction", "WsStreamFunction", "AppSyncProcessFunction", "RecoveryFunction"]
DIRECT_ENDPOINTS = {"WEBSOCKET_ENDPOINT", "GRAPHQL_ENDPOINT"}


def frames_queue() -> dict[str, Any]:
    return stack().properties("FramesQueue")


def actions_of(role: str, **parameters: str) -> set[str]:
    return {action for statement in stack(**parameters).statements(role) for action in as_list(statement["Action"])}


# From the workers to the queue


def test_frames_stay_in_order_and_a_busy_session_slows_no_other_one_down() -> None:
    topic, queue = stack().properties("FramesTopic"), frames_queue()
    assert (topic["FifoTopic"], queue["FifoQueue"]) == (True, True)
    assert topic["FifoThroughputScope"] == "MessageGroup"
    assert (queue["DeduplicationScope"], queue["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")


def test_no_frame_is_taken_for_another_one_with_the_same_text() -> None:
    assert stack().properties("FramesTopic")["ContentBasedDeduplication"] is False
    assert not frames_queue().get("ContentBasedDeduplication", False)


def test_two_stacks_have_a_topic_each_and_its_name_is_a_fifo_topics() -> None:
    assert stack().properties("FramesTopic")["TopicName"] == "tokenstream-frames.fifo"


def test_the_queue_gets_the_frames_themselves_and_whatever_sns_could_not_hand_over_is_kept() -> None:
    subscription = stack().properties("FramesSubscription")
    assert (subscription["TopicArn"], subscription["Protocol"]) == ("FramesTopic", "sqs")
    assert subscription["Endpoint"] == "FramesQueue.Arn"
    assert subscription["RawMessageDelivery"] is True
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": "FramesDeadLetterQueue.Arn"}


def test_frames_are_encrypted_where_they_lie() -> None:
    assert stack().properties("FramesTopic")["KmsMasterKeyId"] == "alias/aws/sns"
    for queue in ("FramesQueue", "FramesDeadLetterQueue"):
        # A key of the account's for SQS would keep SNS out.
        assert stack().properties(queue)["SqsManagedSseEnabled"] is True
        assert "KmsMasterKeyId" not in stack().properties(queue)


def test_frames_travel_in_tls_alone_and_nobody_but_the_topic_puts_any_in() -> None:
    policy = stack().properties("FramesQueuePolicy")
    queues = {"FramesQueue", "FramesDeadLetterQueue"}
    statements = {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}
    assert set(policy["Queues"]) == queues
    topic, tls_only = statements.pop("Topic"), statements.pop("TlsOnly")
    assert not statements
    for statement in (topic, tls_only):
        assert set(statement["Resource"]) == {f"{queue}.Arn" for queue in queues}
    assert (topic["Effect"], topic["Principal"]) == ("Allow", {"Service": "sns.amazonaws.com"})
    assert (topic["Action"], topic["Condition"]) == ("sqs:SendMessage", {"ArnEquals": {"aws:SourceArn": "FramesTopic"}})
    refused = ("Deny", "*", "sqs:*", {"Bool": {"aws:SecureTransport": "false"}})
    assert (tls_only["Effect"], tls_only["Principal"], tls_only["Action"], tls_only["Condition"]) == refused
    senders = [role for role, _ in stack().of_type("AWS::IAM::Role") if "sqs:SendMessage" in actions_of(role)]
    assert senders == ["AppSyncStartFunctionRole"], "prompts are put in by a function"
    allowed = [statement["Resource"] for statement in stack().statements("AppSyncStartFunctionRole")]
    assert "FramesQueue.Arn" not in allowed


def test_the_topic_takes_frames_in_tls_alone() -> None:
    policy = stack().properties("FramesTopicPolicy")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert policy["Topics"] == ["FramesTopic"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "sns:Publish")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


# From the queue to the clients


def test_frames_that_cannot_be_delivered_are_kept_for_most_of_an_hour_and_then_put_aside() -> None:
    queue = frames_queue()
    assert queue["MessageRetentionPeriod"] == 3600
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "FramesDeadLetterQueue.Arn"
    # deliver hides what fails for ten seconds at most.
    assert 2400 <= queue["RedrivePolicy"]["maxReceiveCount"] * 10 <= 3600


def test_a_queue_with_an_order_has_dead_letters_with_an_order_that_live_as_long_as_their_session() -> None:
    dead = stack(SessionTtlSeconds="7200").properties("FramesDeadLetterQueue")
    assert dead["FifoQueue"] is True
    assert dead["MessageRetentionPeriod"] == "7200"


def test_frames_are_not_delivered_a_second_time_while_the_first_still_runs() -> None:
    assert frames_queue()["VisibilityTimeout"] >= stack().properties("DeliverFunction")["Timeout"]


def test_one_session_that_waits_does_not_hold_up_its_whole_batch() -> None:
    [source] = [
        properties
        for _, properties in stack(DeliverConcurrency="9").of_type("AWS::Lambda::EventSourceMapping")
        if properties["EventSourceArn"] == "FramesQueue.Arn"
    ]
    assert source["FunctionName"] == "DeliverFunction"
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": "9"}
    assert source["BatchSize"] == 10
    # A FIFO queue's source that waits for a batch would hold each token back.
    assert not source.get("MaximumBatchingWindowInSeconds")


def test_deliver_reaches_both_kinds_of_clients_whatever_the_switch_says() -> None:
    for switch in ("true", "false"):
        assert stack(DirectSend=switch).environment("DeliverFunction").keys() >= DIRECT_ENDPOINTS
        assert actions_of("DeliverFunctionRole", DirectSend=switch) >= {
            "execute-api:ManageConnections",
            "appsync:GraphQL",
        }


# The switch


@pytest.mark.parametrize(("function", "endpoint"), STREAMING.items())
def test_a_worker_knows_its_own_direct_way_and_the_topic(function: str, endpoint: str) -> None:
    environment = stack().environment(function)
    assert environment["DIRECT_SEND"] == "true"
    assert environment["FRAMES_TOPIC"] == "FramesTopic"
    assert environment.keys() & DIRECT_ENDPOINTS == {endpoint}


@pytest.mark.parametrize("function", PUSHING)
def test_where_nothing_is_sent_directly_a_worker_can_do_nothing_but_queue(function: str) -> None:
    environment = stack(DirectSend="false").environment(function)
    assert environment["DIRECT_SEND"] == "false"
    assert environment["FRAMES_TOPIC"] == "FramesTopic"
    assert not environment.keys() & DIRECT_ENDPOINTS
    direct = {"execute-api:ManageConnections", "appsync:GraphQL"}
    assert not actions_of(f"{function}Role", DirectSend="false") & direct
    assert actions_of(f"{function}Role") & direct


@pytest.mark.parametrize("function", ["WsMessageFunction", "AppSyncStartFunction"])
@pytest.mark.parametrize("switch", ["true", "false"])
def test_the_front_doors_know_which_way_a_stream_will_go(function: str, switch: str) -> None:
    assert stack(DirectSend=switch).environment(function)["DIRECT_SEND"] == switch


def test_what_is_queued_is_from_the_functions_that_talk_to_clients_and_goes_to_this_topic_alone() -> None:
    publishers = {
        role: statement["Resource"]
        for role, _ in stack().of_type("AWS::IAM::Role")
        for statement in stack().statements(role)
        if any(action.startswith("sns:") for action in as_list(statement["Action"]))
    }
    roles = [f"{function}Role" for function in PUSHING]
    assert publishers == dict.fromkeys(roles, "FramesTopic")


# Who hears of it


@pytest.mark.parametrize(
    ("queue", "metric"),
    [
        ("FramesQueue.QueueName", "ApproximateAgeOfOldestMessage"),
        ("FramesDeadLetterQueue.QueueName", "ApproximateNumberOfMessagesVisible"),
    ],
)
def test_somebody_hears_of_frames_that_wait(queue: str, metric: str) -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:alarms"
    dimensions = [{"Name": "QueueName", "Value": queue}]
    [alarm] = [
        properties
        for _, properties in stack(AlarmTopicArn=topic).of_type("AWS::CloudWatch::Alarm")
        if (properties["MetricName"], properties["Dimensions"]) == (metric, dimensions)
    ]
    assert alarm["AlarmActions"] == [topic]


@pytest.mark.parametrize("path", ["websocket", "appsync"])
def test_somebody_hears_of_a_direct_way_that_keeps_failing(path: str) -> None:
    dimensions = [{"Name": "service", "Value": "tokenstream"}, {"Name": "path", "Value": path}]
    [alarm] = [
        properties
        for _, properties in stack().of_type("AWS::CloudWatch::Alarm")
        if (properties["MetricName"], properties["Dimensions"]) == ("Failovers", dimensions)
    ]
    assert alarm["Namespace"] == "tokenstream"
