"""The price feed: EC2's own answers, page by page, and a sentence in the place of placement scores where there are none."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted_aws import Answer, ec2_error, scripted_aws
from typer.testing import CliRunner
from worlds import REGION, a_session

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.prices import Ec2Prices
from chalicelib.cloud.requests import Requests
from chalicelib.core.spot_history import Change
from chalicelib.errors import CloudUnavailable
from spillway.cli import app

BEGIN, END = 1_700_000_000.0, 1_700_600_000.0


def feed(url: str) -> Ec2Prices:
    return Ec2Prices(Clients(Requests(), endpoint_url=url, session=a_session()))


def prices_page(items: list[tuple[str, str, str, str]], token: str = "") -> Answer:
    rows = "".join(
        f"<item><timestamp>{at}</timestamp><availabilityZone>{zone}</availabilityZone><instanceType>c7i.large</instanceType>"
        f"<productDescription>{product}</productDescription><spotPrice>{price}</spotPrice></item>"
        for at, zone, product, price in items
    )
    return 200, (
        f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{rows}</spotPriceHistorySet><nextToken>{token}</nextToken>"
        "</DescribeSpotPriceHistoryResponse>"
    )


def test_moto_tells_prices_of_the_types_that_were_asked_for(moto_url: str) -> None:
    found = feed(moto_url).history(REGION, ["c5.large", "m5.large"], BEGIN, END)
    assert {change.instance_type for change in found} == {"c5.large", "m5.large"}
    assert {change.zone[:-1] for change in found} == {REGION}
    assert all(change.usd_h > 0 for change in found)


def test_moto_has_no_placement_scores_and_the_feed_says_so_in_a_sentence(moto_url: str) -> None:
    scores = feed(moto_url).scores(REGION, ["c5.large"])
    assert scores.by_zone_id == {}
    assert scores.why_not.startswith("No placement scores: EC2 in us-east-1 was asked for placement scores, and ")


def test_all_pages_are_read_and_come_oldest_first() -> None:
    """EC2 gives the newest first, a thousand at a time, of the time and product that were asked for."""

    def answer(action: str, parameters: dict[str, Any]) -> Answer:
        assert action == "DescribeSpotPriceHistory"
        if "NextToken" not in parameters:
            return prices_page([("2023-11-16T10:00:00.000Z", "us-east-1b", "Linux/UNIX", "0.0310")], "more")
        return prices_page(
            [
                ("2023-11-15T10:00:00.000Z", "us-east-1a", "Linux/UNIX", "0.0290"),
                ("2023-11-15T09:00:00.000Z", "us-east-1a", "Windows", "0.1290"),
            ]
        )

    with scripted_aws(answer) as (url, requests):
        found = feed(url).history(REGION, ["c7i.large"], BEGIN, END)
    early, late = datetime(2023, 11, 15, 10, tzinfo=UTC), datetime(2023, 11, 16, 10, tzinfo=UTC)
    assert found == [
        Change(early.timestamp(), "us-east-1a", "c7i.large", 0.029),
        Change(late.timestamp(), "us-east-1b", "c7i.large", 0.031),
    ]
    first = requests[0][1]
    assert (first["InstanceType.1"], first["ProductDescription.1"], first["MaxResults"]) == (
        "c7i.large",
        "Linux/UNIX",
        "1000",
    )
    assert first["StartTime"].startswith("2023-11-14T22:13:20")


def test_placement_scores_are_by_zone_id() -> None:
    xml = (
        "<GetSpotPlacementScoresResponse><spotPlacementScoreSet><item><region>us-east-1</region>"
        "<availabilityZoneId>use1-az4</availabilityZoneId><score>8</score></item></spotPlacementScoreSet></GetSpotPlacementScoresResponse>"
    )
    with scripted_aws(lambda _action, _parameters: (200, xml)) as (url, requests):
        scores = feed(url).scores(REGION, ["c7i.large"], hosts=3)
    assert scores.by_zone_id == {"use1-az4": 8}
    assert scores.why_not == ""
    assert requests[0][1]["TargetCapacity"] == "3"


def test_a_refusal_of_prices_is_a_sentence() -> None:
    with (
        scripted_aws(lambda _action, _parameters: ec2_error("UnauthorizedOperation", "You may not.", 403)) as (url, _),
        pytest.raises(
            CloudUnavailable,
            match=r"EC2 in us-east-1 was asked for the spot prices of c7i.large, and AWS answered Unauth",
        ),
    ):
        feed(url).history(REGION, ["c7i.large"], BEGIN, END)


def test_the_embedded_cloud_tells_the_prices_that_it_replays(embedded_url: str, tmp_path: Path) -> None:
    """What is written into a file comes back through EC2's own API, with the price that already held when the time began."""
    record = tmp_path / "record.csv"
    rows = [f"2021-01-0{day}T00:00:00Z,us-east-1a,m5.large,Linux/UNIX,0.03{day}" for day in range(1, 8)]
    record.write_text("\n".join(["timestamp,availability_zone,instance_type,product,price", *rows]))
    fault = {"kind": "spot_prices", "file": str(record), "start": "2021-01-06T12:00:00Z"}
    httpx.post(f"{embedded_url}/_faults", json=fault).raise_for_status()
    try:
        now = time.time()
        found = feed(embedded_url).history(REGION, ["m5.large"], now - 3 * 86_400, now)
        scores = feed(embedded_url).scores(REGION, ["m5.large"])
    finally:
        httpx.post(f"{embedded_url}/_faults", json={"kind": "spot_prices", "file": None})
    assert [change.usd_h for change in found] == [0.033, 0.034, 0.035, 0.036]
    assert {change.zone for change in found} == {"us-east-1a"}
    assert bool(scores.by_zone_id) != bool(scores.why_not)


def test_advice_from_ec2s_own_prices_from_end_to_end(moto_url: str) -> None:
    """moto tells one price for every zone, so the first zone is as good as any, and the scores that it lacks are a note."""
    credentials = {"AWS_ENDPOINT_URL": moto_url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    arguments = [
        "spot",
        "advise",
        "--type",
        "c5.large",
        "--region",
        REGION,
        "--job-hours",
        "1",
        "--deadline-hours",
        "4",
        "--json",
    ]
    result = CliRunner().invoke(app, arguments, env=credentials)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    offerings = [row["offering"] for row in answer["offerings"]]
    assert offerings[0].startswith("us-east-1/us-east-1")
    assert offerings[-1] == "us-east-1/*/c5.large/on_demand"
    assert [note for note in answer["notes"] if note.startswith("No placement scores: ")]
