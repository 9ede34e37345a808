"""A history of spot prices from a file: CSV with a header, gzipped or not, or what `aws ec2 describe-spot-price-history` prints.

Columns by name: timestamp, availability_zone, instance_type, price (or spot_price); product and on_demand_price may be there. A row says
that the price of an offering is `price` from `timestamp` on.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PRODUCT = "Linux/UNIX"


@dataclass(frozen=True)
class Offer:
    """What a price is of."""

    zone: str
    instance_type: str
    product: str = PRODUCT


@dataclass
class Series:
    """Times (epoch seconds, ascending) and the prices (USD an hour, as text) that begin at them."""

    times: list[float] = field(default_factory=list)
    prices: list[str] = field(default_factory=list)


@dataclass
class PriceFile:
    """`begin` and `end`: the first and the last change. `on_demand`: USD an hour by region and type, where the file says it."""

    offers: dict[Offer, Series]
    on_demand: dict[tuple[str, str], float]
    begin: float
    end: float


def read(path: Path) -> PriceFile:
    """Read a history. Raises ValueError with a sentence."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from None
    offers, on_demand = _collected(path, _rows(path, text))
    if not offers:
        raise ValueError(f"{path} holds no prices.")
    begin, end = min(s.times[0] for s in offers.values()), max(s.times[-1] for s in offers.values())
    return PriceFile(offers, on_demand, begin, end)


def _rows(path: Path, text: str) -> Iterable[Mapping[str, Any]]:
    if not text.lstrip().startswith(("{", "[")):
        return csv.DictReader(text.splitlines())
    try:
        document = json.loads(text)
        found = document["SpotPriceHistory"] if isinstance(document, dict) else document
        return [{_snake(key): value for key, value in each.items()} for each in found]
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as JSON with a SpotPriceHistory: {error!r}.") from None


def _collected(
    path: Path, rows: Iterable[Mapping[str, Any]]
) -> tuple[dict[Offer, Series], dict[tuple[str, str], float]]:
    found: dict[Offer, list[tuple[float, str]]] = {}
    on_demand: dict[tuple[str, str], float] = {}
    for number, row in enumerate(rows, 1):
        try:
            zone, instance_type = row["availability_zone"], row["instance_type"]
            product = row.get("product") or row.get("product_description") or PRODUCT
            price = str(row.get("price") or row["spot_price"])
            float(price)
            offer = Offer(zone, instance_type, product.replace(" (Amazon VPC)", ""))
            found.setdefault(offer, []).append((at(row["timestamp"]), price))
            if row.get("on_demand_price"):
                on_demand[zone[:-1], instance_type] = float(row["on_demand_price"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, price {number}: {error!r} in {dict(row)}.") from None
    series = {}
    for offer, changes in found.items():
        changes.sort(key=lambda each: each[0])
        series[offer] = Series([when for when, _ in changes], [price for _, price in changes])
    return series, on_demand


def at(text: str) -> float:
    """Epoch seconds of a time like 2015-03-11T10:34:42Z; UTC where no zone is said. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
