import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.template.test_permissions import HAIKU, as_list, may_stream, model
from tests.template.transformed import REGION, ROOT, source, stack
from tokenstream.recovery import Step
from tokenstream.sessions import OPEN_INDEX

MACHINE = "RecoveryStateMachine"


def machine() -> dict[str, Any]:
    uri = source()["Resources"][MACHINE]["Properties"]["DefinitionUri"]
    definition: dict[str, Any] = yaml.safe_load((ROOT / uri).read_text(encoding="utf-8"))
    return definition


def states() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = machine()["States"]
    return found


def following(state: dict[str, Any]) -> set[str]:
    """The states that may come next."""
    branches = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return {branch["Next"] for branch in branches if "Next" in branch} | {
        state[name] for name in ("Default",) if name in state
    }


def strings(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for item in value.values():
                yield from strings(item)
        case list():
            for item in value:
                yield from strings(item)
        case str():
            yield value


def payload(state: str) -> dict[str, Any]:
    found: dict[str, Any] = states()[state]["Arguments"]["Payload"]
    return found


def tasks() -> dict[str, dict[str, Any]]:
    return {name: state for name, state in states().items() if state["Type"] == "Task"}


# The state machine


def test_every_state_is_reached_and_leads_to_another_one_or_to_the_end() -> None:
    reached: set[str] = set()
    ahead = {machine()["StartAt"]}
    while ahead:
        name = ahead.pop()
        reached.add(name)
        after = following(states()[name])
        assert after or states()[name]["Type"] == "Succeed", name
        ahead |= after - reached
    assert reached == states().keys()


def test_every_way_of_going_on_that_a_look_may_decide_on_has_its_state() -> None:
    choices = {
        match[1]: choice["Next"]
        for choice in states()["Decide"]["Choices"]
        if (match := re.fullmatch(r"\{% \$states\.input\.next = '(\w+)' %\}", choice["Condition"]))
    }
    assert choices == {"generate": "BackOff", "wait": "Wait", "linger": "Linger", "give_up": "GiveUp"}
    assert choices.keys() | {"end"} == set(Step)
    assert states()["Decide"]["Default"] == "Over"


def test_a_service_that_is_out_for_a_while_ends_no_recovery() -> None:
    for name, task in tasks().items():
        assert task["Retry"], name
    for name in ("Look", "GiveUp"):
        [retry] = states()[name]["Retry"]
        assert retry["ErrorEquals"] == ["States.ALL"]
        pauses = [
            min(retry["IntervalSeconds"] * retry["BackoffRate"] ** number, retry["MaxDelaySeconds"])
            for number in range(retry["MaxAttempts"])
        ]
        assert sum(pauses) >= 600


def test_a_worker_that_breaks_uses_up_a_try_and_is_followed_by_another_look() -> None:
    *others, catch = states()["Generate"]["Catch"]
    assert catch == {"ErrorEquals": ["States.ALL"], "Assign": {"tries": "{% $tries + 1 %}"}, "Next": "Look"}
    # That Lambda has no room is no try.
    [throttled] = others
    assert throttled.keys() == {"ErrorEquals", "Next"}
    assert throttled["Next"] == "Look"
    assert "Lambda.TooManyRequestsException" in throttled["ErrorEquals"]
    # It may have sent frames: the same attempt is not begun again behind the recovery's back.
    retried = {error for retry in states()["Generate"]["Retry"] for error in retry["ErrorEquals"]}
    assert not retried & {"States.ALL", "States.TaskFailed", "States.Timeout", "Lambda.Unknown"}


def test_nothing_but_the_sessions_id_and_what_was_counted_is_ever_in_the_history() -> None:
    assert payload("Look").keys() == {"step", "sessionId", "tries", "lingered"}
    assert payload("Generate").keys() == {"step", "sessionId"}
    assert payload("GiveUp").keys() == {"step", "sessionId", "lingered"}
    assigned = {name for text in strings(machine()) for name in re.findall(r"\$(?!states\b)([a-z]\w*)", text)}
    assert assigned == {"sessionId", "tries", "lingered", "seconds"}
    taken = {path for text in strings(machine()) for path in re.findall(r"\$states\.([\w.]+)", text)}
    assert taken == {
        "input.sessionId",
        "input.next",
        "input.result",
        "result.Payload",
        "result.Payload.seconds",
        "result.Payload.result",
    }


def test_an_execution_does_not_outlive_every_session_of_a_stack_with_defaults() -> None:
    # The sweep starts another one for what is still open.
    assert machine()["TimeoutSeconds"] >= 2 * source()["Parameters"]["StreamTimeoutSeconds"]["MaxValue"]


def test_every_name_in_the_definition_is_filled_in_and_none_in_vain() -> None:
    names = {name for text in strings(machine()) for name in re.findall(r"\$\{(\w+)\}", text)}
    substitutions = stack().properties(MACHINE)["DefinitionSubstitutions"]
    assert substitutions == {"Partition": "aws", "RecoveryFunction": "RecoveryFunction.Arn"}
    assert names == substitutions.keys()
    assert machine()["QueryLanguage"] == "JSONata"
    assert stack().properties(MACHINE)["StateMachineType"] == "STANDARD"


@pytest.mark.parametrize(("tracing", "traced"), [("Active", True), ("Disabled", False)])
def test_executions_are_traced_where_the_functions_are_and_may_write_it(tracing: str, traced: bool) -> None:
    deployed = stack(Tracing=tracing)
    assert deployed.properties(MACHINE)["TracingConfiguration"]["Enabled"] is traced
    managed = deployed.properties(f"{MACHINE}Role").get("ManagedPolicyArns", [])
    assert managed == (["arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess"] if traced else [])


# What starts it


@pytest.mark.parametrize("function", ["RecoveryStartFunction", "RecoverySweepFunction"])
def test_a_recovery_is_started_by_the_two_functions_that_hear_of_failures(function: str) -> None:
    assert stack().environment(function)["RECOVERY_STATE_MACHINE"] == MACHINE
    statements = stack().statements(f"{function}Role")
    [statement] = [statement for statement in statements if "states:StartExecution" in as_list(statement["Action"])]
    assert statement["Resource"] == MACHINE


def test_nobody_else_starts_or_reads_executions() -> None:
    roles = {
        role
        for role, _ in stack().of_type("AWS::IAM::Role")
        for statement in stack().statements(role)
        if any(action.startswith("states:") for action in as_list(statement["Action"]))
    }
    assert roles == {"RecoveryStartFunctionRole", "RecoverySweepFunctionRole"}


def test_the_sweep_runs_every_minute_and_never_twice_at_once() -> None:
    [(_, schedule)] = stack().of_type("AWS::Scheduler::Schedule")
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["Target"]["Arn"] == "RecoverySweepFunction.Arn"
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert stack().properties("RecoverySweepFunction")["Timeout"] < 60
    [config] = [
        properties
        for _, properties in stack().of_type("AWS::Lambda::EventInvokeConfig")
        if properties["FunctionName"] == "RecoverySweepFunction"
    ]
    assert config["MaximumRetryAttempts"] == 0


def test_the_sweep_reads_the_index_of_the_open_sessions_and_not_the_answers() -> None:
    statements = stack().statements("RecoverySweepFunctionRole")
    queries = [statement["Resource"] for statement in statements if "dynamodb:Query" in as_list(statement["Action"])]
    assert queries == [f"SessionsTable.Arn/index/{OPEN_INDEX}"]
    [index] = stack().properties("SessionsTable")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == OPEN_INDEX
    assert [(key["AttributeName"], key["KeyType"]) for key in index["KeySchema"]] == [
        ("shard", "HASH"),
        ("createdAt", "RANGE"),
    ]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


# What it may do


def test_a_fallback_model_may_be_called_by_the_recovery_and_by_nobody_else() -> None:
    profile = f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/eu.amazon.nova-pro-v1:0"
    plain = "amazon.nova-pro-v1:0"
    for resource, fallback in ((model(plain), plain), (profile, "eu.amazon.nova-pro-v1:0")):
        deployed = stack(FallbackModel=fallback)
        may = {
            role
            for role, _ in deployed.of_type("AWS::IAM::Role")
            for statement in deployed.statements(role)
            if "bedrock:InvokeModelWithResponseStream" in as_list(statement["Action"])
            and resource
            in [pattern.replace("*", REGION, 1) for pattern in as_list(statement["Resource"])]
            + [
                pattern.replace("*", REGION, 1).replace("*", "123456789012")
                for pattern in as_list(statement["Resource"])
            ]
        }
        assert may == {"RecoveryFunctionRole"}
    assert not may_stream(model(plain))


def test_the_models_behind_a_fallback_profile_may_not_be_called_past_it() -> None:
    fallback = "eu.amazon.nova-pro-v1:0"
    conditions = [
        statement["Condition"]
        for statement in stack(FallbackModel=fallback).statements("RecoveryFunctionRole")
        if statement["Resource"] == "arn:*:bedrock:*::foundation-model/*"
    ]
    # Of the allowed models' profiles, and of this one.
    [of_fallback] = [str(condition) for condition in conditions if fallback in str(condition)]
    assert f"'arn:aws:bedrock:*:*:inference-profile/{fallback}'" in of_fallback
    assert len(conditions) == 2
    assert HAIKU not in of_fallback


def test_what_follows_a_failed_attempt_is_for_the_owner_of_the_stack_to_say() -> None:
    environment = stack(FallbackModel="amazon.nova-pro-v1:0", RecoveryAttempts="5").environment("RecoveryFunction")
    assert (environment["FALLBACK_MODEL"], environment["RECOVERY_ATTEMPTS"]) == ("amazon.nova-pro-v1:0", "5")
    assert stack().environment("RecoveryFunction")["FALLBACK_MODEL"] == ""


def test_an_answer_of_the_recovery_may_take_as_long_as_any_other() -> None:
    assert stack(StreamTimeoutSeconds="900").properties("RecoveryFunction")["Timeout"] == "900"


def test_somebody_hears_of_executions_that_fail() -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:alarms"
    [alarm] = [
        properties
        for _, properties in stack(AlarmTopicArn=topic).of_type("AWS::CloudWatch::Alarm")
        if properties["Dimensions"] == [{"Name": "StateMachineArn", "Value": MACHINE}]
    ]
    assert (alarm["MetricName"], alarm["AlarmActions"]) == ("ExecutionsFailed", [topic])
