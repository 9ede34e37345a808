"""RunInstances as EC2 does it. moto 5.2.5 launches MinCount whatever MaxCount says, forgets ClientToken, takes four settings
from a launch template, gives the instance profile to the first instance only, and accepts any length of user data.

The request is completed (launch template merged under it), decided (capacity, token), and then handed to moto with MinCount set to
what is to be launched, so that DescribeInstances, tags and volumes stay moto's. What moto still leaves out is put right on its
instances before anyone else can see them.
"""

import base64
import binascii
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from botocore import xform_name
from botocore.serialize import create_serializer
from moto.backends import get_backend
from moto.core.exceptions import ServiceException
from moto.core.parse import EC2QueryParser
from moto.core.utils import get_service_model
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from werkzeug.datastructures import MultiDict

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.identity import ACCOUNT_ID, Principal

USER_DATA_MAX_BYTES = 16_384  # raw, before base64 †
COUNT_MAX = 1_000
# What a template holds and RunInstances does not, or what moto takes from the template itself.
TEMPLATE_ONLY = frozenset(
    {"InstanceRequirements", "RamDiskId", "BlockDeviceMappings", "TagSpecifications", "NetworkInterfaces"}
)


@dataclass(frozen=True)
class LaunchRequest:
    """What is asked of EC2's capacity; `market` is "spot" or "on_demand", `zone` None when any will do."""

    region: str
    zone: str | None
    instance_type: str
    market: str
    min_count: int
    max_count: int
    principal: Principal | None


@dataclass(frozen=True)
class Refusal:
    """An EC2 error: its code, EC2's sentence, the HTTP status (500 for what is EC2's own shortage)."""

    code: str
    message: str
    status: int = 400


def insufficient_capacity(request: LaunchRequest) -> Refusal:
    """EC2's answer when the zone has no such machine left †."""
    where = (
        f"in the Availability Zone you requested ({request.zone})" if request.zone else "in the region you requested"
    )
    return Refusal(
        "InsufficientInstanceCapacity",
        f"We currently do not have sufficient {request.instance_type} capacity {where}. "
        "Our system will be working on provisioning additional capacity.",
        500,
    )


Capacity = Callable[[LaunchRequest], int | Refusal]
Forward = Callable[[AwsCall], AwsReply]


class Door(Protocol):
    """What of the front is needed here."""

    def intercept(self, service: str, action: str, interceptor: Callable[[AwsCall, Forward], AwsReply]) -> None: ...
    def exclusive(self, service: str) -> Any: ...


