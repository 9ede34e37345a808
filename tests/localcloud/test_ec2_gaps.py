"""RunInstances behaves as EC2's, where moto's does not."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from machine_cloud import IMAGE, MachineCloud, eventually, machine_cloud
from moto import mock_aws

from localcloud.gaps.ec2_launch_request import LaunchRequest, Refusal, insufficient_capacity

SMALL: dict[str, Any] = {"ImageId": IMAGE, "InstanceType": "c5.large"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    with machine_cloud(tmp_path_factory.mktemp("gaps"), isolation="none", boot_s=0.0) as started:
        started.iam.create_instance_profile(InstanceProfileName="gaps-profile")
        started.iam.add_role_to_instance_profile(InstanceProfileName="gaps-profile", RoleName="machine")
        started.ec2.create_launch_template(LaunchTemplateName="gaps", LaunchTemplateData=TEMPLATE)
        yield started


TEMPLATE: dict[str, Any] = {
    **SMALL,
    "UserData": base64.b64encode(b"#!/bin/sh\necho from the template\n").decode(),
    "IamInstanceProfile": {"Name": "gaps-profile"},
    "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "enabled"},
    "InstanceInitiatedShutdownBehavior": "terminate",
    "TagSpecifications": [
        {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "template"}, {"Key": "b", "Value": "template"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "disk", "Value": "template"}]},
    ],
}


def refused(cloud: MachineCloud, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        cloud.ec2.run_instances(**{**SMALL, "MinCount": 1, "MaxCount": 1, **arguments})
    return str(error.value.response["Error"]["Code"]), str(error.value.response["Error"]["Message"])


def tags_of(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}


def test_moto_itself_still_ignores_max_count_and_the_token() -> None:
    """When this fails, moto has learned it, and this gap file can go."""
    import boto3

    with mock_aws():
        ec2 = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        arguments = {**SMALL, "MinCount": 1, "MaxCount": 3, "ClientToken": "one"}
        first, second = ec2.run_instances(**arguments), ec2.run_instances(**arguments)
        assert len(first["Instances"]) == 1
        assert first["ReservationId"] != second["ReservationId"]


def test_max_count_machines_are_launched_and_numbered(cloud: MachineCloud) -> None:
    """One call, n hosts; host k takes entry k of the manifest."""
    made = cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=5)["Instances"]
    assert [instance["AmiLaunchIndex"] for instance in made] == [0, 1, 2, 3, 4]
    assert {instance["State"]["Name"] for instance in made} == {"pending"}
    assert len({instance["PrivateIpAddress"] for instance in made}) == 5


def test_a_repeated_token_answers_with_the_same_reservation(cloud: MachineCloud) -> None:
    """Recovery sends a launch again byte for byte, and pays for it once."""
    arguments = {**SMALL, "MinCount": 1, "MaxCount": 2, "ClientToken": "launch-1"}
    first = cloud.ec2.run_instances(**arguments)
    again = cloud.ec2.run_instances(**arguments)
    assert again["ReservationId"] == first["ReservationId"]
    assert [i["InstanceId"] for i in again["Instances"]] == [i["InstanceId"] for i in first["Instances"]]
    assert [i["AmiLaunchIndex"] for i in again["Instances"]] == [0, 1]


def test_a_token_with_other_parameters_is_refused(cloud: MachineCloud) -> None:
    """A changed request is not a retry."""
    cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=1, ClientToken="launch-2")
    assert refused(cloud, MaxCount=2, ClientToken="launch-2")[0] == "IdempotentParameterMismatch"


def test_tokens_sent_at_once_launch_once(cloud: MachineCloud) -> None:
    """Two passes recover the same launch in the same moment."""
    arguments = {**SMALL, "MinCount": 1, "MaxCount": 3, "ClientToken": "launch-3"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: cloud.front.client("ec2").run_instances(**arguments), range(6)))
    assert len({answer["ReservationId"] for answer in answers}) == 1
    assert {len(answer["Instances"]) for answer in answers} == {3}


def test_a_refused_launch_does_not_use_up_its_token(cloud: MachineCloud) -> None:
    """When capacity returns, the same request succeeds."""
    cloud.fleet.launches.capacity = insufficient_capacity
    try:
        code, message = refused(cloud, ClientToken="launch-4", Placement={"AvailabilityZone": "us-east-1c"})
    finally:
        cloud.fleet.launches.capacity = lambda request: request.max_count
    assert code == "InsufficientInstanceCapacity"
    assert "us-east-1c" in message
    made = cloud.ec2.run_instances(
        **SMALL, MinCount=1, MaxCount=1, ClientToken="launch-4", Placement={"AvailabilityZone": "us-east-1c"}
    )
    assert made["Instances"][0]["Placement"]["AvailabilityZone"] == "us-east-1c"


def test_capacity_between_min_and_max_is_fulfilled_partly(cloud: MachineCloud) -> None:
    """EC2 launches what it can, if that is at least MinCount; else nothing."""
    seen: list[LaunchRequest] = []

    def two(request: LaunchRequest) -> int | Refusal:
        seen.append(request)
        return 2

    cloud.fleet.launches.capacity = two
    try:
        assert len(cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=9)["Instances"]) == 2
        assert refused(cloud, MinCount=3, MaxCount=9)[0] == "InsufficientInstanceCapacity"
    finally:
        cloud.fleet.launches.capacity = lambda request: request.max_count
    assert (seen[0].instance_type, seen[0].market, seen[0].min_count, seen[0].max_count) == (
        "c5.large",
        "on_demand",
        1,
        9,
    )


def test_a_launch_template_fills_what_the_request_leaves_out(cloud: MachineCloud) -> None:
    """Every host of the batch gets the profile, the metadata options, the shutdown behaviour and the user data."""
    made = cloud.ec2.run_instances(MinCount=1, MaxCount=2, LaunchTemplate={"LaunchTemplateName": "gaps"})["Instances"]
    ids = [instance["InstanceId"] for instance in made]
    cloud.ran(*ids)
    for instance_id in ids:
        described = cloud.described(instance_id)
        assert (described["ImageId"], described["InstanceType"]) == (IMAGE, "c5.large")
        assert described["IamInstanceProfile"]["Arn"].endswith("/gaps-profile")
        assert described["MetadataOptions"]["HttpTokens"] == "required"
        assert described["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
        assert "from the template" in cloud.console(instance_id)
        behaviour = cloud.ec2.describe_instance_attribute(
            InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior"
        )
        assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_the_request_overrides_its_template(cloud: MachineCloud) -> None:
    """Type and user data are the launch's own; tags are laid over the template's, one by one, on instances and volumes."""
    (made,) = cloud.ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        LaunchTemplate={"LaunchTemplateName": "gaps", "Version": "$Latest"},
        InstanceType="c5.xlarge",
        UserData="#!/bin/sh\necho from the request\n",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "b", "Value": "request"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "launch", "Value": "request"}]},
        ],
    )["Instances"]
    cloud.ran(made["InstanceId"])
    described = cloud.described(made["InstanceId"])
    assert described["InstanceType"] == "c5.xlarge"
    assert "from the request" in cloud.console(made["InstanceId"])
    tags = tags_of(described)
    assert (tags["a"], tags["b"], tags["aws:ec2launchtemplate:version"]) == ("template", "request", "1")
    volume_id = described["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    (volume,) = cloud.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    assert tags_of(volume) == {"disk": "template", "launch": "request"}


def test_versions_of_a_template_are_found_by_number_default_and_latest(cloud: MachineCloud) -> None:
    """$Default stays at 1 until it is moved."""
    cloud.ec2.create_launch_template(LaunchTemplateName="versions", LaunchTemplateData=SMALL)
    cloud.ec2.create_launch_template_version(
        LaunchTemplateName="versions", LaunchTemplateData={**SMALL, "InstanceType": "c5.2xlarge"}
    )
    expected = {"1": "c5.large", "2": "c5.2xlarge", "$Default": "c5.large", "$Latest": "c5.2xlarge"}
    for version, instance_type in expected.items():
        template = {"LaunchTemplateName": "versions", "Version": version}
        (made,) = cloud.ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate=template)["Instances"]
        assert made["InstanceType"] == instance_type


def test_what_ec2_refuses_is_refused(cloud: MachineCloud) -> None:
    """Each with EC2's own code."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"UserData": "x" * 16_385}, "InvalidParameterValue"),
        ({"InstanceType": "c99.huge"}, "InvalidParameterValue"),
        ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
        ({"LaunchTemplate": {"LaunchTemplateName": "nobody"}}, "InvalidLaunchTemplateName.NotFoundException"),
        ({"LaunchTemplate": {"LaunchTemplateId": "lt-0123456789abcdef0"}}, "InvalidLaunchTemplateId.NotFound"),
        ({"LaunchTemplate": {"LaunchTemplateName": "gaps", "Version": "9"}}, "InvalidLaunchTemplateId.VersionNotFound"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "NoSuchEntity"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
    ]
    before = len(cloud.fleet.alive())
    assert [refused(cloud, **arguments)[0] for arguments, _ in cases] == [code for _, code in cases]
    assert len(cloud.fleet.alive()) == before
    cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=1, UserData="x" * 16_384)


