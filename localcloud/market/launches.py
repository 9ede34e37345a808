"""Whether EC2 can launch: quota first, then the price, then what is left of the offering; and in which zone, where none is named."""

from __future__ import annotations

from dataclasses import replace

from localcloud.gaps.ec2_launch_request import LaunchRequest, Refusal, Room, insufficient_capacity
from localcloud.market.spot import SpotMarket
from localcloud.market.stock import Quotas, Stocks


def zones_of(region: str, instance_type: str) -> list[str]:
    """The zones that offer a type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ())
    return sorted(each["Location"] for each in offered if each["InstanceType"] == instance_type)


def decide(request: LaunchRequest, quotas: Quotas, stocks: Stocks, spot: SpotMarket) -> Room | Refusal:
    """EC2's answer to a launch."""
    over = quotas.refusal(request)
    if over is not None:
        return over
    if request.zone is not None:
        return _in_zone(request, stocks, spot)
    answers = [
        _in_zone(replace(request, zone=zone), stocks, spot) for zone in zones_of(request.region, request.instance_type)
    ]
    rooms = [each for each in answers if isinstance(each, Room)]
    if not answers or (rooms and all(room.count == request.max_count for room in rooms) and len(rooms) == len(answers)):
        return Room(request.max_count)  # nothing is short: EC2 chooses as ever
    if rooms:
        return max(rooms, key=lambda room: room.count)
    prices = [each for each in answers if isinstance(each, Refusal) and each.code == "SpotMaxPriceTooLow"]
    return prices[0] if len(prices) == len(answers) else insufficient_capacity(request)


def _in_zone(request: LaunchRequest, stocks: Stocks, spot: SpotMarket) -> Room | Refusal:
    too_low = spot.refusal(request)
    if too_low is not None:
        return too_low
    left = stocks.room(request.region, str(request.zone), request.instance_type, request.market)
    if left is None:
        return Room(request.max_count, request.zone)
    if left < request.min_count:
        return insufficient_capacity(request)
    return Room(min(left, request.max_count), request.zone)
