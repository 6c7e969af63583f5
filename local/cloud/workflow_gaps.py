"""What the emulator makes of state machines and schedules: it can't read a definition in YAML and fails each execution.

SAM uploads the definition as it is written, which CloudFormation takes; here it is put in as JSON.
"""

import json
import re

import yaml

from local.cloud.clients import AwsClients
from local.cloud.deployed_stack import DeployedStack, Resource, require_kept

_PLACEHOLDER = re.compile(r"\$\{\w+\}")


def close_workflow_gaps(aws: AwsClients, stack: DeployedStack) -> None:
    """Bring state machines and schedules in line; raises `StackError` where that fails. Blocks."""
    for machine in stack.resources("AWS::StepFunctions::StateMachine"):
        _state_machine(aws, machine)
    for schedule in stack.resources("AWS::Scheduler::Schedule"):
        _check_schedule(aws, stack, schedule)


def _state_machine(aws: AwsClients, machine: Resource) -> None:
    stepfunctions = aws("stepfunctions")
    deployed = stepfunctions.describe_state_machine(stateMachineArn=machine.physical_id)
    type_ = machine.properties.get("StateMachineType", "STANDARD")
    require_kept(f"the type of {machine.logical_id}", type_, deployed.get("type", "STANDARD"))
    require_kept(f"the substitutions of {machine.logical_id}", [], _PLACEHOLDER.findall(deployed["definition"]))
    definition = yaml.safe_load(deployed["definition"])
    stepfunctions.update_state_machine(stateMachineArn=machine.physical_id, definition=json.dumps(definition))
    found = stepfunctions.describe_state_machine(stateMachineArn=machine.physical_id)["definition"]
    require_kept(f"the definition of {machine.logical_id}", json.dumps(definition), found)


def _check_schedule(aws: AwsClients, stack: DeployedStack, schedule: Resource) -> None:
    found = aws("scheduler").get_schedule(Name=schedule.physical_id)
    for name, default in (("ScheduleExpression", None), ("State", "ENABLED")):
        wanted = stack.resolve(schedule.properties.get(name, default))
        require_kept(f"{name} of {schedule.logical_id}", wanted, found.get(name))
    function = stack.physical_ids[schedule.properties["Target"]["Arn"]["Fn::GetAtt"][0]]
    target = found["Target"]["Arn"].rpartition(":function:")[2]
    require_kept(f"the target of {schedule.logical_id}", function, target)
