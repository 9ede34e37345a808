"""Capacity of offerings, quotas, and the scores that follow of them, through real clients."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from machine_cloud import MachineCloud
from market_cloud import launch, refused, spot


@pytest.fixture
def cloud(emptied_market: MachineCloud) -> MachineCloud:
    return emptied_market


def test_an_offering_has_so_many_machines_and_gives_what_is_left(cloud: MachineCloud) -> None:
    """Between MinCount and MaxCount a launch is fulfilled partly; at the end it is refused; a terminated machine comes back."""
    cloud.faults.set(
        {"kind": "capacity", "zone": "us-east-1a", "instance_type": "c5.large", "market": "spot", "instances": 3}
    )
    first = launch(cloud, 2, "us-east-1a", **spot())
    assert len(first) == 2
    assert refused(cloud, count=4, zone="us-east-1a", MinCount=2, **spot()) == "InsufficientInstanceCapacity"
    assert len(launch(cloud, 4, "us-east-1a", **spot())) == 1
    assert refused(cloud, zone="us-east-1a", **spot()) == "InsufficientInstanceCapacity"
    assert len(launch(cloud, 2, "us-east-1a")) == 2, "on-demand is another offering"
    assert len(launch(cloud, 2, "us-east-1b", **spot())) == 2, "so is another zone"
    cloud.ec2.terminate_instances(InstanceIds=[first[0]["InstanceId"]])
    assert len(launch(cloud, 9, "us-east-1a", **spot())) == 1
    (shown,) = cloud.faults.listed()
    assert (shown["instances"], shown["left"]) == (3, 0)


def test_ec2_chooses_the_zone_with_most_room_where_the_launch_names_none(cloud: MachineCloud) -> None:
    """A launch without a zone is not refused while any zone has a machine."""
    for zone, number in (("us-east-1a", 0), ("us-east-1b", 1), ("us-east-1c", 2), ("us-east-1d", 0), ("us-east-1f", 0)):
        cloud.faults.set({"kind": "capacity", "zone": zone, "instance_type": "c5.large", "instances": number})
    made = launch(cloud, 5)
    assert [each["Placement"]["AvailabilityZone"] for each in made] == ["us-east-1c", "us-east-1c"]
    assert [each["Placement"]["AvailabilityZone"] for each in launch(cloud, 5)] == ["us-east-1b"]
    assert refused(cloud) == "InsufficientInstanceCapacity"
    cloud.faults.set({"kind": "capacity", "zone": "us-east-1b", "instance_type": "c5.large", "instances": None})
    assert len(launch(cloud, 5)) == 5


def test_launches_at_once_do_not_share_what_is_left(cloud: MachineCloud) -> None:
    """Two functions ask for the last three machines in the same moment."""
    cloud.faults.set({"kind": "capacity", "instance_type": "c5.large", "instances": 3})
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(launch, cloud, 2) for _ in range(4)]
    assert sum(len(each.result()) for each in waiting if each.exception() is None) == 3


@pytest.mark.parametrize(
    ("market", "more", "code"),
    [("on_demand", {}, "VcpuLimitExceeded"), ("spot", spot(), "MaxSpotInstanceCountExceeded")],
)
def test_a_launch_over_the_quota_is_refused_whole(
    cloud: MachineCloud, market: str, more: dict[str, Any], code: str
) -> None:
    """A quota of 8 vCPUs holds four machines of two; halving the number of a refused launch finds what fits."""
    cloud.faults.set({"kind": "vcpu_quota", "market": market, "vcpus": 8})
    assert refused(cloud, count=6, **more) == code
    assert len(launch(cloud, 3, **more)) == 3
    assert refused(cloud, InstanceType="c5.xlarge", **more) == code
    assert len(launch(cloud, 1, **more)) == 1
    other = {} if more else spot()
    assert len(launch(cloud, 9, **other)) == 9, "the other market has a quota of its own"


@pytest.mark.parametrize(
    "code",
    [
        "MaxSpotInstanceCountExceeded",
        "VcpuLimitExceeded",
        "UnfulfillableCapacity",
        "Unsupported",
        "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow",
    ],
)
def test_every_capacity_error_can_be_had_on_command(cloud: MachineCloud, code: str) -> None:
    """Once, and then the same launch succeeds."""
    cloud.faults.set({"kind": "refuse_capacity", "code": code, "count": 1})
    assert refused(cloud) == code
    assert launch(cloud)


def test_placement_scores_follow_what_is_left(cloud: MachineCloud) -> None:
    """All that is wanted: 9; half: 4; nothing: 1; one or two types: low, whatever there is."""
    types = ["c5.large", "m5.large", "c7i.large"]
    for each in types:
        cloud.faults.set(
            {
                "kind": "capacity",
                "zone": "us-east-1b",
                "instance_type": each,
                "instances": 5 if each == "c5.large" else 0,
            }
        )
        cloud.faults.set({"kind": "capacity", "zone": "us-east-1c", "instance_type": each, "instances": 0})
    found = cloud.ec2.get_spot_placement_scores(
        InstanceTypes=types, TargetCapacity=10, SingleAvailabilityZone=True, RegionNames=["us-east-1"]
    )
    by_zone = {each["AvailabilityZoneId"]: each["Score"] for each in found["SpotPlacementScores"]}
    assert (by_zone["use1-az6"], by_zone["use1-az1"], by_zone["use1-az2"]) == (9, 4, 1)
    regions = cloud.ec2.get_spot_placement_scores(
        InstanceTypes=types, TargetCapacity=10, RegionNames=["us-east-1", "us-west-2"]
    )
    assert [(s["Region"], s["Score"]) for s in regions["SpotPlacementScores"]] == [("us-east-1", 9), ("us-west-2", 9)]
    few = cloud.ec2.get_spot_placement_scores(InstanceTypes=["c5.large"], TargetCapacity=1)["SpotPlacementScores"]
    assert {each["Score"] for each in few} == {3}
    assert len(few) == 10
