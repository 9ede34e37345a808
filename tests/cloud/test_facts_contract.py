"""What EC2 says of the things that a pool names: one suite for the memory and for boto3, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripted_aws import Answer, ec2_error, scripted_aws
from worlds import MOTO_IMAGE, NOW, REGION, AwsWorld, World, a_client, a_session

from chalicelib.cloud.aws import aws_cloud
from chalicelib.cloud.memory_facts import STAGE_IMAGE
from chalicelib.config import Settings
from chalicelib.core.pool_checks import Template
from chalicelib.errors import CloudUnavailable, RegionRefused


def a_template(world: World, name: str, *images: str) -> None:
    """A launch template with a version for each image."""
    if isinstance(world, AwsWorld):
        ec2 = a_client("ec2", world.endpoint_url)
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": images[0]})
        for image in images[1:]:
            ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image})
    else:
        world.cloud.facts.templates |= {name: images[0]}  # type: ignore[attr-defined]
        world.cloud.facts.templates |= {f"{name}:{n}": image for n, image in enumerate(images, 1)}  # type: ignore[attr-defined]


def test_the_stages_own_template_tells_its_image(world: World):
    expected = MOTO_IMAGE if isinstance(world, AwsWorld) else STAGE_IMAGE
    assert world.cloud.facts.template(REGION, None) == Template(image=expected)


def test_a_template_is_found_by_name_and_by_version(world: World):
    name = f"graders-{world.stage}"
    a_template(world, name, MOTO_IMAGE, "ami-03cf127a")
    facts = world.cloud.facts
    assert facts.template(REGION, name) == Template(image=MOTO_IMAGE)
    assert facts.template(REGION, f"{name}:2") == Template(image="ami-03cf127a")


def test_a_template_or_a_version_that_is_not_there_is_none(world: World):
    name = f"graders-{world.stage}"
    a_template(world, name, MOTO_IMAGE)
    assert world.cloud.facts.template(REGION, "no-such-template") is None
    assert world.cloud.facts.template(REGION, f"{name}:9") is None


def test_a_template_tells_its_subnet_and_the_subnet_its_zone(world: World):
    name = f"network-{world.stage}"
    if isinstance(world, AwsWorld):
        ec2 = a_client("ec2", world.endpoint_url)
        (found,) = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}b"]}])["Subnets"][
            :1
        ]
        subnet = found["SubnetId"]
        card = {"DeviceIndex": 0, "SubnetId": subnet}
        ec2.create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": MOTO_IMAGE, "NetworkInterfaces": [card]}
        )
    else:
        subnet = "subnet-1"
        world.cloud.facts.templates[name] = MOTO_IMAGE  # type: ignore[attr-defined]
        world.cloud.facts.template_subnets[name] = subnet  # type: ignore[attr-defined]
        world.cloud.facts.subnets[subnet] = f"{REGION}b"  # type: ignore[attr-defined]
    facts = world.cloud.facts
    assert facts.template(REGION, name) == Template(image=MOTO_IMAGE, subnet=subnet)
    assert facts.subnet_zone(REGION, subnet) == f"{REGION}b"
    assert facts.subnet_zone(REGION, "subnet-0123456789abcdef0") is None


def test_a_template_is_the_stages_if_it_carries_its_tag(world: World):
    """Another stage's, one without tags, and one that is not there are not."""
    mine, other, bare = (f"{kind}-{world.stage}" for kind in ("mine", "other", "bare"))
    if isinstance(world, AwsWorld):
        ec2 = a_client("ec2", world.endpoint_url)
        for name, stage in ((mine, world.stage), (other, "another"), (bare, None)):
            tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "spillway:stage", "Value": stage}]}]
            ec2.create_launch_template(
                LaunchTemplateName=name,
                LaunchTemplateData={"ImageId": MOTO_IMAGE},
                **({"TagSpecifications": tags} if stage else {}),
            )
    else:
        world.cloud.facts.foreign |= {other, bare, "nobodys"}  # type: ignore[attr-defined]
    facts = world.cloud.facts
    assert [facts.template_is_ours(REGION, n) for n in (mine, f"{mine}:1", other, bare, "nobodys")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_region_that_was_not_bootstrapped_has_no_template(world: World):
    if not isinstance(world, AwsWorld):
        world.cloud.facts.bare.add("eu-west-1")  # type: ignore[attr-defined]
    assert world.cloud.facts.template("eu-west-1", None) is None


def test_an_image_tells_its_architecture_and_one_that_is_not_there_is_none(world: World):
    image = MOTO_IMAGE if isinstance(world, AwsWorld) else STAGE_IMAGE
    assert world.cloud.facts.image_arch(REGION, image) == "x86_64"
    assert world.cloud.facts.image_arch(REGION, "ami-0123456789abcdef0") is None


def test_types_are_sold_in_zones_of_the_region(world: World):
    if not isinstance(world, AwsWorld):
        world.cloud.facts.unsold.add((REGION, "x9.huge"))  # type: ignore[attr-defined]
    sold = world.cloud.facts.zones(REGION, ["c7i.large", "x9.huge"])
    assert sold["x9.huge"] == frozenset()
    assert sold["c7i.large"]
    assert all(zone.startswith(REGION) for zone in sold["c7i.large"])


def test_spot_has_a_price_in_each_zone(world: World):
    prices = world.cloud.facts.spot_prices(REGION, ["c7i.large"], NOW)
    assert set(prices) == {"c7i.large"}
    assert prices["c7i.large"]
    assert all(zone.startswith(REGION) and usd_h > 0 for zone, usd_h in prices["c7i.large"].items())


# ---- what only AWS does


def facts_against(answer: Callable[[str, dict[str, Any]], Answer], ask: Callable[[Any], Any]) -> Any:
    with scripted_aws(answer) as (url, _):
        return ask(aws_cloud(Settings(stage="t"), endpoint_url=url, session=a_session()).facts)


@pytest.mark.parametrize(
    "code", ["AuthFailure", "OptInRequired", "InvalidClientTokenId", "UnrecognizedClientException"]
)
def test_a_region_that_takes_no_credentials_is_told_apart(code: str):
    """Not enabled for the account, or of another partition: no later day makes it right."""
    with pytest.raises(RegionRefused, match=code):
        facts_against(lambda *_: ec2_error(code, "no"), lambda facts: facts.template("me-south-1", None))


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "RequestLimitExceeded", "InternalError", "Unavailable"])
def test_what_may_not_be_asked_or_is_not_answered_is_unknown(code: str):
    """Nothing follows from it, so nothing may be refused for it."""
    for ask in (
        lambda facts: facts.template(REGION, "graders"),
        lambda facts: facts.template_is_ours(REGION, "graders"),
        lambda facts: facts.subnet_zone(REGION, "subnet-1"),
        lambda facts: facts.image_arch(REGION, "ami-12345678"),
        lambda facts: facts.zones(REGION, ["c7i.large"]),
        lambda facts: facts.spot_prices(REGION, ["c7i.large"], NOW),
    ):
        with pytest.raises(CloudUnavailable, match=code):
            facts_against(lambda *_: ec2_error(code, "no"), ask)


