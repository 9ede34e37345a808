"""`spillway offerings` on an operator's machine: the file that it writes, where its figures come from, what it lists."""

from __future__ import annotations

import csv
import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from price_rows import HEADS, ROW, changed

from chalicelib.core import catalogue_rows
from chalicelib.core.advice import Wish
from chalicelib.core.catalogue import PRICED_REGIONS, TYPES, InstanceType, Types
from infra import offerings, price_list
from infra.catalogue_file import FILE, render
from infra.errors import InfraError

SPEEDS = {name.partition(".")[0]: (kind.speed, kind.speed_measured) for name, kind in TYPES.items()}


def read_back(text: str, tmp_path: Path) -> Types:
    """What a release with this file would know."""
    file = tmp_path / "rows.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("rows", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Types(module.TEXT, tuple(module.REGIONS))


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    """All of it: the file is its own only source from then on."""
    text = render(TYPES, PRICED_REGIONS, SPEEDS)
    assert text == FILE.read_text()
    assert dict(read_back(text, tmp_path)) == dict(TYPES)


def test_the_shipped_file_is_small() -> None:
    """It goes into every function's package."""
    assert len(catalogue_rows.TEXT.encode()) < 32_000


def test_a_second_region_keeps_the_first_ones_prices(tmp_path: Path) -> None:
    told = {
        "c7i.large": InstanceType(2, 4096, 0.0, cores=1, clock_ghz=3.2),
        "c99z.large": InstanceType(2, 4096, 0.0, arch="arm64", cores=2),
    }
    types, regions = offerings.refreshed(
        TYPES, ("us-east-1",), "eu-west-1", told, {"c7i.large": 0.1, "c99z.large": 0.07}
    )
    assert regions == ("us-east-1", "eu-west-1")
    back = read_back(render(types, dict.fromkeys(regions, "2026-11-21"), SPEEDS), tmp_path)
    assert dict(back["c7i.large"].prices) == {"us-east-1": 0.08925, "eu-west-1": 0.1}
    assert (back["c99z.large"].price_usd_h, dict(back["c99z.large"].prices)) == (0.07, {"eu-west-1": 0.07})
    assert back["c99z.large"].speed == 0.0
    assert dict(back["m7i.large"].prices) == {"us-east-1": 0.1008}
    assert back["c7i.large"].price_in("eu-west-1") == 0.1


def test_what_a_region_no_longer_sells_loses_its_price_there() -> None:
    """And what has no price anywhere is no longer listed."""
    known = {
        "a.b": InstanceType(2, 4096, 0.1, cores=1, prices={"us-east-1": 0.1}),
        "a.c": InstanceType(2, 4096, 0.1, cores=1, prices={"us-east-1": 0.1, "eu-west-1": 0.2}),
    }
    types, _ = offerings.refreshed(known, ("us-east-1", "eu-west-1"), "us-east-1", {}, {})
    assert {name: dict(kind.prices) for name, kind in types.items()} == {"a.c": {"eu-west-1": 0.2}}


# ---- the price list


def a_product(name: str, usd_h: str) -> str:
    """A product as GetProducts answers it, in text."""
    term = {"priceDimensions": {"x": {"unit": "Hrs", "pricePerUnit": {"USD": usd_h}}}}
    return json.dumps(
        {"product": {"attributes": {"instanceType": name}}, "terms": {"OnDemand": {"x": term}, "Reserved": {}}}
    )


