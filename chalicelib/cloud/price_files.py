"""Recorded spot prices in files: CSV or JSON, gzipped or not.

CSV has a header with `timestamp`, `availability_zone`, `instance_type`, `price` and, if it likes, `product` and `on_demand_price`. JSON is
what `aws ec2 describe-spot-price-history` prints (`{"SpotPriceHistory": [...]}`), its list alone, or one such object on each line.
Times are ISO 8601, with `Z`, an offset or fractions of seconds; without a zone they are UTC, as AWS's are. Only Linux is read: several
products in one record would mix their prices.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chalicelib.core.spot_history import Change
from chalicelib.errors import BadRequest

LINUX = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
CSV_COLUMNS = ("timestamp", "availability_zone", "instance_type", "price")
GZIP_MAGIC = b"\x1f\x8b"


class UnreadablePrices(BadRequest):
    """A file of prices that cannot be used: which one, where in it, and why."""


def read(path: Path) -> list[Change]:
    """All changes in a file, in order of time. Raises UnreadablePrices."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw).decode("utf-8-sig")
    except OSError as error:
        raise UnreadablePrices(f"{path}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise UnreadablePrices(f"{path} is neither text nor gzipped text: {error}.") from error
    rows = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_csv(path, text)
    try:
        changes = sorted(rows, key=lambda change: change.at)
    except csv.Error as error:
        raise UnreadablePrices(f"{path} is no CSV: {error}.") from error
    if not changes:
        raise UnreadablePrices(f"{path} tells no price of a Linux host.")
    return changes


def change(row: Mapping[str, Any]) -> Change | None:
    """One entry of AWS's answer, with its own field names; None for another product than Linux. Raises KeyError, ValueError."""
    if row.get("ProductDescription", LINUX[0]) not in LINUX:
        return None
    usd_h = _usd_h(row["SpotPrice"])
    listed = row.get("OnDemandPrice")
    kind, zone = str(row["InstanceType"]), str(row["AvailabilityZone"])
    if not kind or not zone:
        raise ValueError("the instance type or the zone is empty")
    return Change(_seconds(row["Timestamp"]), zone, kind, usd_h, _usd_h(listed) if listed not in (None, "") else None)


def _from_csv(path: Path, text: str) -> Iterator[Change]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in CSV_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UnreadablePrices(f"{path}: the header lacks {', '.join(missing)}. It needs {', '.join(CSV_COLUMNS)}.")
    renamed = (
        (
            f"line {reader.line_num}",
            {
                "Timestamp": row["timestamp"],
                "AvailabilityZone": row["availability_zone"],
                "InstanceType": row["instance_type"],
                "SpotPrice": row["price"],
                "ProductDescription": row.get("product") or LINUX[0],
                "OnDemandPrice": row.get("on_demand_price"),
            },
        )
        for row in reader
    )
    yield from _changes(path, renamed)


def _from_json(path: Path, text: str) -> Iterator[Change]:
    try:
        document = json.loads(text)
    except ValueError as error:
        try:
            document = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise UnreadablePrices(f"{path} is not JSON: {error}.") from error
    if isinstance(document, dict) and "SpotPriceHistory" in document:
        document = document["SpotPriceHistory"]
    if isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise UnreadablePrices(f"{path}: SpotPriceHistory must be a list of prices.")
    yield from _changes(path, ((f"entry {number}", row) for number, row in enumerate(document, 1)))


def _changes(path: Path, rows: Iterable[tuple[str, Any]]) -> Iterator[Change]:
    for where, row in rows:
        if not isinstance(row, Mapping):
            raise UnreadablePrices(f"{path}, {where}: not a price but {type(row).__name__}.")
        try:
            found = change(row)
        except KeyError as error:
            raise UnreadablePrices(f"{path}, {where}: {error.args[0]} is missing.") from error
        except (ValueError, TypeError) as error:
            raise UnreadablePrices(f"{path}, {where}: {error}.") from error
        if found is not None:
            yield found


def _usd_h(value: Any) -> float:
    usd_h = float(value)
    if not math.isfinite(usd_h) or usd_h <= 0:
        raise ValueError(f"{value} is no price")
    return usd_h


def _seconds(value: Any) -> float:
    when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
