"""GetSpotPlacementScores, which moto does not have: how likely EC2 is to find so many spot machines, 1 to 10, by region or zone.

The score comes of what is left of each offering: 9 where all of the target can be had, less in proportion, 1 where nothing can. As EC2's
guide says, a request for one or two types gets a low score whatever there is †. The best ten are answered.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from localcloud.calls import AwsCall, AwsReply, indexed, refusal
from localcloud.market.launches import zones_of
from localcloud.market.stock import Stocks, vcpus_of

BEST, FEW_TYPES, SCORES_MAX = 9, 3, 10
XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"


class PlacementScores:
    """The interceptor."""

    def __init__(self, front: Any, stocks: Stocks) -> None:
        self._stocks = stocks
        front.intercept("ec2", "GetSpotPlacementScores", self)

    def __call__(self, call: AwsCall, forward: Callable[[AwsCall], AwsReply]) -> AwsReply:
        from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
        from moto.ec2.models.instance_types import INSTANCE_TYPES

        types = indexed(call.params, "InstanceType")
        target = str(call.params.get("TargetCapacity", ""))
        if not target.isdigit() or int(target) < 1:
            return refusal(call, "MissingParameter", "The request must contain the parameter TargetCapacity", 400)
        if not types or (strange := [each for each in types if each not in INSTANCE_TYPES]):
            text = (
                f"Invalid value '{strange[0]}' for InstanceType."
                if types
                else "The request must contain the parameter InstanceTypes"
            )
            return refusal(call, "InvalidParameterValue" if types else "MissingParameter", text, 400)
        in_vcpus = call.params.get("TargetCapacityUnitType") == "vcpu"
        regions = indexed(call.params, "RegionName") or [region.name for region in RegionsAndZonesBackend.regions]
        scores: list[tuple[int, str, str]] = []
        for region in regions:
            ids = {zone.name: zone.zone_id for zone in RegionsAndZonesBackend.zones.get(region, ())}
            had = {zone: self._had(region, zone, types, int(target), in_vcpus) for zone in ids}
            if call.params.get("SingleAvailabilityZone") == "true":
                scores += [
                    (_score(had[zone], int(target), types), region, ids[zone]) for zone in ids if had[zone] is not None
                ]
            elif any(each is not None for each in had.values()):
                scores.append((_score(sum(each or 0 for each in had.values()), int(target), types), region, ""))
        scores.sort(key=lambda each: (-each[0], each[1], each[2]))
        return _reply(scores[:SCORES_MAX])

    def _had(self, region: str, zone: str, types: list[str], target: int, in_vcpus: bool) -> int | None:
        """How much of the target a zone has, of all types together; None where it offers none of them."""
        offered = [each for each in types if zone in zones_of(region, each)]
        if not offered:
            return None
        had = 0
        for each in offered:
            left = self._stocks.room(region, zone, each, "spot")
            had += target if left is None else left * (vcpus_of(each) if in_vcpus else 1)
        return min(had, target)


def _score(had: int | None, target: int, types: list[str]) -> int:
    score = max(1, BEST * min(had or 0, target) // target)
    return score if len(set(types)) >= FEW_TYPES else min(score, FEW_TYPES)


def _reply(scores: list[tuple[int, str, str]]) -> AwsReply:
    items = "".join(
        f"<item><region>{region}</region>"
        + (f"<availabilityZoneId>{zone_id}</availabilityZoneId>" if zone_id else "")
        + f"<score>{score}</score></item>"
        for score, region, zone_id in scores
    )
    request_id = secrets.token_hex(16)
    body = (
        f'<GetSpotPlacementScoresResponse xmlns="{XMLNS}"><requestId>{request_id}</requestId>'
        f"<spotPlacementScoreSet>{items}</spotPlacementScoreSet></GetSpotPlacementScoresResponse>"
    )
    return AwsReply(200, {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": request_id}, body.encode())