class RunInstances:
    """The interceptor. `launched(instances, region)` gets moto's instances, already pending, in launch order.
    `capacity` may be replaced at any time: it answers how many machines there are, or the refusal."""

    def __init__(self, front: Door, launched: Callable[[list[Any], str], None]) -> None:
        self._front = front
        self._launched = launched
        self.capacity: Capacity = lambda request: request.max_count
        self._answered: dict[
            tuple[str, str], tuple[dict[str, Any], str]
        ] = {}  # by region and token: request, reservation
        self._lock = threading.Lock()
        self._token_locks: dict[tuple[str, str], threading.Lock] = {}
        front.intercept("ec2", "RunInstances", self)

    def __call__(self, call: AwsCall, forward: Forward) -> AwsReply:
        asked = parsed(call)
        token = asked.get("ClientToken")
        if not token:
            return self._run(call, asked, forward)
        # Two sends of one token may arrive together: the second waits and gets the first one's answer.
        with self._lock:
            lock = self._token_locks.setdefault((call.region, token), threading.Lock())
        with lock:
            return self._run(call, asked, forward)

    def _run(self, call: AwsCall, asked: dict[str, Any], forward: Forward) -> AwsReply:
        token = asked.get("ClientToken")
        if token and (call.region, token) in self._answered:
            return self._again(call, asked, forward)
        try:
            request = with_template(asked, call.region)
        except ServiceException as error:
            return refusal(call, str(error.code), str(error.message), 400)
        wrong = problem(request, call.region)
        if wrong:
            return refusal(call, wrong.code, wrong.message, wrong.status)
        count = self._count(call, request)
        if isinstance(count, Refusal):
            return refusal(call, count.code, count.message, count.status)
        call.body = serialized({**request, "MinCount": count, "MaxCount": count})
        with self._front.exclusive("ec2"):
            reply = forward(call)
            if reply.status >= 300:
                return reply
            instances = _of_reply(reply, call.region)
            _complete(instances, request)
            if token:
                self._answered[call.region, token] = (asked, _reservation_id(reply))
        self._launched(instances, call.region)
        return reply

    def _again(self, call: AwsCall, asked: dict[str, Any], forward: Forward) -> AwsReply:
        """A repeated token: the same reservation as it is now, or a refusal when anything else was asked for."""
        before, reservation = self._answered[call.region, asked["ClientToken"]]
        if before != asked:
            text = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
            return refusal(call, "IdempotentParameterMismatch", text, 400)
        fields = {"Action": "DescribeInstances", "Version": call.params.get("Version", "2016-11-15")}
        remembered = get_backend("ec2")[ACCOUNT_ID][call.region].reservations.get(reservation)
        known = list(remembered.instances) if remembered else []
        if not known:
            return refusal(call, "InternalError", f"Reservation {reservation} is no longer known.", 500)
        fields.update({f"InstanceId.{number}": instance.id for number, instance in enumerate(known, 1)})
        call.body = urlencode(fields).encode()
        reply = forward(call)
        found = re.search(rb"<reservationSet>\s*<item>(.*)</item>\s*</reservationSet>", reply.body, re.S)
        if reply.status >= 300 or found is None:
            return refusal(call, "InternalError", f"Reservation {reservation} is no longer known.", 500)
        head = b'<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>%s</requestId>'
        body = head % secrets.token_hex(16).encode() + found.group(1) + b"</RunInstancesResponse>"
        return AwsReply(200, reply.headers, body)

    def _count(self, call: AwsCall, request: dict[str, Any]) -> int | Refusal:
        zone = request.get("Placement", {}).get("AvailabilityZone") or _zone_of_subnet(request, call.region)
        spot = request.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        launch = LaunchRequest(
            region=call.region,
            zone=zone,
            instance_type=request["InstanceType"],
            market="spot" if spot else "on_demand",
            min_count=request["MinCount"],
            max_count=request["MaxCount"],
            principal=call.principal,
        )
        count = self.capacity(launch)
        if isinstance(count, Refusal):
            return count
        return min(count, launch.max_count) if count >= launch.min_count else insufficient_capacity(launch)


def parsed(call: AwsCall) -> dict[str, Any]:
    """The request by botocore's names."""
    operation = get_service_model("ec2").operation_model("RunInstances")
    values: Any = {"values": MultiDict(call.params)}
    return dict(EC2QueryParser(operation).parse(values))


def serialized(request: dict[str, Any]) -> bytes:
    """The request as the form that EC2 takes."""
    operation = get_service_model("ec2").operation_model("RunInstances")
    serializer: Any = create_serializer("ec2", include_validation=False)
    return urlencode(serializer.serialize_to_request(request, operation)["body"]).encode()


def with_template(asked: dict[str, Any], region: str) -> dict[str, Any]:
    """The request with what its launch template says wherever it says nothing itself; tags of both, the request's first.
    Raises moto's ServiceException for a template or version that does not exist."""
    reference = asked.get("LaunchTemplate")
    if not reference:
        return dict(asked)
    backend = get_backend("ec2")[ACCOUNT_ID][region]
    if "LaunchTemplateId" in reference:
        template = backend.get_launch_template(reference["LaunchTemplateId"])
    else:
        template = backend.get_launch_template_by_name(reference.get("LaunchTemplateName", ""))
    version = _version(template, str(reference.get("Version") or "$Default"))
    members = get_service_model("ec2").operation_model("RunInstances").input_shape.members
    request = dict(asked)
    for key, value in version.data.items():
        if key in members and key not in TEMPLATE_ONLY and value is not None:
            request.setdefault(key, _plain(value))
    nics = _plain(version.data.get("NetworkInterfaces"))
    if nics and "NetworkInterfaces" not in asked and "SubnetId" not in asked:
        request["NetworkInterfaces"] = nics
        if request.get("SecurityGroupIds") == _plain(version.data.get("SecurityGroupIds")):
            request.pop("SecurityGroupIds", None)
    request["LaunchTemplate"] = {"LaunchTemplateId": template.id, "Version": str(version.number)}
    tags = merged_tags(_plain(version.data.get("TagSpecifications") or []), asked.get("TagSpecifications", []))
    if tags:
        request["TagSpecifications"] = tags
    return request


