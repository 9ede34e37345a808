"""Auto Scaling groups whose instances really boot. moto launches past its own RunInstances, in the first type, on demand, at once and
for nothing; it never sees that an instance has died, replaces whatever was terminated, and refuses nothing.

Theory of operation. The calls that move capacity are answered here, on moto's own record of the group, and one thread brings groups to
their desired capacity every `LOOK_S`: members that EC2 has no more become Unhealthy; where ReplaceUnhealthy is not suspended they are
taken out; what is missing is asked of EC2 through the front - so with capacity, spot, tags and the launch template's version as any
launch - and asked again at the next look where EC2 has none. What the group did is told to EventBridge. Instances of a group are
terminated through EC2 as well. Not here: warm pools, lifecycle hooks, policies, refreshes, weights, cooldowns, zones' balance.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError
from moto.autoscaling.models import FakeAutoScalingGroup, InstanceState
from moto.backends import get_backend

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.identity import ACCOUNT_ID

log = logging.getLogger("localcloud.asg")

LOOK_S = 0.5
AGAIN_S = 2.0  # after EC2 gave nothing
GONE = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
Forward = Callable[[AwsCall], AwsReply]


class Door(Protocol):
    """What of the front is needed here."""

    def intercept(self, service: str, action: str, interceptor: Callable[[AwsCall, Forward], AwsReply]) -> None: ...
    def observe(self, service: str, action: str, observer: Callable[[AwsCall, AwsReply], None]) -> None: ...
    def exclusive(self, service: str) -> Any: ...
    def client(self, service: str, region: str = ...) -> Any: ...


class _Member(InstanceState):
    """moto shows every member with its launch template's default version; this one keeps what it was launched with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        group = self.auto_scaling_group
        template = group.ec2_launch_template
        version = str(template.get_version(group.launch_template_version).number)
        self._booted_with = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "Version": version}

    @property
    def launch_template(self) -> dict[str, Any] | None:
        return self._booted_with


def _updated(
    _: Any, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
) -> Any:
    """CloudFormation's update of a group, in place: moto deletes it and makes another, without members."""
    said = cloudformation_json["Properties"]
    original_resource.update(
        availability_zones=said.get("AvailabilityZones", []),
        desired_capacity=None,
        max_size=int(said["MaxSize"]),
        min_size=int(said["MinSize"]),
        launch_config_name=said.get("LaunchConfigurationName"),
        launch_template=said.get("LaunchTemplate", {}),
        vpc_zone_identifier=",".join(said.get("VPCZoneIdentifier", [])) or None,
        health_check_period=None,
        health_check_type=said.get("HealthCheckType"),
        mixed_instances_policy=said.get("MixedInstancesPolicy", {}),
    )
    original_resource.tags = said.get("Tags", [])
    return original_resource


