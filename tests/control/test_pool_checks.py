"""What a pool names is asked of EC2 when it is written: refused by field where it cannot be, with a warning where nobody knows."""

from __future__ import annotations

from typing import Any

import pytest
from meddling import a_pool, meddled, story
from town import Town

from chalicelib.cloud.memory_facts import STAGE_IMAGE
from chalicelib.control import pools, settings
from chalicelib.core.pool_checks import Template
from chalicelib.errors import BadRequest, CloudUnavailable, Fault

ASKS = (
    "ec2.DescribeLaunchTemplateVersions",
    "ec2.DescribeImages",
    "ec2.DescribeInstanceTypeOfferings",
    "ec2.DescribeSpotPriceHistory",
)
ARM = "ami-0000000000000000a"


def in_region(region: str = "us-east-1", name: str = "c7i.large", **more: Any) -> dict[str, Any]:
    return {"region": region, "instance_type": name, **more}


def asked(town: Town) -> list[str]:
    return [call.operation for call in town.cloud.calls.made if call.operation in ASKS]


def refused(town: Town, change: dict[str, Any]) -> tuple[str, str]:
    """The one fault of a change, which changed nothing."""
    before = a_pool(town), story(town)
    with pytest.raises(BadRequest) as caught:
        pools.patch(town.plane, "default", change, by="alice")
    assert (a_pool(town), story(town)) == before
    (fault,) = caught.value.faults
    return fault.field, fault.message


def warned(town: Town, change: dict[str, Any]) -> list[Fault]:
    told: list[Fault] = []
    pools.patch(town.plane, "default", change, by="alice", warn=told.append)
    return told


def test_a_launch_template_that_does_not_exist_is_refused() -> None:
    field, message = refused(Town(), {"launch_template": "graders:7"})
    assert field == "launch_template"
    assert "EC2 in us-east-1 has no launch template graders:7" in message
    assert "say its name, not its id" in refused(Town(), {"launch_template": "lt-0123456789abcdef0"})[1]


def test_a_launch_template_that_the_functions_may_not_use_is_refused_with_the_tag_that_it_lacks() -> None:
    """It is there, but every launch would be refused (policies/wakes.json), and the jobs would wait for ever."""
    town = Town()
    town.cloud.facts.templates |= {"graders": STAGE_IMAGE, "graders:2": STAGE_IMAGE}
    assert warned(town, {"launch_template": "graders"}) == []
    town.cloud.facts.foreign.add("graders")
    field, message = refused(town, {"launch_template": "graders:2"})
    assert field == "launch_template"
    assert "does not carry the tag spillway:stage=town" in message


def test_a_launch_template_without_an_image_needs_one_of_the_pool() -> None:
    town = Town()
    town.cloud.facts.templates["bare"] = ""
    field, message = refused(town, {"launch_template": "bare"})
    assert field == "launch_template"
    assert "names no image, and neither does the pool" in message
    assert warned(town, {"launch_template": "bare", "image": STAGE_IMAGE}) == []


@pytest.mark.parametrize("template", [None, "graders"])
def test_where_a_launch_template_names_a_subnet_the_offerings_must_go_with_its_zone(template: str | None) -> None:
    """EC2 refuses a launch into another zone than the subnet's, and one of a type that is not sold there."""
    town = Town()
    town.cloud.facts.templates["graders"] = STAGE_IMAGE
    town.cloud.facts.template_subnets[template or ""] = "subnet-1"
    town.cloud.facts.subnets["subnet-1"] = "us-east-1b"
    town.cloud.facts.unsold.add(("us-east-1b", "m7i.large"))
    named = {"launch_template": template}
    assert warned(town, {**named, "offerings": [in_region(), in_region(zone="us-east-1b")]}) == []
    field, message = refused(town, {**named, "offerings": [in_region(), in_region(zone="us-east-1a")]})
    assert field == "offerings[1].zone"
    assert "puts hosts into subnet-1, which is in us-east-1b: leave the zone out" in message
    field, message = refused(town, {**named, "offerings": [in_region(name="m7i.large")]})
    assert field == "offerings[0].zone"
    assert "EC2 does not sell m7i.large in us-east-1b, where the launch template puts hosts (subnet-1)" in message
    town.cloud.facts.subnets.clear()
    field, message = refused(town, {**named, "offerings": [in_region(market="spot")]})
    assert field == ("launch_template" if template else "offerings[0].region")
    assert "there is no subnet-1 in us-east-1" in message