@contextmanager
def a_price_list(pages: list[list[str]]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """A pricing client whose server answers with these pages, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            at = int(asked[-1].get("NextToken", 0))
            document = {"PriceList": pages[at], **({"NextToken": str(at + 1)} if at + 1 < len(pages) else {})}
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    session = boto3.session.Session("x", "y", region_name="us-east-1")
    try:
        yield session.client("pricing", endpoint_url=f"http://127.0.0.1:{server.server_port}"), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_the_price_list_is_asked_page_by_page_for_linux_by_the_hour() -> None:
    pages = [
        [a_product("c7i.large", "0.0892500000"), a_product("free.large", "0.0000000000")],
        [a_product("m7i.large", "0.1")],
    ]
    with a_price_list(pages) as (client, asked):
        assert price_list.asked_prices(client, "eu-west-1") == {"c7i.large": 0.08925, "m7i.large": 0.1}
    fields = {f["Field"]: f["Value"] for f in asked[0]["Filters"]}
    assert fields == {
        "regionCode": "eu-west-1",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
    }
    assert len(asked) == 2


def test_an_answer_without_a_list_is_no_price_and_no_traceback() -> None:
    """What is not AWS's own price list (an embedded cloud) may answer so."""
    with a_price_list([[]]) as (client, _):
        client.meta.events.register("after-call", lambda parsed, **_: parsed.pop("PriceList"))
        assert price_list.asked_prices(client, "eu-west-1") == {}


def a_bulk_file(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="") as lines:
        lines.write(
            '"FormatVersion","v1.0"\n"Disclaimer","…"\n"Publication Date","2026-11-01"\n"Version","1"\n"OfferCode","AmazonEC2"\n'
        )
        csv.writer(lines, quoting=csv.QUOTE_ALL).writerows([HEADS, *rows])
    return path


def test_the_bulk_file_gives_the_same_prices_without_credentials(tmp_path: Path) -> None:
    """Reserved, Windows, dedicated, reservations that nobody uses, other regions and free rows are not it."""
    others = [
        changed(TermType="Reserved", PricePerUnit="0.05"),
        changed(Operating_System="Windows", PricePerUnit="0.9"),
        changed(Tenancy="Dedicated", PricePerUnit="0.9"),
        changed(CapacityStatus="UnusedCapacityReservation", PricePerUnit="0.9"),
        changed(MarketOption="CapacityBlock", PricePerUnit="0.9"),
        changed(operation="RunInstances:00g0", PricePerUnit="0.9"),
        changed(Region_Code="us-east-1", PricePerUnit="0.9"),
        changed(PricePerUnit="0.0000"),
    ]
    file = a_bulk_file(tmp_path / "index.csv", ROW, *others, changed(Instance_Type="m7i.large", PricePerUnit="0.1113"))
    assert price_list.listed_prices(file, "eu-west-1") == {"c7i.large": 0.1, "m7i.large": 0.1113}


def test_another_file_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(InfraError, match="no bulk price file"):
        price_list.listed_prices(other, "eu-west-1")
    with pytest.raises(InfraError, match="download the file of that region"):
        price_list.listed_prices(a_bulk_file(tmp_path / "index.csv", ROW), "us-west-2")
    with pytest.raises(InfraError, match="cannot be read"):
        price_list.listed_prices(tmp_path / "missing.csv", "us-west-2")


# ---- EC2, as moto has it


def test_a_refresh_writes_what_ec2_has(aws: str, tmp_path: Path) -> None:
    """Types of EC2, prices of the bulk file; speeds are kept, types with accelerators are not taken."""
    bulk = a_bulk_file(tmp_path / "index.csv", ROW, changed(Instance_Type="g6.xlarge"))
    file = tmp_path / "rows.py"
    done = offerings.refresh(boto3.session.Session(), "eu-west-1", "2026-11-21", price_list=bulk, file=file)
    back = read_back(file.read_text(), tmp_path)
    assert done["regions"] == ["us-east-1", "eu-west-1"]
    days = f'"us-east-1": "{PRICED_REGIONS["us-east-1"]}",\n    "eu-west-1": "2026-11-21",'
    assert days in file.read_text()  # the others' prices are as old as they were
    assert back["c7i.large"] == TYPES["c7i.large"].__class__(
        **{**fields(TYPES["c7i.large"]), "prices": {"us-east-1": 0.08925, "eu-west-1": 0.1}}
    )
    assert "g6.xlarge" not in back
    assert len(back) >= len(TYPES)


def fields(kind: InstanceType) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in InstanceType.__dataclass_fields__}


def test_one_type_is_looked_up_as_the_setting_has_it(aws: str) -> None:
    session = boto3.session.Session()
    assert offerings.looked_up(session, "us-east-1", "c7g.large", 0.07) == {
        "vcpus": 2,
        "memory_mib": 4096,
        "price_usd_h": 0.07,
        "arch": "arm64",
    }
    with pytest.raises(InfraError, match="accelerator"):
        offerings.looked_up(session, "us-east-1", "g6.xlarge", 1.0)
    with pytest.raises(InfraError, match="AWS said"):
        offerings.looked_up(session, "us-east-1", "x9.huge", 1.0)


def test_the_listing_says_whose_prices_it_shows() -> None:
    """Those of the region, or, where there are none, whose instead."""
    here = offerings.listing(Wish(families=("c7i",), slots_max=9), "us-east-1", "price")
    assert [row["instance_type"] for row in here["items"]] == ["c7i.large", "c7i.xlarge", "c7i.2xlarge"]
    assert (here["price_region"], here["slots_per_host"], here["items"][0]["slots"]) == ("us-east-1", "vCPUs + 1", 3)
    there = offerings.listing(Wish(families=("c7i",)), "eu-west-1", "price")
    assert (there["region"], there["price_region"]) == ("eu-west-1", "us-east-1")


def test_a_family_that_is_named_is_listed_whatever_its_generation_or_credits() -> None:
    """EC2 calls m5 a previous generation by now, and t3 is burstable: who names them wants to see them."""
    found = offerings.listing(Wish(families=("m5", "t3")), "us-east-1", "price")
    assert {row["instance_type"].partition(".")[0] for row in found["items"]} == {"m5", "t3"}


@pytest.mark.parametrize(
    ("family", "region", "sentence"),
    [
        ("c7x", "us-east-1", r"has no family 'c7x'; near: "),
        ("@", "us-east-1", "--family c7i is how one is said"),
        ("c7i", "nowhere", "--region: AWS has no region 'nowhere'"),
    ],
)
def test_a_family_or_region_that_is_not_there_is_refused(family: str, region: str, sentence: str) -> None:
    """An empty list would look as if nothing fitted."""
    with pytest.raises(InfraError, match=sentence):
        offerings.listing(Wish(families=(family,)), region, "price")