class AutoScaling:
    """All groups of the embedded cloud. `publish(event, region)` hands an event to EventBridge."""

    def __init__(self, front: Door, publish: Callable[[dict[str, Any], str], None]) -> None:
        self._front = front
        self._publish = publish
        self._stop = threading.Event()
        self._look = threading.Event()
        self._not_before: dict[str, float] = {}  # group → when EC2 is asked again
        self._lock = threading.RLock()  # one change of capacity at a time
        self._thread = threading.Thread(target=self._run, name="auto-scaling", daemon=True)
        self._moto_updates: Any = FakeAutoScalingGroup.__dict__["update_from_cloudformation_json"]
        setattr(FakeAutoScalingGroup, "update_from_cloudformation_json", classmethod(_updated))  # noqa: B010  # mypy: a method
        front.intercept("autoscaling", "SetDesiredCapacity", self._set_desired)
        front.intercept("autoscaling", "TerminateInstanceInAutoScalingGroup", self._terminate)
        front.observe("cloudformation", "UpdateStack", self._stack_updated)
        front.intercept("autoscaling", "DescribeAutoScalingGroups", self._describe)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        setattr(FakeAutoScalingGroup, "update_from_cloudformation_json", self._moto_updates)  # noqa: B010  # as above
        self._stop.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join(5)

    # -- calls

    def _set_desired(self, call: AwsCall, forward: Forward) -> AwsReply:
        name, desired = call.params.get("AutoScalingGroupName", ""), int(call.params.get("DesiredCapacity", "0"))
        with self._lock:
            group = _groups(call.region).get(name)
            if group is None:
                return refusal(
                    call,
                    "ValidationError",
                    f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found",
                    400,
                )
            least, most = int(group.min_size or 0), int(group.max_size or 0)
            if not least <= desired <= most:
                way, limit = ("above max", most) if desired > most else ("below min", least)
                return refusal(
                    call,
                    "ValidationError",
                    f"New SetDesiredCapacity value {desired} is {way} value {limit} for the AutoScalingGroup.",
                    400,
                )
            group.desired_capacity = desired
            self._scale_in(group)
        self._look.set()
        return _answer(call, "")

    def _terminate(self, call: AwsCall, forward: Forward) -> AwsReply:
        instance_id = call.params.get("InstanceId", "")
        decrement = call.params.get("ShouldDecrementDesiredCapacity", "false").lower() == "true"
        with self._lock:
            found = [
                (g, s) for g in _groups(call.region).values() for s in g.instance_states if s.instance.id == instance_id
            ]
            if not found:
                return refusal(
                    call,
                    "ValidationError",
                    f"Instance Id not found - No managed instance found for instance ID: {instance_id}",
                    400,
                )
            group, state = found[0]
            if decrement and group.desired_capacity <= int(group.min_size or 0):
                return refusal(
                    call,
                    "ValidationError",
                    f"Currently, desiredSize equals minSize ({int(group.min_size or 0)}). Terminating instance without replacement "
                    "will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower "
                    "group's min size.",
                    400,
                )
            if decrement:
                group.desired_capacity -= 1
            self._let_go(group, [state])
        self._look.set()
        cause = "an instance was taken out of service in response to a user request"
        activity = (
            f"<Activity><ActivityId>{uuid.uuid4()}</ActivityId><AutoScalingGroupName>{escape(group.name)}</AutoScalingGroupName>"
            f"<Cause>{cause}</Cause><Description>Terminating EC2 instance: {instance_id}</Description><Progress>0</Progress>"
            f"<StartTime>{_iso()}</StartTime><StatusCode>InProgress</StatusCode><Details>{{}}</Details></Activity>"
        )
        return _answer(call, activity)

    def _describe(self, call: AwsCall, forward: Forward) -> AwsReply:
        """Members are as healthy as their machines are."""
        with self._lock:
            for group in _groups(call.region).values():
                _mark_dead(group)
        return forward(call)

    def _stack_updated(self, call: AwsCall, reply: AwsReply) -> None:
        """A group follows its launch template: moto updates only what is written otherwise, and `!GetAtt Template.LatestVersionNumber`
        reads as before."""
        for stack in list(get_backend("cloudformation")[ACCOUNT_ID][call.region].stacks.values()):
            for resource in stack.template_dict.get("Resources", {}).values():
                said = resource.get("Properties", {})
                group = _groups(call.region).get(str(said.get("AutoScalingGroupName")))
                if resource.get("Type") != "AWS::AutoScaling::AutoScalingGroup" or group is None:
                    continue
                if "LatestVersionNumber" in str(said):
                    version = str(group.ec2_launch_template.latest_version_number)
                    group.launch_template_version = version
                    if group.mixed_instances_policy:
                        group.mixed_instances_policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"] = (
                            version
                        )

    # -- what a group does of itself

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look.wait(LOOK_S)
            self._look.clear()
            for region, backend in list(get_backend("autoscaling")[ACCOUNT_ID].items()):
                for group in list(backend.autoscaling_groups.values()):
                    try:
                        with self._lock:
                            self._bring(group, region)
                    except Exception:
                        log.exception("a group could not be looked at group=%s", group.name)

    def _bring(self, group: Any, region: str) -> None:
        """One look at one group."""
        suspended = {process["ProcessName"] for process in group.suspended_processes}
        _mark_dead(group)
        if "ReplaceUnhealthy" not in suspended:
            self._let_go(group, [state for state in group.instance_states if state.health_status == "Unhealthy"])
        missing = (group.desired_capacity or 0) - len(group.instance_states)
        rests = time.monotonic() < self._not_before.get(group.arn, 0.0)
        if missing > 0 and "Launch" not in suspended and not rests and not self._stop.is_set():
            self._launch(group, region, missing)

    def _launch(self, group: Any, region: str, count: int) -> None:
        for override in _overrides(group):
            try:
                answer = self._front.client("ec2", region).run_instances(**_request(group, override, count))
            except ClientError as error:
                message = str(error.response.get("Error", {}).get("Message", error))
                self._tell(
                    group,
                    region,
                    "EC2 Instance Launch Unsuccessful",
                    {"StatusMessage": message, "StatusCode": "Failed"},
                )
                continue
            known = get_backend("ec2")[ACCOUNT_ID][region]
            for item in answer["Instances"]:
                instance = known.get_instance(item["InstanceId"])
                vars(instance)["autoscaling_group"] = group
                protected = bool(group.new_instances_protected_from_scale_in)
                group.instance_states.append(_Member(instance, protected_from_scale_in=protected))
                self._tell(
                    group,
                    region,
                    "EC2 Instance Launch Successful",
                    {"EC2InstanceId": instance.id, "StatusCode": "InProgress"},
                )
            count -= len(answer["Instances"])
            if count <= 0:
                return
        self._not_before[group.arn] = time.monotonic() + AGAIN_S

    def _scale_in(self, group: Any) -> None:
        """Its own choice among those that are not protected, the oldest first."""
        over = len(group.instance_states) - group.desired_capacity
        free = [state for state in group.instance_states if not state.protected_from_scale_in]
        self._let_go(group, free[: max(0, over)])

    def _let_go(self, group: Any, states: list[Any]) -> None:
        if not states:
            return
        group.instance_states = [state for state in group.instance_states if state not in states]
        alive = [state.instance.id for state in states if state.instance.state not in GONE]
        if alive:
            self._front.client("ec2", group.region).terminate_instances(InstanceIds=alive)
        for state in states:
            self._tell(
                group,
                group.region,
                "EC2 Instance Terminate Successful",
                {"EC2InstanceId": state.instance.id, "StatusCode": "InProgress"},
            )

    def _tell(self, group: Any, region: str, kind: str, detail: dict[str, Any]) -> None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": kind,
            "source": "aws.autoscaling",
            "account": ACCOUNT_ID,
            "time": _iso(),
            "region": region,
            "resources": [group.arn],
            "detail": {"AutoScalingGroupName": group.name, **detail},
        }
        self._publish(event, region)


