"""Create or update one CloudFormation stack and wait until it is there.

A stack is brought to the template from whatever state it is in: absent → create; its very first creation failed
(ROLLBACK_COMPLETE and kin: CloudFormation allows nothing but deletion) → delete and create again; busy → wait; else update, where
"no updates" is success. What CloudFormation says about the first resource that failed is the error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.errors import InfraError
from infra.terminal import Report

POLL_S = 2.0
WAIT_MAX_S = 1800.0
UNUSABLE = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS", "DELETE_FAILED"})
DONE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})


def ensure(
    cfn: Any, name: str, template: Path, parameters: Mapping[str, str], tags: Mapping[str, str], report: Report
) -> dict[str, str]:
    """Bring the stack to the template; return its outputs. Raises InfraError if CloudFormation cannot."""
    request = {
        "StackName": name,
        "TemplateBody": template.read_text(encoding="utf-8"),
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": k, "Value": v} for k, v in tags.items()],
    }
    stack = _settle(cfn, name, report)
    if stack is not None and stack["StackStatus"] in UNUSABLE:
        report(
            f"{name}: its first creation failed ({stack['StackStatus']}); deleting what is left of it and creating it again"
        )
        cfn.delete_stack(StackName=name)
        stack = _settle(cfn, name, report)
        if stack is not None:
            raise InfraError(
                f"The stack {name} cannot be deleted ({stack['StackStatus']}): {_first_failure(cfn, name)}"
            )
    if stack is None:
        report(f"{name}: creating")
        cfn.create_stack(**request, OnFailure="ROLLBACK")
    else:
        try:
            cfn.update_stack(**request)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            report(f"{name}: nothing to change")
            return _outputs(stack)
        report(f"{name}: updating")
    stack = _settle(cfn, name, report)
    if stack is None or stack["StackStatus"] not in DONE:
        status = stack["StackStatus"] if stack else "gone"
        raise InfraError(
            f"The stack {name} could not be made as its template says ({status}): {_first_failure(cfn, name)}"
        )
    return _outputs(stack)


def _settle(cfn: Any, name: str, report: Report) -> dict[str, Any] | None:
    """The stack once CloudFormation is not busy with it; None if there is none."""
    deadline = time.monotonic() + WAIT_MAX_S
    said = ""
    while True:
        stack = described(cfn, name)
        if (
            stack is None
            or not stack["StackStatus"].endswith("_IN_PROGRESS")
            or stack["StackStatus"] == "REVIEW_IN_PROGRESS"
        ):
            return stack
        if stack["StackStatus"] != said:
            said = stack["StackStatus"]
            report(f"{name}: {said.lower().replace('_', ' ')} …")
        if time.monotonic() > deadline:
            raise InfraError(
                f"The stack {name} has been {said} for {WAIT_MAX_S / 60:.0f} minutes; look at its events in the console."
            )
        time.sleep(POLL_S)


def described(cfn: Any, name: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None if there is none."""
    try:
        stacks = cfn.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    stack: dict[str, Any] = stacks[0]
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}


def _first_failure(cfn: Any, name: str) -> str:
    """Newest events come first; the first that failed after the last start of the stack is the cause."""
    cause = "CloudFormation gives no reason"
    for event in cfn.describe_stack_events(StackName=name)["StackEvents"]:
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in event.get("ResourceStatusReason", ""):
            cause = f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        if event["LogicalResourceId"] == name and event["ResourceStatus"] in (
            "CREATE_IN_PROGRESS",
            "UPDATE_IN_PROGRESS",
        ):
            break
    return cause