def test_an_image_that_does_not_exist_is_refused() -> None:
    field, message = refused(Town(), {"image": "ami-0123456789abcdef0"})
    assert field == "image"
    assert "there is no image ami-0123456789abcdef0 in us-east-1" in message


def test_the_image_that_a_template_boots_must_be_there_too() -> None:
    """Old images are withdrawn; who named what must look elsewhere for it."""
    town = Town()
    town.cloud.facts.templates["old"] = "ami-0123456789abcdef0"
    field, message = refused(town, {"launch_template": "old"})
    assert field == "launch_template"
    assert "boots ami-0123456789abcdef0, but there is no image" in message
    town.cloud.facts.images.clear()
    field, message = refused(town, {"offerings": [in_region(), in_region(market="spot")]})
    assert field == "offerings[0].region"
    assert "`spillway bootstrap --stage town`" in message


def test_an_image_of_another_architecture_is_refused_at_the_type() -> None:
    town = Town()
    town.cloud.facts.images[ARM] = "arm64"
    field, message = refused(town, {"image": ARM})
    assert field == "offerings[0].instance_type"
    assert f"c7i.large is x86_64, but {ARM} is an image for arm64" in message
    assert warned(town, {"image": ARM, "offerings": [in_region(name="c8g.large")]}) == []


def test_the_image_that_a_template_brings_counts_as_well() -> None:
    """The stage's own is x86_64, unless its operator chose another."""
    town = Town()
    field, message = refused(town, {"offerings": [in_region(name="c8g.large")]})
    assert field == "offerings[0].instance_type"
    assert "c8g.large is arm64" in message
    town.cloud.facts.images[ARM] = "arm64"
    town.cloud.facts.templates["arm"] = ARM
    assert warned(town, {"offerings": [in_region(name="c8g.large")], "launch_template": "arm"}) == []


def test_a_region_that_is_not_enabled_is_refused_with_what_to_do() -> None:
    town = Town()
    town.cloud.facts.closed.add("me-south-1")
    field, message = refused(town, {"offerings": [in_region(), in_region("me-south-1")]})
    assert field == "offerings[1].region"
    assert "takes no credentials of this account" in message
    assert "spillway bootstrap --stage town --host-region me-south-1" in message


def test_a_region_of_another_part_of_aws_is_not_said_to_be_enabled_somewhere() -> None:
    """No account of ours can: China and GovCloud have accounts of their own."""
    town = Town()
    town.cloud.facts.closed.add("cn-north-1")
    _, message = refused(town, {"offerings": [in_region("cn-north-1")]})
    assert "accounts of its own" in message
    assert "enable" not in message


def test_a_region_that_was_not_bootstrapped_is_refused_with_the_command() -> None:
    town = Town()
    town.cloud.facts.bare.add("eu-west-1")
    field, message = refused(town, {"offerings": [in_region("eu-west-1")]})
    assert field == "offerings[0].region"
    assert "`spillway bootstrap --stage town --host-region eu-west-1`" in message


def test_a_type_that_a_region_or_zone_does_not_sell_is_refused() -> None:
    town = Town()
    town.cloud.facts.unsold |= {("eu-west-1", "c7i.large"), ("us-east-1a", "c7i.large")}
    assert refused(town, {"offerings": [in_region("eu-west-1")]}) == (
        "offerings[0].instance_type",
        "EC2 does not sell c7i.large in eu-west-1",
    )
    field, message = refused(town, {"offerings": [in_region(zone="us-east-1a")]})
    assert field == "offerings[0].zone"
    assert "it does in us-east-1b, us-east-1c" in message