def _version(template: Any, number: str) -> Any:
    from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound

    if number in ("$Latest", "$Default"):
        return template.get_version(number)
    if not number.isdigit() or not 1 <= int(number) <= len(template.versions):
        raise InvalidLaunchTemplateVersionNotFound(template_id=template.id, version=number)
    return template.versions[int(number) - 1]


def merged_tags(*specifications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tag specifications laid over each other, key by key; the last wins."""
    merged: dict[str, dict[str, str]] = {}
    for one in (each for specification in specifications for each in specification):
        merged.setdefault(one["ResourceType"], {}).update(
            {tag["Key"]: tag.get("Value", "") for tag in one.get("Tags", [])}
        )
    wanted = [
        (kind, tags)
        for kind, tags in merged.items()
        if kind in ("instance", "volume", "network-interface", "spot-instances-request")
    ]
    wanted.sort(key=lambda each: each[0] != "instance")
    return [
        {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        for kind, tags in wanted
    ]


def problem(request: dict[str, Any], region: str) -> Refusal | None:
    """What EC2 would refuse before it looks for a machine; first match wins."""
    try:
        low, high = int(request["MinCount"]), int(request["MaxCount"])
    except (KeyError, ValueError):
        return Refusal("MissingParameter", "The request must contain the parameters MinCount and MaxCount")
    if not 1 <= low <= high:
        return Refusal(
            "InvalidParameterValue",
            f"Value ({low}) for parameter minCount is invalid. It must be between 1 and maxCount ({high})",
        )
    if high > COUNT_MAX:
        return Refusal(
            "InstanceLimitExceeded", f"You requested {high} instances; one call launches at most {COUNT_MAX}."
        )
    request["MinCount"], request["MaxCount"] = low, high
    try:
        size = len(base64.b64decode(request.get("UserData", ""), validate=True))
    except (binascii.Error, ValueError):
        return Refusal("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data")
    if size > USER_DATA_MAX_BYTES:
        return Refusal("InvalidParameterValue", f"User data is limited to {USER_DATA_MAX_BYTES} bytes")
    if not request.get("ImageId"):
        return Refusal("MissingParameter", "The request must contain the parameter ImageId")
    kind = request.setdefault("InstanceType", "m1.small")
    if not any(offering["InstanceType"] == kind for offering in INSTANCE_TYPE_OFFERINGS["region"].get(region, ())):
        return Refusal("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    return None


def _plain(value: Any) -> Any:
    """A template's value without moto's own types; CloudFormation leaves numbers as text and truth as words, as here."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "items"):
        return {key: _plain(each) for key, each in value.items()}
    return str(value)


def _zone_of_subnet(request: dict[str, Any], region: str) -> str | None:
    subnets = [request.get("SubnetId"), *(nic.get("SubnetId") for nic in request.get("NetworkInterfaces", []))]
    known = get_backend("ec2")[ACCOUNT_ID][region].subnets
    for zones in known.values():
        for subnet in subnets:
            if subnet in zones:
                return str(zones[subnet].availability_zone)
    return None


def _of_reply(reply: AwsReply, region: str) -> list[Any]:
    reservation = get_backend("ec2")[ACCOUNT_ID][region].reservations[_reservation_id(reply)]
    return list(reservation.instances)


def _reservation_id(reply: AwsReply) -> str:
    found = re.search(rb"<reservationId>([^<]+)</reservationId>", reply.body)
    if found is None:
        raise ValueError("moto's answer to RunInstances holds no reservation")
    return found.group(1).decode()


def _complete(instances: list[Any], request: dict[str, Any]) -> None:
    """What moto leaves out of the instances that it has just made."""
    profile = request.get("IamInstanceProfile", {})
    spot = request.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    for instance in instances:
        instance._state.name, instance._state.code = "pending", 0
        instance.client_token = request.get("ClientToken", "")
        if profile and instance.id not in instance.ec2_backend.iam_instance_profile_associations:
            names = {f"iam_instance_profile_{xform_name(key)}": value for key, value in profile.items()}
            instance.ec2_backend.associate_iam_instance_profile(instance_id=instance.id, **names)
        if spot:
            instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
