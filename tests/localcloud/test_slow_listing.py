"""What EC2 shows late, and what it warns of early."""

import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from machine_cloud import MachineCloud, eventually, machine_cloud
from market_cloud import launch, spot


@pytest.fixture
def cloud(emptied_market: MachineCloud) -> MachineCloud:
    return emptied_market


def test_a_launched_instance_is_not_listed_at_once_and_an_ended_one_still_is(cloud: MachineCloud) -> None:
    """EC2's lists are eventually consistent; what DescribeInstances does not show runs all the same."""

    def states(instance_id: str) -> list[str]:
        found = cloud.ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance_id]}])["Reservations"]
        return [each["State"]["Name"] for made in found for each in made["Instances"]]

    cloud.faults.set({"kind": "slow_listing", "launched_s": 600, "ended_s": 600})
    (made,) = launch(cloud)
    instance_id = made["InstanceId"]
    assert states(instance_id) == []
    with pytest.raises(ClientError) as error:
        cloud.ec2.describe_instances(InstanceIds=[instance_id])
    assert error.value.response["Error"]["Code"] == "InvalidInstanceID.NotFound"
    cloud.faults.set({"kind": "slow_listing", "launched_s": 0.5, "ended_s": 600})
    eventually(lambda: states(instance_id) == ["running"])
    assert time.time() - cloud.fleet.machine(instance_id).launched_at >= 0.5
    reply = cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    assert reply["TerminatingInstances"][0]["CurrentState"]["Name"] == "shutting-down"
    assert states(instance_id) == ["running"]
    cloud.faults.set({"kind": "slow_listing", "launched_s": 0.5, "ended_s": 0.5})
    eventually(lambda: states(instance_id) == ["terminated"])
    cloud.faults.clear()
    (made,) = launch(cloud)
    assert states(made["InstanceId"]) != []


def test_rebalance_is_recommended_by_event_and_metadata(tmp_path: Path) -> None:
    """On command; the machine itself reads it at events/recommendations/rebalance."""
    with machine_cloud(tmp_path, isolation="none") as cloud:
        script = (
            "#!/bin/sh\nM=$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest\n"
            "T=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $M/api/token)\n"
            'curl -s -H "X-aws-ec2-metadata-token: $T" $M/meta-data/events/recommendations/rebalance\n'
        )
        instance_id = cloud.booted(**spot())
        cloud.faults.set({"kind": "rebalance", "instance_id": instance_id})
        kind = "EC2 Instance Rebalance Recommendation"
        cloud.heard(
            lambda: any(e["detail-type"] == kind and e["detail"]["instance-id"] == instance_id for e in cloud.events)
        )
        assert "noticeTime" in cloud.said(instance_id, *script.splitlines()[1:])
