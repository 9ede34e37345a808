"""Learned durations in memory."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from chalicelib.core.durations import Learned


class MemoryDurations:
    """`ports.Durations`: sums by pool, day and key."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[tuple[str, str, str], Learned] = {}

    def add(self, pool: str, day: str, sums: Mapping[str, Learned], expires_at: float) -> None:
        with self._lock:
            for key, sum_ in sums.items():
                self._sums[pool, day, key] = self._sums.get((pool, day, key), Learned()) + sum_

    def of(self, pool: str, since_day: str) -> dict[str, Learned]:
        learned: dict[str, Learned] = {}
        with self._lock:
            for (of_pool, day, key), sums in sorted(self._sums.items(), key=lambda item: item[0]):
                if of_pool == pool and day >= since_day:
                    learned[key] = learned.get(key, Learned()) + sums
        return learned