def test_a_spot_limit_below_every_price_is_refused_with_the_cheapest() -> None:
    town = Town()
    town.cloud.facts.spot |= {
        ("us-east-1a", "c7i.large"): 0.04,
        ("us-east-1b", "c7i.large"): 0.031,
        ("us-east-1c", "c7i.large"): 0.05,
    }
    spot = in_region(market="spot", max_price_usd_h=0.03)
    field, message = refused(town, {"offerings": [in_region(), spot]})
    assert field == "offerings[1].max_price_usd_h"
    assert "the cheapest is 0.031 USD an hour in us-east-1b, 0.08925 on demand" in message
    assert warned(town, {"offerings": [{**spot, "max_price_usd_h": 0.031}]}) == []
    field, message = refused(town, {"offerings": [{**spot, "max_price_usd_h": 0.035, "zone": "us-east-1a"}]})
    assert "in us-east-1a now: the cheapest is 0.04" in message


def test_a_limit_that_was_written_on_a_cheaper_day_does_not_keep_anybody_from_adding_a_backup() -> None:
    """The price has risen above it: that is when an operator needs to change the pool. It is told as a warning."""
    town = Town()
    spot = in_region(market="spot", max_price_usd_h=0.05)
    assert warned(town, {"offerings": [spot]}) == []
    town.cloud.facts.spot |= {(f"us-east-1{zone}", "c7i.large"): 0.06 for zone in "abc"}
    (warning,) = warned(town, {"offerings": [spot, in_region()]})
    assert warning.field == "offerings[0].max_price_usd_h"
    assert "below every spot price" in warning.message
    assert len(a_pool(town).spec.offerings) == 2
    assert refused(town, {"offerings": [{**spot, "max_price_usd_h": 0.055}, in_region()]})[0] == warning.field


def test_a_limit_above_the_on_demand_price_is_written_and_said_to_do_nothing() -> None:
    (warning,) = warned(Town(), {"offerings": [in_region(market="spot", max_price_usd_h=0.2)]})
    assert warning.field == "offerings[0].max_price_usd_h"
    assert "above the on-demand price" in warning.message


@pytest.mark.parametrize("operation", ASKS)
def test_where_ec2_does_not_answer_the_change_is_written_with_a_warning(operation: str) -> None:
    """A bad day of EC2, or a role that may not ask, must not keep anybody from changing a pool."""
    town = Town()
    town.cloud.calls.fail(operation, CloudUnavailable("UnauthorizedOperation: no"))
    (warning,) = warned(town, {"offerings": [in_region(market="spot", max_price_usd_h=0.05)]})
    assert warning.field == "offerings[0].region"
    assert "was not checked with EC2: UnauthorizedOperation: no" in warning.message
    assert a_pool(town).spec.offerings[0].market == "spot"


def test_what_was_answered_before_the_silence_still_counts() -> None:
    town = Town()
    town.cloud.facts.images[ARM] = "arm64"
    town.cloud.calls.fail("ec2.DescribeInstanceTypeOfferings", CloudUnavailable("slow"))
    assert refused(town, {"image": ARM})[0] == "offerings[0].instance_type"


def test_a_change_that_is_tried_again_warns_and_asks_once() -> None:
    """Somebody else changed the pool in the same moment: the second try is the one that counts."""
    town = Town()
    plane = meddled(town, "put_pool", lambda: pools.patch(town.plane, "default", {"linger_s": 5}, by="bob"))
    told: list[Fault] = []
    change = {"offerings": [in_region(market="spot", max_price_usd_h=0.2)]}
    assert pools.patch(plane, "default", change, by="alice", warn=told.append).spec.linger_s == 5
    assert len(told) == 1
    assert asked(town) == list(ASKS)


