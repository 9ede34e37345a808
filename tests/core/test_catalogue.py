"""The catalogue's figures are facts: they are compared with a price list where there is one."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from chalicelib.core.catalogue import TYPES, price_usd_h
from chalicelib.core.host import Offering

LISTS = Path(__file__).parents[3] / "shared" / "data" / "ec2_catalog"


def test_sizes_and_prices_are_ec2s() -> None:
    """Linux on demand in us-east-1, July 2026."""
    found = sorted(LISTS.glob("*2026*.csv.gz"))
    if not found:
        pytest.skip("there is no price list beside the repository (../shared/data/ec2_catalog)")
    with gzip.open(found[0], "rt") as lines:
        rows = {row["instance_type"]: row for row in csv.DictReader(lines)}
    for name, kind in TYPES.items():
        row = rows[name]
        listed = (int(row["vcpu"]), float(row["memory_gib"]) * 1024, float(row["linux_ondemand_usd_hr"]))
        assert (kind.vcpus, kind.memory_mib, kind.price_usd_h) == listed, name


def test_a_host_costs_its_types_list_price() -> None:
    assert price_usd_h(Offering(region="us-east-1", instance_type="c7i.large")) == 0.08925
    with pytest.raises(KeyError):
        price_usd_h(Offering(region="us-east-1", instance_type="x9.huge"))


@pytest.mark.parametrize(
    ("name", "sees_mib"), [("c5.large", 3695), ("m5.large", 7725), ("m5.xlarge", 15576), ("i4i.32xlarge", 1_011_000)]
)
def test_jobs_may_reserve_less_than_the_machine_sees(name: str, sees_mib: int) -> None:
    """EC2 names more memory than Linux finds (`sees_mib`, about: what Kubernetes tells of such nodes); services need some of that."""
    assert 0.9 * sees_mib - 300 < TYPES[name].memory_for_jobs_mib <= sees_mib - 180