def _groups(region: str) -> dict[str, Any]:
    found: dict[str, Any] = get_backend("autoscaling")[ACCOUNT_ID][region].autoscaling_groups
    return found


def _mark_dead(group: Any) -> None:
    for state in group.instance_states:
        if state.instance.state in GONE:
            state.health_status = "Unhealthy"


def _overrides(group: Any) -> list[dict[str, Any]]:
    """Types in the order in which they are tried; capacity decides, not price."""
    policy = group.mixed_instances_policy or {}
    return list(policy.get("LaunchTemplate", {}).get("Overrides") or [{}])


def _request(group: Any, override: dict[str, Any], count: int) -> dict[str, Any]:
    policy = group.mixed_instances_policy or {}
    distribution = policy.get("InstancesDistribution", {})
    version = str(group.launch_template_version)
    tags = [{"Key": "aws:autoscaling:groupName", "Value": group.name}]
    tags += [{"Key": tag["Key"], "Value": tag["Value"]} for tag in group.tags if _truth(tag.get("PropagateAtLaunch"))]
    request: dict[str, Any] = {
        "LaunchTemplate": {"LaunchTemplateId": group.ec2_launch_template.id, "Version": version},
        "MinCount": 1,
        "MaxCount": count,
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    }
    if override.get("InstanceType"):
        request["InstanceType"] = override["InstanceType"]
    if group.vpc_zone_identifier:
        request["SubnetId"] = group.vpc_zone_identifier.split(",")[0]
    if policy and int(distribution.get("OnDemandPercentageAboveBaseCapacity", 100)) == 0:
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    return request


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _iso() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _answer(call: AwsCall, inside: str) -> AwsReply:
    action = call.action
    result = f"<{action}Result>{inside}</{action}Result>" if inside else ""
    body = (
        f'<{action}Response xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">{result}'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{action}Response>"
    )
    return AwsReply(200, {"Content-Type": "text/xml"}, body.encode())
