"""Pools that rank their spot offerings: EC2 is asked seldom, once for all of them, and a silent region harms nobody else."""

from __future__ import annotations

from dataclasses import replace

from town import Town

from chalicelib.core.host import Offering
from chalicelib.core.pool import Pool, PoolSpec

SPOT_A = Offering(region="us-east-1", instance_type="c7i.large", market="spot", zone="us-east-1a")
SPOT_B = replace(SPOT_A, zone="us-east-1b")
RANKED = PoolSpec(offerings=(SPOT_A, SPOT_B), rank_spot=True)


def asked(town: Town) -> int:
    return sum(call.operation == "ec2.DescribeSpotPriceHistory" for call in town.cloud.calls.made)


def pool(town: Town, name: str = "default") -> Pool:
    found = town.stores.registry.pool(name)
    assert found is not None
    return found


def test_a_host_is_launched_where_spot_is_cheapest_now() -> None:
    town = Town(RANKED)
    town.cloud.facts.spot = {("us-east-1a", "c7i.large"): 0.05, ("us-east-1b", "c7i.large"): 0.03}
    town.run(61)
    town.submit()
    town.run(30)
    assert [host.offering for host in town.hosts()] == [SPOT_B]


def test_prices_are_asked_for_once_in_ten_minutes_for_all_pools_of_a_region() -> None:
    """And not at all for pools that do not rank, or have nothing to rank."""
    town = Town(RANKED)
    for name, spec in (
        ("also", RANKED),
        ("one", replace(RANKED, offerings=(SPOT_A,))),
        ("listed", replace(RANKED, rank_spot=False)),
    ):
        town.stores.registry.put_pool(name, spec, version=None)
    town.run(61)
    assert asked(town) == 1
    assert pool(town).prospects == pool(town, "also").prospects != pool(town, "listed").prospects
    assert set(pool(town).prospects.usd_h) == {SPOT_A.key, SPOT_B.key}
    town.run(9 * 60)
    assert asked(town) == 1
    town.run(60)
    assert asked(town) == 2


def test_pools_of_more_types_than_a_tick_has_time_for_have_their_turn_a_minute_later() -> None:
    """Or one tick would take them all, run out of time, and the next one the same."""
    town = Town(replace(RANKED, rank_spot=False))
    for name, family in (("a", "c7i"), ("b", "m7i"), ("c", "r7i")):
        sizes = [f"{family}.{size}" for size in ("large", *(f"{n}xlarge" for n in ("", 2, 4, 8, 12, 16)))]
        offerings = tuple(
            replace(SPOT_A, instance_type=size, zone=zone) for size in sizes for zone in (None, "us-east-1a")
        )
        town.stores.registry.put_pool(name, replace(RANKED, offerings=offerings), version=None)
    town.run(61)
    assert [bool(pool(town, name).prospects.at) for name in "abc"] == [True, True, False]
    town.run(60)
    assert all(len(pool(town, name).prospects.usd_h) == 14 for name in "abc")
    assert asked(town) == 2


def test_a_region_that_does_not_answer_is_told_and_leaves_other_pools_their_prices() -> None:
    town = Town(RANKED)
    far = replace(SPOT_A, region="eu-south-1", zone=None)
    town.cloud.facts.closed.add("eu-south-1")
    town.stores.registry.put_pool("far", replace(RANKED, offerings=(SPOT_A, far)), version=None)
    town.run(61)
    assert pool(town).prospects.usd_h
    assert pool(town, "far").prospects.at == 0
    (failed,) = [notice for notice in town.cloud.notices.published if notice["type"] == "tick_failed"]
    assert "spot prices: RegionRefused" in failed["reason"]
