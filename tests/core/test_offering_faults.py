"""Offerings that cannot be are refused by field, in sentences that help; newer types are a setting."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.core import offering_faults
from chalicelib.core.catalogue import TYPES, capacity, knows, price_region, price_usd_h, type_of
from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec
from chalicelib.core.settings import effective, faults

NEW = {"c99z.large": {"vcpus": 2, "memory_mib": 4096, "price_usd_h": 0.05, "arch": "arm64"}}


def offering(name: str, **more: Any) -> Offering:
    return Offering(**{"region": "us-east-1", "instance_type": name, **more})


def said(*offerings: Offering, **more: Any) -> list[tuple[str, str]]:
    return [(f.field, f.message) for f in faults(PoolSpec(offerings=offerings, **more))]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("c7i.lareg", "did you mean c7i.large?"),
        ("c7i.huge", "c7i has large, xlarge, 2xlarge"),
        ("c7j.large", "c7i.large"),
        ("C7I.Large ", "did you mean c7i.large?"),
        ("banana", "`spillway offerings` lists what there is"),
        ("", "`spillway offerings` lists what there is"),
    ],
)
def test_an_unknown_type_is_refused_with_the_nearest_and_not_with_all(name: str, hint: str) -> None:
    ((field, message),) = said(offering("m7i.large"), offering(name))
    assert field == "offerings[1].instance_type"
    assert hint in message
    assert ("spillway offerings add" in message) == (name in ("c7i.lareg", "c7i.huge", "c7j.large"))
    assert "?." not in message
    assert len(message) < 400


@pytest.mark.parametrize("name", ["c7i.large; rm -rf x", "c7i.large\nm7i.large", "\0", "ç7i.größe", "x" * 64])
def test_what_is_no_name_of_a_type_is_not_put_into_a_command(name: str) -> None:
    """People copy commands out of sentences."""
    ((_, message),) = said(offering(name))
    assert "spillway offerings add" not in message


@pytest.mark.parametrize(
    ("more", "field", "sentence"),
    [
        (
            {"region": "us-east-1b"},
            "region",
            "'us-east-1b' is a zone: its region is us-east-1, and `zone` may say us-east-1b",
        ),
        ({"region": "US-EAST-1"}, "region", "did you mean us-east-1?"),
        ({"region": ""}, "region", "AWS has no region ''"),
        ({"zone": "b"}, "zone", "'b' is no zone of us-east-1: they are named us-east-1a, us-east-1b and so on"),
        ({"zone": "use1-az1"}, "zone", "'use1-az1' is no zone of us-east-1"),
        ({"zone": "us-east-1a\n"}, "zone", "is no zone"),
        ({"zone": "us-east-10a"}, "zone", "is no zone"),
        ({"market": "Spot"}, "market", "'Spot' must be spot or on_demand"),
        (
            {"market": "spot", "max_price_usd_h": 0.001},
            "max_price_usd_h",
            "is 0.001: EC2 takes no limit that is not above 0.001",
        ),
    ],
)
def test_each_part_of_an_offering_is_refused_in_a_sentence_of_its_own(
    more: dict[str, Any], field: str, sentence: str
) -> None:
    ((at, message),) = said(offering("m7i.large"), offering("c7i.large", **more))
    assert at == f"offerings[1].{field}"
    assert sentence in message


def test_zones_on_other_roofs_are_zones_too() -> None:
    """Local and Wavelength Zones; whether the type is sold there, EC2 says."""
    for zone in ("us-east-1f", "us-east-1-bos-1a", "us-east-1-wl1-bos-wlz-1a"):
        assert said(offering("c7i.large", zone=zone)) == []


def test_the_same_offering_twice_is_refused() -> None:
    """Nobody means it; with another limit or zone it is another rung."""
    spot = offering("c7i.large", market="spot")
    ((field, message),) = said(spot, offering("c7i.large"), offering("c7i.large", market="spot"))
    assert (field, message) == ("offerings[2]", "is the same as offerings[0]: leave one of them out")
    assert said(spot, offering("c7i.large", market="spot", max_price_usd_h=0.05)) == []


def test_two_architectures_need_two_pools() -> None:
    """Hosts of a pool boot one image."""
    ((field, message),) = said(offering("c7i.large"), offering("m7i.large"), offering("c8g.large"))
    assert field == "offerings[2].instance_type"
    assert "c8g.large is arm64, but c7i.large is x86_64" in message
    assert said(offering("c8g.large"), offering("m8g.large", market="spot")) == []


def test_what_is_never_sold_as_spot_is_refused_as_spot() -> None:
    ((field, message),) = said(offering("hpc7g.4xlarge", market="spot"))
    assert field == "offerings[0].market"
    assert "only on_demand" in message
    assert said(offering("hpc7g.4xlarge")) == []


def test_spot_offerings_of_one_group_have_one_limit() -> None:
    """An Auto Scaling group knows no other: by the highest of them it would buy what nobody wanted to pay."""
    cheap, dear = (offering("c7i.large", market="spot", max_price_usd_h=limit) for limit in (0.03, 0.06))
    elsewhere = offering("c7i.large", market="spot", region="eu-west-1")
    assert said(cheap, dear, elsewhere, offering("m7i.large")) == []
    ((field, message),) = said(cheap, dear, elsewhere, offering("m7i.large"), capacity="asg")
    assert field == "offerings[1].max_price_usd_h"
    assert "is 0.06, but that of offerings[0] is 0.03: the spot group of us-east-1 has one limit" in message
    ((_, message),) = said(cheap, offering("m7i.large", market="spot"), capacity="asg")
    assert "is not said, but that of offerings[0] is 0.03" in message


def test_a_limit_above_the_on_demand_price_or_without_spot_is_said_to_do_nothing() -> None:
    """It harms nobody, so it is no fault."""
    limits = (
        offering("c7i.large", market="spot", max_price_usd_h=0.2),
        offering("c7i.large", market="spot", max_price_usd_h=0.05),
        offering("c7i.large", max_price_usd_h=0.05),
        offering("c7i.large", market="spot", max_price_usd_h=9, region="eu-west-1"),
    )
    assert said(*limits) == []
    told = {w.field: w.message for w in offering_faults.warnings(PoolSpec(offerings=limits))}
    assert set(told) == {f"offerings[{n}].max_price_usd_h" for n in (0, 2, 3)}
    assert "above the on-demand price of c7i.large, 0.08925" in told["offerings[0].max_price_usd_h"]
    assert "is for spot" in told["offerings[2].max_price_usd_h"]
    assert "the price of us-east-1; that of eu-west-1 is not known" in told["offerings[3].max_price_usd_h"]


def test_a_type_that_is_newer_than_the_release_is_a_setting() -> None:
    """No deployment: the stage says what it has and costs, and every pool may name it."""
    there = offering("c99z.large")
    assert [field for field, _ in said(there)] == ["offerings[0].instance_type"]
    spec = effective({"types": NEW}, {"offerings": [{"region": "us-east-1", "instance_type": "c99z.large"}]})
    assert faults(spec) == []
    assert (capacity(there, spec).cpu, capacity(there, spec).memory_mib) == (2.0, 4096 - 384 - 204)
    assert price_usd_h(there, spec) == 0.05
    assert not knows(there, PoolSpec())
    assert [
        f.field
        for f in faults(
            effective(
                {"types": NEW},
                {"offerings": [{"region": "us-east-1", "instance_type": n} for n in ("c7i.large", "c99z.large")]},
            )
        )
    ] == ["offerings[1].instance_type"]


def test_types_of_the_stage_and_of_the_pool_are_known_together() -> None:
    """A pool that adds one of its own does not lose the stage's; the pool's word of the same type counts."""
    own = {
        "c98z.large": {**NEW["c99z.large"], "vcpus": 8},
        "c7i.large": {"vcpus": 2, "memory_mib": 4096, "price_usd_h": 0.01},
    }
    spec = effective({"types": {**NEW, "c98z.large": NEW["c99z.large"]}}, {"types": own})
    assert set(spec.types) == {"c98z.large", "c99z.large", "c7i.large"}
    assert capacity(offering("c98z.large"), spec).slots == 8
    assert price_usd_h(offering("c7i.large"), spec) == 0.01


def test_a_price_says_whose_region_it_is() -> None:
    """The list has few regions; elsewhere the first one's price stands in, and nobody may think otherwise."""
    assert price_region(offering("c7i.large")) == "us-east-1"
    assert price_region(offering("c7i.large", region="eu-west-1")) == "us-east-1"
    assert price_usd_h(offering("c7i.large", region="eu-west-1")) == TYPES["c7i.large"].price_usd_h


def test_every_type_of_the_catalogue_is_whole() -> None:
    """A launch, a budget and the advisor can count with each of them."""
    assert len(TYPES) > 1000
    for name, kind in TYPES.items():
        assert name in TYPES
        assert TYPES[name] is kind
        assert type_of(name) is kind
        assert kind.vcpus >= 1
        assert kind.memory_mib >= 512
        assert kind.price_usd_h > 0
        assert kind.arch in ("x86_64", "arm64")
        assert 1 <= kind.cores <= kind.vcpus
        assert 0.0 <= kind.speed < 5.0


@pytest.mark.parametrize("name", ["", ".", "c7i", "c7i.", ".large", "c7i.large.large", "C7I.LARGE", 7, None])
def test_what_is_no_type_is_not_there(name: object) -> None:
    assert name not in TYPES