def test_only_what_changed_is_asked() -> None:
    """Image, template and offerings, in the region where they changed; a pool's other settings ask nothing."""
    town = Town()
    assert warned(town, {"linger_s": 5, "hosts_max": 9}) == []
    assert asked(town) == []
    warned(town, {"offerings": [in_region()]})  # what it was
    assert asked(town) == []
    warned(town, {"offerings": [in_region(), in_region("eu-west-1")]})
    assert {call.detail["region"] for call in town.cloud.calls.made if call.operation in ASKS} == {"eu-west-1"}
    assert asked(town) == list(ASKS[:3])  # and no price, because nothing is limited


def test_a_region_that_is_slow_is_not_waited_for_with_all_the_others() -> None:
    """The API must answer; after some seconds nothing further is asked, neither of this region nor of others."""
    town = Town()
    facts = town.cloud.facts
    slow = facts.template

    def template(region: str, template: str | None) -> Template | None:
        town.now += 4.1
        return slow(region, template)

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return template if name == "template" else getattr(facts, name)

    object.__setattr__(town.cloud, "facts", Slow())
    told = warned(town, {"offerings": [in_region(r) for r in ("eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1")]})
    assert [w.field for w in told] == ["offerings[1].region", "offerings[2].region", "offerings[3].region"]
    assert "EC2 did not answer all within 8 s" in told[0].message
    assert "other regions did not answer within 8 s" in told[1].message


def test_the_stages_defaults_are_checked_for_themselves_and_for_each_pool() -> None:
    town = Town()
    town.cloud.facts.images[ARM] = "arm64"
    pools.put(town.plane, "arms", {"offerings": [in_region(name="c8g.large")], "image": ARM}, by="alice")
    with pytest.raises(BadRequest) as caught:
        settings.patch_defaults(town.plane, {"launch_template": "none"}, by="root")
    assert caught.value.faults[0].field == "launch_template"
    town.cloud.facts.images["ami-0000000000000000b"] = "x86_64"
    before = len(asked(town))
    settings.patch_defaults(town.plane, {"image": "ami-0000000000000000b"}, by="root")  # arms has its own
    assert (
        asked(town)[before:].count("ec2.DescribeImages") == 1
    )  # the defaults' own offerings and the pool's are the same question
    assert town.stores.registry.pool("arms").spec.image == ARM
    assert a_pool(town).spec.image == "ami-0000000000000000b"


def test_a_default_that_only_one_pool_cannot_have_names_that_pool() -> None:
    town = Town()
    town.cloud.facts.images[ARM] = "arm64"
    town.cloud.facts.templates["arm"] = ARM
    pools.put(town.plane, "arms", {"offerings": [in_region(name="c8g.large")], "launch_template": "arm"}, by="alice")
    town.cloud.facts.images["ami-0000000000000000b"] = "x86_64"
    with pytest.raises(BadRequest, match=r"is an image for x86_64.*\(in pool arms\)"):
        settings.patch_defaults(town.plane, {"image": "ami-0000000000000000b"}, by="root")
    assert town.stores.registry.defaults().settings == {}


def test_a_pool_may_name_a_type_that_the_stage_was_told_of_and_its_hosts_launch() -> None:
    """From the setting through the plan to RunInstances."""
    town = Town()
    told = {"c99z.large": {"vcpus": 2, "memory_mib": 4096, "price_usd_h": 0.05}}
    settings.patch_defaults(town.plane, {"types": told}, by="root")
    pools.patch(town.plane, "default", {"offerings": [in_region(name="c99z.large")], "budget_usd_h": 0.1}, by="alice")
    for _ in range(9):
        town.submit()
    town.run(10)
    assert {m.launch.offering.instance_type for m in town.cloud.compute.alive()} == {"c99z.large"}
    assert 1 <= len(town.cloud.compute.alive()) <= 2
