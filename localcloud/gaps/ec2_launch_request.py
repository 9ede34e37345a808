"""A launch as EC2 is asked for it: what it says, what of it EC2 refuses before it looks for a machine, and what capacity is asked."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from botocore.serialize import create_serializer
from moto.core.parse import EC2QueryParser
from moto.core.utils import get_service_model
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from werkzeug.datastructures import MultiDict

from localcloud.calls import AwsCall
from localcloud.identity import Principal

USER_DATA_MAX_BYTES = 16_384  # raw, before base64 †
COUNT_MAX = 1_000


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
    max_price: float | None = None  # of spot, USD an hour


@dataclass(frozen=True)
class Room:
    """EC2 can launch `count` of what is asked, in `zone` (None: wherever it would anyway)."""

    count: int
    zone: str | None = None


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


Capacity = Callable[[LaunchRequest], int | Room | Refusal]


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
    price = request.get("InstanceMarketOptions", {}).get("SpotOptions", {}).get("MaxPrice")
    if price is not None and not re.fullmatch(r"\d*\.?\d+", price):
        return Refusal("InvalidParameterValue", f"Invalid value '{price}' for spotPrice.")
    if not request.get("ImageId"):
        return Refusal("MissingParameter", "The request must contain the parameter ImageId")
    kind = request.setdefault("InstanceType", "m1.small")
    if not any(offering["InstanceType"] == kind for offering in INSTANCE_TYPE_OFFERINGS["region"].get(region, ())):
        return Refusal("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    return None
