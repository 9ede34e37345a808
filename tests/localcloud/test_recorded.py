"""Instances that never boot: only recorded, or given up by EC2."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from machine_cloud import IMAGE, MachineCloud, machine_cloud


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    with machine_cloud(
        tmp_path_factory.mktemp("recorded"), isolation="none", boot_s=0.0, lost_noticed_s=0.1
    ) as started:
        yield started


@pytest.fixture
def cloud(whole: MachineCloud) -> Iterator[MachineCloud]:
    whole.faults.set({"kind": "no_boot"})
    yield whole
    whole.faults.clear()


def launch(cloud: MachineCloud, count: int = 1, **more: Any) -> list[str]:
    made = cloud.ec2.run_instances(ImageId=IMAGE, InstanceType="c5.large", MinCount=1, MaxCount=count, **more)
    return [instance["InstanceId"] for instance in made["Instances"]]


def test_a_recorded_machine_is_running_for_ec2_and_nothing_runs_on_it(cloud: MachineCloud) -> None:
    """Boots that never succeed, and the cheap way to have a thousand instances: no process, no port, no folder."""
    (instance_id,) = launch(cloud, UserData="#!/bin/sh\n")
    cloud.until(instance_id, "running")
    cloud.heard(lambda: cloud.states(instance_id) == ["pending", "running"])
    machine = cloud.fleet.machine(instance_id)
    assert (machine.metadata_port, machine.channel, machine.registered_at) == (0, None, None)
    assert not machine.folder.exists()
    assert cloud.described(instance_id)["State"]["Name"] == "running"
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.until(instance_id, "terminated")


def test_ec2_gives_up_on_machines_and_says_why(cloud: MachineCloud) -> None:
    """`count` counts instances: two of three never come up, the third boots."""
    cloud.faults.clear()
    cloud.faults.set(
        {"kind": "no_boot", "how": "terminated", "count": 2, "instance_type": "c5.large", "market": "on_demand"}
    )
    ids = cloud.launch("#!/bin/sh\n", count=3)
    for each in ids[:2]:
        cloud.until(each, "terminated")
        assert cloud.described(each)["StateReason"]["Code"] == "Server.InternalError"
    cloud.ran(ids[2])


def test_a_thousand_instances_are_recorded_in_ten_calls(cloud: MachineCloud) -> None:
    """The launch bench counts on it; 3 s on a quiet machine, so the limit only keeps out what grows with the square."""
    began = time.monotonic()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "spillway:pool", "Value": "thousand"}]}]
    ids = [each for n in range(10) for each in launch(cloud, 100, TagSpecifications=tags, ClientToken=f"thousand-{n}")]
    assert len(set(ids)) == 1000
    assert time.monotonic() - began < 40
    pages = cloud.ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "tag:spillway:pool", "Values": ["thousand"]}]
    )
    assert sum(len(r["Instances"]) for page in pages for r in page["Reservations"]) == 1000


def test_a_recorded_machine_is_lost_interrupted_stopped_and_started_like_any_other(cloud: MachineCloud) -> None:
    """What hits a fleet of a thousand must not need a thousand processes."""
    lost, stopped = launch(cloud, 2)
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    (taken,) = launch(cloud, **market)
    for each in (lost, stopped, taken):
        cloud.until(each, "running")
    cloud.faults.set({"kind": "lose_host", "instance_id": lost})
    cloud.faults.set({"kind": "interrupt", "instance_id": taken, "in_s": 0.1})
    cloud.ec2.stop_instances(InstanceIds=[stopped])
    cloud.until(lost, "terminated")
    cloud.until(taken, "terminated")
    cloud.until(stopped, "stopped")
    cloud.ec2.start_instances(InstanceIds=[stopped])
    cloud.until(stopped, "running")
    assert cloud.described(lost)["StateReason"]["Code"] == "Server.InternalError"
