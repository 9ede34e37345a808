"""Recorded prices: the formats that are out there, written here by ourselves, and what is said of files that are none of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from chalicelib.cloud.price_files import UnreadablePrices, read
from chalicelib.core.spot_history import Change, holes, markets

RECORDS = Path(__file__).parents[3] / "shared/data/spot"
NOON = 1_431_000_000.0  # 2015-05-07T12:00:00Z
OLD = "timestamp,availability_zone,instance_type,product,price,on_demand_price\n"
PLAIN = "timestamp,availability_zone,instance_type,product,price\n"


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (OLD + "2015-05-07T12:00:00Z,us-east-1a,c3.xlarge,Linux/UNIX,0.0321,0.21\n", 0.21),
        (PLAIN + "2015-05-07T12:00:00.000Z,us-east-1a,c3.xlarge,Linux/UNIX,0.032100\n", None),
        (PLAIN + "2015-05-07T14:00:00+02:00,us-east-1a,c3.xlarge,Linux/UNIX,0.0321\r\n", None),
        ("price,instance_type,timestamp,availability_zone\n.0321,c3.xlarge,2015-05-07 12:00:00,us-east-1a\n", None),
    ],
    ids=["with the price on demand", "with milliseconds", "with an offset", "without product and zone"],
)
def test_csv_of_each_kind_tells_the_same_price(tmp_path: Path, text: str, listed: float | None) -> None:
    (tmp_path / "p.csv").write_text(text)
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress(text.encode()))
    expected = [Change(NOON, "us-east-1a", "c3.xlarge", 0.0321, listed)]
    assert read(tmp_path / "p.csv") == read(tmp_path / "p.csv.gz") == expected


def test_json_is_what_aws_prints_or_its_list_or_its_lines(tmp_path: Path) -> None:
    row = {
        "AvailabilityZone": "us-east-1a",
        "InstanceType": "c3.xlarge",
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": "0.0321",
        "Timestamp": "2015-05-07T12:00:00+00:00",
    }
    later = {**row, "Timestamp": "2015-05-07T12:00:30+00:00", "SpotPrice": "0.04"}
    windows = {**row, "ProductDescription": "Windows"}
    expected = [Change(NOON, "us-east-1a", "c3.xlarge", 0.0321), Change(NOON + 30, "us-east-1a", "c3.xlarge", 0.04)]
    for text in (
        json.dumps({"SpotPriceHistory": [later, windows, row]}, indent=1),
        json.dumps([later, windows, row]),
        "\n".join(map(json.dumps, [later, windows, row])),
    ):
        (tmp_path / "p.json").write_text(text)
        assert read(tmp_path / "p.json") == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the header lacks timestamp"),
        (b"time,price\n1,2\n", "the header lacks timestamp, availability_zone, instance_type"),
        (PLAIN.encode(), "tells no price of a Linux host"),
        (PLAIN.encode() + b"2015-05-07T12:00:00Z,a,b,Windows,1\n", "tells no price of a Linux host"),
        (
            PLAIN.encode() + b"2015-05-07T12:00:00Z,a,b,Linux/UNIX,free\n",
            "line 2: could not convert string to float: 'free'",
        ),
        (PLAIN.encode() + b"2015-05-07T12:00:00Z,a,b,Linux/UNIX,nan\n", "line 2: nan is no price"),
        (PLAIN.encode() + b"2015-05-07T12:00:00Z,a,b,Linux/UNIX,-1\n", "line 2: -1 is no price"),
        (PLAIN.encode() + b"2015-05-07T12:00:00Z,,b,Linux/UNIX,1\n", "line 2: the instance type or the zone is empty"),
        (PLAIN.encode() + b"yesterday,a,b,Linux/UNIX,1\n", "line 2: Invalid isoformat string"),
        (PLAIN.encode() + b"2015-05-07T12:00:00Z\n", "line 2: "),
        (b'{"SpotPriceHistory": 3}', "must be a list"),
        (b'[{"InstanceType": "a"}]', "entry 1: SpotPrice is missing"),
        (b"[3]", "entry 1: not a price but int"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "neither text nor gzipped text"),
        (gzip.compress(OLD.encode(), mtime=0)[:30], "neither text nor gzipped text"),
        (gzip.compress(OLD.encode(), mtime=0)[:-8] + bytes(8), "CRC check failed"),
        (PLAIN.encode() + b'"' + b"x" * 200_000 + b'"', "is no CSV: field larger than field limit"),
    ],
)
def test_what_is_no_price_record_is_named_with_its_place(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(UnreadablePrices) as refusal:
        read(tmp_path / "p")
    assert sentence in str(refusal.value)
    assert str(tmp_path / "p") in str(refusal.value)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePrices, match="No such file"):
        read(tmp_path / "nowhere.csv")


def test_a_market_needs_a_price_on_demand_and_a_hole_is_a_time_in_which_nothing_was_recorded() -> None:
    changes = [
        Change(0.0, "a", "x.large", 0.1, 1.0),
        Change(60.0, "b", "y.large", 0.2),
        Change(5 * 3600.0, "a", "x.large", 0.3),
    ]
    assert list(markets(changes)) == ["x.large"]
    assert list(markets(changes, {"y.large": 2.0})) == ["x.large", "y.large"]


def test_a_hole_is_a_silence_that_is_long_and_unlike_the_record() -> None:
    """Half a day in a record of minutes is one; in one of hours, as EC2's prices are today, it is an ordinary night."""
    minutes = [60.0 * n for n in range(2000)]
    half_a_day = minutes[-1] + 12 * 3600
    told = [Change(at, "a", "x.large", 0.1) for at in (*minutes, half_a_day)]
    assert holes(told) == [(minutes[-1], half_a_day)]
    assert holes([Change(n * 6 * 3600.0, "a", "x.large", 0.1) for n in (0, 1, 2, 4, 5, 6, 8)]) == []
    assert holes(told[:1]) == []


@pytest.mark.skipif(not RECORDS.is_dir(), reason=f"the recorded prices are not there: {RECORDS}")
@pytest.mark.parametrize(
    ("name", "rows", "kinds"),
    [
        ("us-east-1_2015_prateek-s", 274_099, 5),
        ("us-2013_botocore", None, None),
        ("us-east-1_2021_m5large_aws-instance-selector", 250, 1),
    ],
)
def test_the_real_records_are_read_whole(name: str, rows: int | None, kinds: int | None) -> None:
    changes = read(RECORDS / f"{name}.csv.gz")
    assert rows is None or len(changes) == rows
    assert kinds is None or len({change.instance_type for change in changes}) == kinds
    assert changes
