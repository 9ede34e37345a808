"""Spot prices replayed and set by hand, and whom they interrupt, through real clients."""

import csv
import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from machine_cloud import MachineCloud
from market_cloud import launch, refused, spot

from localcloud.faults import BadFault
from localcloud.market.price_file import Offer, PriceFile, Series, read
from localcloud.market.prices import Prices

SHARED = Path(__file__).resolve().parents[3] / "shared/data/spot"
DAY = 86_400.0
HISTORY = """timestamp,availability_zone,instance_type,product,price,on_demand_price
2015-04-01T00:00:00Z,us-east-1a,c5.large,Linux/UNIX,0.020,0.085
2015-04-02T00:00:00Z,us-east-1b,c5.large,Linux/UNIX,0.025,0.085
2015-04-03T00:00:00Z,us-east-1a,c5.large,Linux/UNIX,0.030,0.085
2015-04-08T00:00:00Z,us-east-1a,c5.xlarge,Linux/UNIX,0.050,0.170
2015-04-08T01:00:00Z,us-east-1a,c5.large,Linux/UNIX,0.100,0.085
2015-04-08T02:00:00Z,us-east-1a,c5.large,Linux/UNIX,0.022,0.085
"""


@pytest.fixture
def cloud(emptied_market: MachineCloud) -> MachineCloud:
    return emptied_market


@pytest.fixture
def history(tmp_path: Path) -> str:
    path = tmp_path / "history.csv.gz"
    path.write_bytes(gzip.compress(HISTORY.encode()))
    return str(path)


def prices_of(cloud: MachineCloud, **query: Any) -> list[tuple[str, str, str]]:
    found = cloud.ec2.get_paginator("describe_spot_price_history").paginate(**query)
    return [
        (p["AvailabilityZone"][-1], p["InstanceType"], p["SpotPrice"])
        for page in found
        for p in page["SpotPriceHistory"]
    ]


def test_prices_are_answered_from_the_replay_by_our_clock(cloud: MachineCloud, history: str) -> None:
    """The last seven days are the file's seven days before the start, newest first; and the price that was valid when they began."""
    cloud.faults.set({"kind": "spot_prices", "file": history, "start": "2015-04-08T00:30:00Z", "speed": 5})
    now = datetime.now(UTC)
    valid_now = [("a", "c5.large", "0.030"), ("b", "c5.large", "0.025")]
    assert prices_of(cloud, StartTime=now, InstanceTypes=["c5.large"]) == valid_now
    week = cloud.ec2.describe_spot_price_history(StartTime=now - timedelta(days=7), InstanceTypes=["c5.large"])[
        "SpotPriceHistory"
    ]
    assert [(p["AvailabilityZone"][-1], p["SpotPrice"]) for p in week] == [
        ("a", "0.030"),
        ("b", "0.025"),
        ("a", "0.020"),
    ]
    assert abs((now - week[0]["Timestamp"]).total_seconds() - (5 * DAY + 1800)) < 30
    before = prices_of(cloud, EndTime=now - timedelta(days=6), InstanceTypes=["c5.large"])
    assert before == [("b", "c5.large", "0.025"), ("a", "c5.large", "0.020")]
    assert prices_of(cloud, AvailabilityZone="us-east-1b") == [("b", "c5.large", "0.025")]
    assert prices_of(cloud, Filters=[{"Name": "instance-type", "Values": ["*.xlarge"]}]) == [
        ("a", "c5.xlarge", "0.050")
    ]
    assert prices_of(cloud, ProductDescriptions=["Windows"]) == []
    assert len(prices_of(cloud, ProductDescriptions=["Linux/UNIX (Amazon VPC)"])) == 4
    west = cloud.front.client("ec2", "us-west-2").describe_spot_price_history()
    assert west["SpotPriceHistory"] == []


