"""Spot prices and placement scores as EC2 tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.price_files import LINUX, change
from chalicelib.cloud.refusals import asking
from chalicelib.core.spot_history import Change
from chalicelib.errors import CloudUnavailable

PAGE_PRICES = 1000  # the most that EC2 gives at once
PAGES_MAX = 500
SCORE_PLACES_MAX = 10  # answers that EC2 gives for placement scores without being asked for more


@dataclass(frozen=True, slots=True)
class Scores:
    """How likely EC2 is to give spot hosts: zone id → 1 (hardly) to 10 (very). `why_not`: the sentence where there are none."""

    by_zone_id: dict[str, int]
    why_not: str = ""


def told(ec2: Any, instance_types: Sequence[str], begin: float, end: float, pages_max: int) -> list[Change]:
    """What an EC2 client answers, oldest first. EC2 tells the newest first: what is on no page that is read is the oldest."""
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=list(instance_types),
        ProductDescriptions=[LINUX[0]],
        StartTime=datetime.fromtimestamp(begin, UTC),
        EndTime=datetime.fromtimestamp(end, UTC),
        PaginationConfig={"PageSize": PAGE_PRICES, "MaxItems": PAGE_PRICES * pages_max},
    )
    found = [each for page in pages for each in map(change, page["SpotPriceHistory"]) if each is not None]
    return sorted(found, key=lambda each: (each.at, each.zone, each.instance_type))


class Ec2Prices:
    """The price feed of a region's EC2."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def history(self, region: str, instance_types: Sequence[str], begin: float, end: float) -> list[Change]:
        """What spot of these types cost in the region's zones from `begin` to `end` (Unix seconds), oldest first.

        EC2 keeps 90 days, and tells for each zone also the price that already held at `begin`. Raises CloudUnavailable.
        """
        with asking(f"EC2 in {region} was asked for the spot prices of {', '.join(instance_types)}"):
            return told(self._clients.get("ec2", region), instance_types, begin, end, PAGES_MAX)

    def scores(self, region: str, instance_types: Sequence[str], hosts: int = 1) -> Scores:
        """EC2's own guess whether so many spot hosts of any of these types can be had, by zone. Never fails: without scores it says why."""
        try:
            with asking(f"EC2 in {region} was asked for placement scores"):
                answer = self._clients.get("ec2", region).get_spot_placement_scores(
                    InstanceTypes=list(instance_types),
                    TargetCapacity=hosts,
                    SingleAvailabilityZone=True,
                    RegionNames=[region],
                    MaxResults=SCORE_PLACES_MAX,
                )
        except CloudUnavailable as error:
            return Scores({}, f"No placement scores: {error}")
        scores = {item["AvailabilityZoneId"]: int(item["Score"]) for item in answer["SpotPlacementScores"]}
        return Scores(scores, "" if scores else "No placement scores: EC2 has none for these types")