@pytest.mark.parametrize(
    "code",
    [
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidLaunchTemplateId.VersionNotFound",
        "InvalidLaunchTemplateId.NotFound",
    ],
)
def test_every_way_to_miss_a_template_is_none(code: str):
    assert facts_against(lambda *_: ec2_error(code, "no"), lambda facts: facts.template(REGION, "graders:3")) is None


@pytest.mark.parametrize("code", ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"])
def test_every_way_to_miss_an_image_is_none(code: str):
    assert (
        facts_against(lambda *_: ec2_error(code, "no"), lambda facts: facts.image_arch(REGION, "ami-12345678")) is None
    )


@pytest.mark.parametrize(
    ("facts_of_it", "arch"),
    [
        ("<imageState>available</imageState>", "arm64"),
        ("<imageState>pending</imageState>", None),
        ("<imageState>failed</imageState>", None),
        ("<imageState>available</imageState><platform>windows</platform>", "arm64 with Windows"),
    ],
)
def test_an_image_that_cannot_boot_an_agent_is_none_or_no_architecture_of_ours(facts_of_it: str, arch: str | None):
    """One that is still being copied would be refused at each launch; one with Windows would boot and never say hello."""
    item = f"<item><imageId>ami-12345678</imageId><architecture>arm64</architecture>{facts_of_it}</item>"
    text = f"<DescribeImagesResponse><imagesSet>{item}</imagesSet></DescribeImagesResponse>"
    assert facts_against(lambda *_: (200, text), lambda facts: facts.image_arch(REGION, "ami-12345678")) == arch


def test_pages_are_followed_though_one_is_empty():
    """EC2 filters after it has cut pages, so the first may hold nothing."""

    def answer(action: str, parameters: dict[str, Any]) -> Answer:
        first = "NextToken" not in parameters
        rows = "" if first else "<item><instanceType>c7i.large</instanceType><location>us-east-1c</location></item>"
        token = "<nextToken>more</nextToken>" if first else ""
        return 200, (
            f"<DescribeInstanceTypeOfferingsResponse><instanceTypeOfferingSet>{rows}</instanceTypeOfferingSet>{token}"
            "</DescribeInstanceTypeOfferingsResponse>"
        )

    zones = facts_against(answer, lambda facts: facts.zones(REGION, ["c7i.large"]))
    assert zones == {"c7i.large": frozenset({"us-east-1c"})}


def test_the_newest_price_of_a_zone_counts():
    """EC2 answers with the price in force at the start, and may add what changed in the same second."""
    rows = "".join(
        f"<item><instanceType>c7i.large</instanceType><availabilityZone>us-east-1a</availabilityZone><spotPrice>{price}</spotPrice>"
        f"<timestamp>2026-01-01T00:00:0{second}Z</timestamp><productDescription>Linux/UNIX</productDescription></item>"
        for price, second in (("0.05", 2), ("0.03", 1))
    )
    text = f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{rows}</spotPriceHistorySet></DescribeSpotPriceHistoryResponse>"
    found = facts_against(lambda *_: (200, text), lambda facts: facts.spot_prices(REGION, ["c7i.large"], NOW))
    assert found == {"c7i.large": {"us-east-1a": 0.05}}