def test_a_history_is_read_page_by_page(cloud: MachineCloud, tmp_path: Path) -> None:
    """Pages neither repeat nor leave out a price, though time goes on between them."""
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "availability_zone", "instance_type", "price"])
        for minute in range(2_345):
            at = datetime(2021, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
            writer.writerow([at.isoformat(), "us-east-1a", "c5.large", f"0.{minute:06}"])
    cloud.faults.set({"kind": "spot_prices", "file": str(path), "start": "2021-01-02T12:00:00", "speed": 600})
    pages = list(cloud.ec2.get_paginator("describe_spot_price_history").paginate(PaginationConfig={"PageSize": 500}))
    assert [len(page["SpotPriceHistory"]) for page in pages[:-1]] == [500] * (len(pages) - 1)
    seen = [p["SpotPrice"] for page in pages for p in page["SpotPriceHistory"]]
    assert len(seen) >= 2_161
    assert seen == sorted(set(seen), reverse=True)
    with pytest.raises(ClientError):
        cloud.ec2.describe_spot_price_history(NextToken="nonsense")


def test_time_runs_faster_after_the_start_and_at_its_own_pace_before(history: str) -> None:
    """A replay of an hour in a minute does not squeeze the days before into hours."""
    now = 1_000_000.0
    prices = Prices(lambda: now)
    prices.begin(read(Path(history)), start=1428451200.0, speed=60.0)  # 2015-04-08T00:00:00Z
    large = Offer("us-east-1a", "c5.large")
    assert prices.now(large) == 0.03
    assert prices.next_change(large) == now + 60
    (latest, oldest) = list(prices.newest_first(large, 0.0, now))
    assert (latest.at, oldest.at) == (now - 5 * DAY, now - 7 * DAY)
    assert list(prices.newest_first(large, latest.at, now)) == [latest], (
        "it began at that very moment: nothing older was valid"
    )
    now += 60
    assert (prices.now(large), prices.next_change(large)) == (0.1, now + 60)
    now += 60
    assert (prices.now(large), prices.next_change(large)) == (0.022, None)
    prices.put(large, "0.5")
    now += 1
    assert prices.now(large) == 0.5
    assert [p.price for p in prices.newest_first(large, 0.0, now)] == ["0.5", "0.022", "0.100", "0.030", "0.020"]


@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=20, unique=True),
    st.floats(0, 1000),
    st.floats(0.5, 100),
    st.lists(st.floats(0, 50), max_size=10),
)
def test_at_every_moment_the_newest_change_is_the_price(
    times: list[float], start: float, speed: float, steps: list[float]
) -> None:
    """Whatever the speed: the price is that of the history's last change, the next change comes when it is told, and no other before."""
    times.sort()
    offer, now = Offer("us-east-1a", "c5.large"), 0.0
    prices = Prices(lambda: now)
    series = Series(times, [str(number) for number in range(len(times))])
    prices.begin(PriceFile({offer: series}, {}, times[0], times[-1]), start, speed)
    for step in [0.0, *steps]:
        now += step
        passed = [number for number, at in enumerate(times) if at <= start + now * speed]
        assert prices.now(offer) == (float(passed[-1]) if passed else None)
        coming = prices.next_change(offer)
        assert (coming is None) == (len(passed) == len(times))
        assert (
            coming is None
            or abs(coming - (times[len(passed)] - start) / (speed if times[len(passed)] >= start else 1)) < 1e-6
        )


