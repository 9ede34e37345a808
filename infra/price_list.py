"""What EC2 and AWS's price list say of instance types, asked with an operator's credentials.

AWS publishes its price list as one CSV file for each region ("bulk" file), readable without credentials, but of a few hundred MB; and it
answers GetProducts (credentials with `pricing:GetProducts`), a page of 100 products at a time, filtered to what is needed. Sizes need
credentials anyway (DescribeInstanceTypes), so GetProducts is what is asked, and `listed_prices` reads the bulk file instead, from disk, for
whoever may not ask it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from chalicelib.core.catalogue import InstanceType
from infra.errors import InfraError

PRICING_REGION = "us-east-1"  # the price list answers for all regions, from a few
ACCELERATORS = ("GpuInfo", "FpgaInfo", "InferenceAcceleratorInfo", "NeuronInfo", "MediaAcceleratorInfo")
# Linux without licences, shared machines, bought by the hour: one price for each type.
PRODUCT = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
    "marketoption": "OnDemand",
    "operation": "RunInstances",
}
COLUMNS = {
    "operatingSystem": "Operating System",
    "tenancy": "Tenancy",
    "preInstalledSw": "Pre Installed S/W",
    "capacitystatus": "CapacityStatus",
    "licenseModel": "License Model",
    "marketoption": "MarketOption",
    "operation": "operation",
}


def described(ec2: Any, names: tuple[str, ...] = ()) -> dict[str, InstanceType]:
    """What EC2 says of all types of a region without accelerators, or of these; prices are not among it (0). Raises InfraError."""
    asked = {"InstanceTypes": list(names)} if names else {}
    with _explained("EC2 was asked for its instance types"):
        pages = ec2.get_paginator("describe_instance_types").paginate(**asked)
        found = [told for page in pages for told in page["InstanceTypes"]]
    types = {}
    for told in found:
        archs = [arch for arch in told["ProcessorInfo"]["SupportedArchitectures"] if arch in ("x86_64", "arm64")]
        if archs and not any(kind in told for kind in ACCELERATORS):
            types[told["InstanceType"]] = InstanceType(
                vcpus=told["VCpuInfo"]["DefaultVCpus"],
                memory_mib=told["MemoryInfo"]["SizeInMiB"],
                price_usd_h=0.0,
                arch=archs[0],
                cores=told["VCpuInfo"].get("DefaultCores", 0),
                clock_ghz=told["ProcessorInfo"].get("SustainedClockSpeedInGhz", 0.0),
                burstable=told["BurstablePerformanceSupported"],
                current=told["CurrentGeneration"],
                spot="spot" in told["SupportedUsageClasses"],
            )
    return types


def asked_prices(pricing: Any, region: str, name: str | None = None) -> dict[str, float]:
    """Type → USD an hour on demand, from GetProducts; all of a region's, or one. Raises InfraError."""
    wanted = {**PRODUCT, "regionCode": region, **({"instanceType": name} if name else {})}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    with _explained(f"AWS's price list was asked for the prices of {region}"):
        pages = pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
        products = [json.loads(text) for page in pages for text in page.get("PriceList", [])]
    prices = {}
    for product in products:
        usd_h = [
            float(dimension["pricePerUnit"]["USD"])
            for term in product["terms"].get("OnDemand", {}).values()
            for dimension in term["priceDimensions"].values()
            if dimension["unit"] == "Hrs" and "USD" in dimension["pricePerUnit"]
        ]
        if usd_h and usd_h[0] > 0:
            prices[product["product"]["attributes"]["instanceType"]] = usd_h[0]
    return prices


def listed_prices(price_list: Path, region: str) -> dict[str, float]:
    """The same from a bulk price file (CSV), read line by line. Raises InfraError."""
    prices: dict[str, float] = {}
    try:
        with price_list.open(newline="", encoding="utf-8") as lines:
            for line in lines:  # five lines about the file itself stand before the heads
                if line.startswith('"SKU"'):
                    heads = next(csv.reader([line]))
                    break
            else:
                raise InfraError(
                    f'{price_list} has no line of heads that begins with "SKU": it is no bulk price file of AWS.'
                )
            for row in csv.DictReader(lines, heads):
                if _is_ours(row, region) and float(row["PricePerUnit"]) > 0:
                    prices[row["Instance Type"]] = float(row["PricePerUnit"])
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise InfraError(f"{price_list} cannot be read as a bulk price file of AWS: {error!r}.") from error
    if not prices:
        raise InfraError(
            f"{price_list} has no on-demand price of a Linux machine in {region}: download the file of that region."
        )
    return prices


def _is_ours(row: Mapping[str, str], region: str) -> bool:
    return (
        row["TermType"] == "OnDemand"
        and row["Unit"] == "Hrs"
        and row["Currency"] == "USD"
        and row["Region Code"] == region
        and all(row[COLUMNS[field]] == value for field, value in PRODUCT.items())
    )


def spot_prices(session: Any, region: str, now: datetime) -> dict[str, float]:
    """Type → the cheapest zone's spot price now (Linux, USD an hour). Raises InfraError."""
    with _explained(f"EC2 in {region} was asked for its spot prices"):
        pages = (
            session.client("ec2", region_name=region)
            .get_paginator("describe_spot_price_history")
            .paginate(ProductDescriptions=["Linux/UNIX"], StartTime=now, EndTime=now)
        )
        rows = [row for page in pages for row in page["SpotPriceHistory"]]
    prices: dict[str, float] = {}
    for row in rows:
        name, usd_h = row["InstanceType"], float(row["SpotPrice"])
        prices[name] = min(usd_h, prices.get(name, usd_h))
    return prices


@contextmanager
def _explained(what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise InfraError(f"{what}, and AWS said: {error}") from error
