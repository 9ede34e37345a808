"""Auto Scaling groups. Whatever a group would do of itself (replace, rebalance) is suspended by who made it (`infra/groups.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.refusals import asking, code_of, message_of
from chalicelib.core.groups import SUSPENDED, Group, Member, names
from chalicelib.errors import CapacityRefused

PROTECT_IDS_MAX = 50  # SetInstanceProtection takes no more


class AsgGroups:
    """`ports.Groups` on Auto Scaling, in whatever region is named."""

    def __init__(self, clients: Clients, stage: str) -> None:
        self._clients = clients
        self._stage = stage

    def of_pool(self, pool: str, regions: Sequence[str]) -> list[Group]:
        markets = names(self._stage, pool)
        found = []
        for region in regions:
            with asking(f"Auto Scaling in {region} was asked for the groups of pool {pool}"):
                answer = self._clients.get("autoscaling", region).describe_auto_scaling_groups(
                    AutoScalingGroupNames=sorted(markets)
                )
            found += [
                _group(region, markets[item["AutoScalingGroupName"]], item)
                for item in answer["AutoScalingGroups"]
                if not item.get("Status")  # it says something only while the group is being deleted
            ]
        return found

    def resize(self, region: str, group: str, desired: int) -> None:
        from botocore.exceptions import ClientError

        with asking(f"Auto Scaling in {region} was asked for {desired} hosts in group {group}"):
            try:
                self._clients.get("autoscaling", region).set_desired_capacity(
                    AutoScalingGroupName=group, DesiredCapacity=desired, HonorCooldown=False
                )
            except ClientError as error:
                if code_of(error) != "ValidationError":
                    raise
                raise CapacityRefused(code_of(error), f"group {group} does not take it: {message_of(error)}") from error

    def terminate(self, region: str, instance_id: str) -> bool:
        from botocore.exceptions import ClientError

        with asking(f"Auto Scaling in {region} was asked to terminate {instance_id}"):
            for decrement in (True, False):
                try:
                    self._clients.get("autoscaling", region).terminate_instance_in_auto_scaling_group(
                        InstanceId=instance_id, ShouldDecrementDesiredCapacity=decrement
                    )
                except ClientError as error:
                    if code_of(error) != "ValidationError":
                        raise
                    if decrement and "minSize" in message_of(error):
                        continue  # none is desired any more: nobody will come in its place
                    return False  # the same code for an instance that is in no group
                return True
        return False

    def protect(self, region: str, group: str, instance_ids: Sequence[str]) -> None:
        for first in range(0, len(instance_ids), PROTECT_IDS_MAX):
            with asking(f"Auto Scaling in {region} was asked to protect hosts of group {group}"):
                self._clients.get("autoscaling", region).set_instance_protection(
                    AutoScalingGroupName=group,
                    InstanceIds=list(instance_ids[first : first + PROTECT_IDS_MAX]),
                    ProtectedFromScaleIn=True,
                )


def _group(region: str, market: str, item: Mapping[str, Any]) -> Group:
    name = item["AutoScalingGroupName"]
    return Group(
        name=name,
        region=region,
        market=market,
        desired=item["DesiredCapacity"],
        size_max=item["MaxSize"],
        members=tuple(_member(name, instance) for instance in item.get("Instances", [])),
        acts=not {process["ProcessName"] for process in item.get("SuspendedProcesses", [])} >= SUSPENDED,
        version=_version(
            item.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification")
        )
        or _version(item.get("LaunchTemplate")),
    )


def _member(group: str, item: Mapping[str, Any]) -> Member:
    return Member(
        instance_id=item["InstanceId"],
        group=group,
        state=item["LifecycleState"],
        instance_type=item.get("InstanceType", ""),
        zone=item.get("AvailabilityZone"),
        protected=bool(item.get("ProtectedFromScaleIn")),
        healthy=item.get("HealthStatus", "Healthy").lower() == "healthy",
        version=_version(item.get("LaunchTemplate")),
    )


def _version(template: Mapping[str, Any] | None) -> str:
    return str((template or {}).get("Version", ""))
