"""RunInstances as EC2 does it. moto 5.2.5 launches MinCount whatever MaxCount says, forgets ClientToken, takes four settings
from a launch template, gives the instance profile to the first instance only, and accepts any length of user data.

The request is completed (launch template merged under it), decided (capacity, token), and then handed to moto with MinCount set to
what is to be launched, so that DescribeInstances, tags and volumes stay moto's. What moto still leaves out is put right on its
instances before anyone else can see them.
"""

import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlencode

from botocore import xform_name
from moto.backends import get_backend
from moto.core.exceptions import ServiceException

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.gaps.ec2_launch_request import (
    Capacity,
    LaunchRequest,
    Refusal,
    Room,
    insufficient_capacity,
    parsed,
    problem,
    serialized,
)
from localcloud.gaps.ec2_launch_template import with_template
from localcloud.identity import ACCOUNT_ID

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
        self._launching = threading.RLock()
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
        with self._launching:  # what one launch takes, the next one must find taken
            room = self._room(call, request)
            if isinstance(room, Refusal):
                return refusal(call, room.code, room.message, room.status)
            if room.zone is not None and "SubnetId" not in request and "NetworkInterfaces" not in request:
                request["Placement"] = {**request.get("Placement", {}), "AvailabilityZone": room.zone}
            call.body = serialized({**request, "MinCount": room.count, "MaxCount": room.count})
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

    def _room(self, call: AwsCall, request: dict[str, Any]) -> Room | Refusal:
        zone = request.get("Placement", {}).get("AvailabilityZone") or _zone_of_subnet(request, call.region)
        spot, max_price = _spot(request)
        launch = LaunchRequest(
            region=call.region,
            zone=zone,
            instance_type=request["InstanceType"],
            market="spot" if spot else "on_demand",
            min_count=request["MinCount"],
            max_count=request["MaxCount"],
            principal=call.principal,
            max_price=max_price,
        )
        answer = self.capacity(launch)
        if isinstance(answer, Refusal):
            return answer
        room = answer if isinstance(answer, Room) else Room(answer)
        if room.count < launch.min_count:
            return insufficient_capacity(launch)
        return replace(room, count=min(room.count, launch.max_count))


def _spot(request: dict[str, Any]) -> tuple[bool, float | None]:
    """Whether a launch is of spot, and the most that it would pay (None: the on-demand price)."""
    market = request.get("InstanceMarketOptions", {})
    price = market.get("SpotOptions", {}).get("MaxPrice")
    return market.get("MarketType") == "spot", float(price) if price else None


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
    spot, max_price = _spot(request)
    for instance in instances:
        instance._state.name, instance._state.code = "pending", 0
        instance.client_token = request.get("ClientToken", "")
        if profile and instance.id not in instance.ec2_backend.iam_instance_profile_associations:
            names = {f"iam_instance_profile_{xform_name(key)}": value for key, value in profile.items()}
            instance.ec2_backend.associate_iam_instance_profile(instance_id=instance.id, **names)
        if spot:
            instance.spot_max_price = max_price
            instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
