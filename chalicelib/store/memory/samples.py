"""Samples in memory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from threading import Lock
from typing import Any

from chalicelib.store.ports import Sample

MINUTE_S = 60.0


class MemorySamples:
    """`ports.Samples`: values by pool and minute."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: dict[tuple[str, float], dict[str, Any]] = {}

    def put(self, pool: str, at: float, values: Mapping[str, Any], expires_at: float) -> None:
        with self._lock:
            self._values[pool, at // MINUTE_S * MINUTE_S] = deepcopy(dict(values))

    def of(self, pool: str, since: float, until: float, limit: int) -> list[Sample]:
        first = since // MINUTE_S * MINUTE_S
        with self._lock:
            found = sorted(at for of_pool, at in self._values if of_pool == pool and first <= at <= until)
            return [Sample(at=at, values=deepcopy(self._values[pool, at])) for at in found[-limit:]]
