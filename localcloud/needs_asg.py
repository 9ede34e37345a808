"""What a call of Auto Scaling needs to be allowed: the group's ARN and its tags, also where the call names only an instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.backends import get_backend

from localcloud.calls import AwsCall
from localcloud.identity import ACCOUNT_ID
from localcloud.needs_ec2 import Context
from localcloud.policy import Request


def autoscaling(call: AwsCall, context: Context) -> Iterator[Request]:
    """Describe calls know no resource; all others are about one group."""
    name = call.params.get("AutoScalingGroupName")
    groups = get_backend("autoscaling")[ACCOUNT_ID][call.region].autoscaling_groups
    group = groups.get(name) if name else _of_instance(groups, call.params.get("InstanceId"))
    if call.action.startswith("Describe") or (group is None and not name):
        yield Request(f"autoscaling:{call.action}", "*", context)
        return
    arn = group.arn if group else call.arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{name}")
    tags = {tag["Key"]: tag["Value"] for tag in group.tags} if group else {}
    keyed = {**context}
    for key, value in tags.items():
        keyed[f"aws:resourcetag/{key.lower()}"] = keyed[f"autoscaling:resourcetag/{key.lower()}"] = [value]
    yield Request(f"autoscaling:{call.action}", arn, keyed)


def _of_instance(groups: dict[str, Any], instance_id: str | None) -> Any:
    for group in groups.values():
        if any(state.instance.id == instance_id for state in group.instance_states):
            return group
    return None