def test_a_price_above_the_maximum_interrupts_with_warning_and_end(cloud: MachineCloud) -> None:
    """Event and metadata first, the end later, only those who are outbid: by their max price, else by the on-demand price."""
    where = {"zone": "us-east-1a", "instance_type": "c5.large"}
    cloud.faults.set({"kind": "spot_price", **where, "price": 0.03, "on_demand": 0.085, "warning_s": 0.6})
    (poor,), (default,), (rich,) = (launch(cloud, 1, "us-east-1a", **spot(bid)) for bid in ("0.05", None, "1.0"))
    (own,) = launch(cloud, 1, "us-east-1a")
    cloud.faults.set({"kind": "spot_price", **where, "price": 0.06})
    cloud.until(poor["InstanceId"], "terminated")
    warned = [e for e in cloud.events if e["detail-type"] == "EC2 Spot Instance Interruption Warning"]
    assert [e["detail"] for e in warned] == [{"instance-id": poor["InstanceId"], "instance-action": "terminate"}]
    states = cloud.described(poor["InstanceId"])
    assert states["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    cloud.faults.set({"kind": "spot_price", **where, "price": 0.09})
    cloud.until(default["InstanceId"], "terminated")
    assert cloud.fleet.machine(rich["InstanceId"]).state == cloud.fleet.machine(own["InstanceId"]).state == "running"
    assert refused(cloud, zone="us-east-1a", **spot("0.05")) == "SpotMaxPriceTooLow"
    assert refused(cloud, zone="us-east-1a", **spot()) == "SpotMaxPriceTooLow"
    assert launch(cloud, 1, "us-east-1a", **spot("0.2"))
    assert refused(cloud, **spot("cheap")) == "InvalidParameterValue"


def test_a_replayed_price_interrupts_when_its_time_comes(cloud: MachineCloud, history: str) -> None:
    """The price passes the on-demand price one history hour after the start: here half a second."""
    cloud.faults.set(
        {"kind": "spot_prices", "file": history, "start": "2015-04-08T00:00:01Z", "speed": 7200, "warning_s": 0.2},
    )
    (made,) = launch(cloud, 1, "us-east-1a", **spot())
    (other,) = launch(cloud, 1, "us-east-1b", **spot())
    cloud.until(made["InstanceId"], "terminated")
    assert cloud.fleet.machine(other["InstanceId"]).interrupt_at is None


def test_a_file_that_cannot_be_replayed_is_refused_with_a_sentence(
    cloud: MachineCloud, tmp_path: Path, history: str
) -> None:
    """Whoever mistypes learns where."""
    (tmp_path / "bad.csv").write_text(
        "timestamp,availability_zone,instance_type,price\n2015-04-01,us-east-1a,c5.large,cheap\n"
    )
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"timestamp" * 99)[:10] + b"\xff" * 20)
    cases = [
        ({"file": str(tmp_path / "absent.csv")}, "cannot be read"),
        ({"file": str(tmp_path / "bad.csv")}, "price 1"),
        ({"file": str(tmp_path / "broken.csv.gz")}, "cannot be read"),
        ({"file": history, "start": "yesterday"}, "start must be a time"),
        ({"file": history, "speed": 0}, "above 0"),
        ({"file": history, "on_demand": {"c5.large": "cheap"}}, "USD an hour"),
    ]
    for fields, words in cases:
        with pytest.raises(BadFault, match=words):
            cloud.faults.set({"kind": "spot_prices", **fields})
    for wrong in (
        {"kind": "capacity", "instances": -1},
        {"kind": "vcpu_quota", "vcpus": "many"},
        {"kind": "slow_listing", "ended_s": -1},
    ):
        with pytest.raises(BadFault):
            cloud.faults.set(wrong)


@pytest.mark.skipif(not SHARED.exists(), reason="the folder of real price histories is not here")
def test_real_histories_are_read() -> None:
    """Three files of three makers; the big one in a few seconds."""
    big = read(SHARED / "us-east-1_2015_prateek-s.csv.gz")
    assert sum(len(s.times) for s in big.offers.values()) == 274_099
    assert big.on_demand["us-east-1", "m3.medium"] == 0.067
    assert len(read(SHARED / "us-2013_botocore.csv.gz").offers) > 10
    assert {o.instance_type for o in read(SHARED / "us-east-1_2021_m5large_aws-instance-selector.csv.gz").offers} == {
        "m5.large"
    }


@pytest.mark.skipif(not SHARED.exists(), reason="the folder of real price histories is not here")
def test_a_week_of_a_real_history_comes_back_as_it_is_in_the_file(cloud: MachineCloud) -> None:
    """Every row of the week before the start, in every zone, with its price, counted from the file by another reader."""
    path = SHARED / "us-east-1_2015_prateek-s.csv.gz"
    cloud.faults.set({"kind": "spot_prices", "file": str(path), "start": "2015-05-01T00:00:00Z"})
    now = datetime.now(UTC)
    with gzip.open(path, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["instance_type"] == "c3.xlarge"]
    expected = sorted(
        (row["availability_zone"][-1], row["price"])
        for row in rows
        if "2015-04-24T00:02" <= row["timestamp"] < "2015-05-01T00"
    )
    week = prices_of(cloud, StartTime=now - timedelta(days=7), InstanceTypes=["c3.xlarge"])
    assert len(expected) > 100
    got = Counter((zone, price) for zone, _, price in week)
    assert not Counter(expected) - got
    assert (got - Counter(expected)).total() <= 9, (
        "beside them only what was valid when the week began, and its first minutes"
    )


def test_a_history_that_the_aws_command_printed_is_read(tmp_path: Path) -> None:
    """As the object that it prints, or as the list in it."""
    row = {
        "AvailabilityZone": "us-east-1a",
        "InstanceType": "c5.large",
        "ProductDescription": "Linux/UNIX (Amazon VPC)",
        "SpotPrice": "0.0345",
        "Timestamp": "2026-01-02T03:04:05+00:00",
    }
    for document in ({"SpotPriceHistory": [row]}, [row]):
        path = tmp_path / "prices.json"
        path.write_text(json.dumps(document))
        assert read(path).offers == {Offer("us-east-1a", "c5.large"): Series([1767323045.0], ["0.0345"])}
    path.write_text("[]")
    with pytest.raises(ValueError, match="no prices"):
        read(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        read(path)
