"""What the control plane asks EC2 about, through the door: answered to whom a policy allows it, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front_cloud import FrontCloud, front_cloud

from localcloud.market.placement_scores import PlacementScores
from localcloud.market.stock import Stocks

IMAGE = "ami-12c6146b"
TYPES = ["c5.large", "c7g.large", "m5.large"]
TEMPLATE = {"ImageId": IMAGE, "InstanceType": "c5.large"}
READS: dict[
    str, tuple[Callable[[Any], Any], Callable[[Any], bool]]
] = {  # operation: the question, and whether the answer is one
    "DescribeSpotPriceHistory": (
        lambda ec2: ec2.describe_spot_price_history(InstanceTypes=["c5.large"])["SpotPriceHistory"],
        lambda found: bool(found) and {each["InstanceType"] for each in found} == {"c5.large"},
    ),
    "GetSpotPlacementScores": (
        lambda ec2: ec2.get_spot_placement_scores(InstanceTypes=TYPES, TargetCapacity=5, RegionNames=["us-east-1"])[
            "SpotPlacementScores"
        ],
        lambda found: found == [{"Region": "us-east-1", "Score": 9}],
    ),
    "DescribeInstanceTypes": (
        lambda ec2: ec2.describe_instance_types(InstanceTypes=TYPES)["InstanceTypes"],
        lambda found: (
            {each["InstanceType"]: each["ProcessorInfo"]["SupportedArchitectures"] for each in found}
            == {"c5.large": ["x86_64"], "c7g.large": ["arm64"], "m5.large": ["x86_64"]}
        ),
    ),
    "DescribeInstanceTypeOfferings": (
        lambda ec2: ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["c5.large"]}]
        )["InstanceTypeOfferings"],
        lambda found: "us-east-1a" in {each["Location"] for each in found},
    ),
    "DescribeImages": (
        lambda ec2: ec2.describe_images(ImageIds=[IMAGE])["Images"],
        lambda found: [(each["ImageId"], each["Architecture"]) for each in found] == [(IMAGE, "x86_64")],
    ),
    "DescribeLaunchTemplates": (
        lambda ec2: ec2.describe_launch_templates(LaunchTemplateNames=["reads"])["LaunchTemplates"],
        lambda found: [each["DefaultVersionNumber"] for each in found] == [1],
    ),
    "DescribeLaunchTemplateVersions": (
        lambda ec2: ec2.describe_launch_template_versions(LaunchTemplateName="reads", Versions=["$Default"])[
            "LaunchTemplateVersions"
        ],
        lambda found: [each["LaunchTemplateData"] for each in found] == [TEMPLATE],
    ),
    "DescribeAvailabilityZones": (
        lambda ec2: ec2.describe_availability_zones()["AvailabilityZones"],
        lambda found: ("us-east-1a", "use1-az6") in {(each["ZoneName"], each["ZoneId"]) for each in found},
    ),
    "DescribeSubnets": (
        lambda ec2: ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"],
        bool,
    ),
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[FrontCloud]:
    with front_cloud() as started:
        PlacementScores(started.front, Stocks(list))
        started.front.client("ec2").create_launch_template(LaunchTemplateName="reads", LaunchTemplateData=TEMPLATE)
        yield started


@pytest.mark.parametrize("operation", READS)
def test_who_may_asks_and_who_may_not_is_told_so(cloud: FrontCloud, operation: str) -> None:
    """The one right is enough, and every other right of this list is not."""
    ask, is_answer = READS[operation]
    cloud.role(f"may-{operation}", {"Action": f"ec2:{operation}", "Resource": "*"})
    found = ask(cloud.client_as("ec2", cloud.identities.issue(f"may-{operation}", "function")))
    assert is_answer(found), found
    cloud.role(
        f"may-all-but-{operation}", {"Action": [f"ec2:{each}" for each in READS if each != operation], "Resource": "*"}
    )
    with pytest.raises(ClientError) as error:
        ask(cloud.client_as("ec2", cloud.identities.issue(f"may-all-but-{operation}", "function")))
    assert error.value.response["Error"]["Code"] == "UnauthorizedOperation"


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (
            lambda ec2: ec2.describe_launch_templates(LaunchTemplateNames=["nobody"]),
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            lambda ec2: ec2.describe_launch_template_versions(LaunchTemplateName="nobody"),
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (lambda ec2: ec2.describe_images(ImageIds=["ami-0123456789abcdef0"]), "InvalidAMIID.NotFound"),
        (lambda ec2: ec2.describe_instance_types(InstanceTypes=["c99.huge"]), "InvalidInstanceType"),
        (
            lambda ec2: ec2.get_spot_placement_scores(InstanceTypes=["c99.huge"], TargetCapacity=1),
            "InvalidParameterValue",
        ),
    ],
)
def test_what_is_not_there_is_refused_by_ec2s_code(cloud: FrontCloud, ask: Callable[[Any], Any], code: str) -> None:
    """Whoever writes a pool gets its mistakes told from these."""
    with pytest.raises(ClientError) as error:
        ask(cloud.front.client("ec2"))
    assert error.value.response["Error"]["Code"] == code