def test_spot_is_recorded(cloud: MachineCloud) -> None:
    """One-time spot only: a persistent request would relaunch what we never asked for."""
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    (made,) = cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=1, InstanceMarketOptions=market)["Instances"]
    described = cloud.described(made["InstanceId"])
    assert described["InstanceLifecycle"] == "spot"
    assert described["SpotInstanceRequestId"].startswith("sir-")


def test_instances_are_listed_by_tag_page_by_page(cloud: MachineCloud) -> None:
    """The control plane's list: our tag, live states, all pages."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "spillway:pool", "Value": "paged"}]}]
    for _ in range(3):
        cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=2, TagSpecifications=tags)
    filters = [
        {"Name": "tag:spillway:pool", "Values": ["paged"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopping", "stopped"]},
    ]
    pages = list(
        cloud.ec2.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 5})
    )
    found = [
        instance["InstanceId"] for page in pages for each in page["Reservations"] for instance in each["Instances"]
    ]
    assert len(found) == len(set(found)) == 6
    cloud.ec2.terminate_instances(InstanceIds=found[:4])
    for each in found[:4]:
        cloud.until(each, "terminated")
    pages = list(cloud.ec2.get_paginator("describe_instances").paginate(Filters=filters))
    assert sum(len(each["Instances"]) for page in pages for each in page["Reservations"]) == 2


def test_a_terminated_instance_frees_its_volume_and_may_be_terminated_again(cloud: MachineCloud) -> None:
    """Terminating is sent until EC2 agrees, so it is sent twice."""
    instance_id = cloud.booted()
    volume_id = cloud.described(instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.until(instance_id, "terminated")
    volumes = cloud.ec2.describe_volumes()["Volumes"]
    assert volume_id not in [volume["VolumeId"] for volume in volumes]
    (again,) = cloud.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert (again["PreviousState"]["Name"], again["CurrentState"]["Name"]) == ("terminated", "terminated")
    with pytest.raises(ClientError) as error:
        cloud.ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"])
    assert error.value.response["Error"]["Code"] == "InvalidInstanceID.NotFound"


def test_instances_of_other_regions_are_apart(cloud: MachineCloud) -> None:
    """Everything regional is keyed by region."""
    west = cloud.front.client("ec2", "us-west-2")
    (made,) = west.run_instances(**SMALL, MinCount=1, MaxCount=1)["Instances"]
    cloud.until(made["InstanceId"], "running")
    assert cloud.fleet.machine(made["InstanceId"]).region == "us-west-2"
    with pytest.raises(ClientError):
        cloud.ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    west.terminate_instances(InstanceIds=[made["InstanceId"]])
    cloud.heard(lambda: cloud.states(made["InstanceId"])[-1] == "terminated")
    assert {e["region"] for e in cloud.events if e["detail"]["instance-id"] == made["InstanceId"]} == {"us-west-2"}


def test_terminated_instances_are_listed_for_an_hour_and_then_forgotten(tmp_path: Path) -> None:
    """A fleet that runs for weeks must not list all it ever had."""
    with machine_cloud(tmp_path, isolation="none", forget_s=0.05) as cloud:
        instance_id = cloud.booted()
        cloud.ec2.terminate_instances(InstanceIds=[instance_id])
        cloud.until(instance_id, "terminated")
        eventually(
            lambda: (
                not [
                    r
                    for r in cloud.ec2.describe_instances()["Reservations"]
                    if r["Instances"][0]["InstanceId"] == instance_id
                ]
            )
        )
