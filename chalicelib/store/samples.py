"""Samples in DynamoDB: what a pool was at each minute, in the registry table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chalicelib.store.ports import Sample
from chalicelib.store.tables import SampleRow


class DynamoSamples:
    """`ports.Samples`: hash `sample/<pool>`, range the minute in UTC, `2026-11-21T11:20`."""

    def __init__(self, row: type[SampleRow]) -> None:
        self._row = row

    def put(self, pool: str, at: float, values: Mapping[str, Any], expires_at: float) -> None:
        self._row(f"sample/{pool}", minute_of(at), values=dict(values), expires_at=expires_at).save()

    def of(self, pool: str, since: float, until: float, limit: int) -> list[Sample]:
        between = self._row.name.between(minute_of(since), minute_of(until))
        newest = self._row.query(f"sample/{pool}", between, scan_index_forward=False, limit=limit)
        return [Sample(at=_at(row.name), values=row.values) for row in newest][::-1]


def minute_of(at: float) -> str:
    """The minute that a moment lies in; sorts by time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M")


def _at(minute: str) -> float:
    return datetime.strptime(f"{minute}+0000", "%Y-%m-%dT%H:%M%z").timestamp()
