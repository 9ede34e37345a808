"""Shares in memory."""

from __future__ import annotations

from threading import Lock


class MemoryShares:
    """`ports.Shares`: virtual finish and expiry by pool and share."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: dict[tuple[str, str], tuple[float, float]] = {}

    def advance(self, pool: str, share: str, cost: float, *, clock: float, now: float, expires_at: float) -> float:
        with self._lock:
            finish, until = self._rows.get((pool, share), (clock, now))
            start = max(clock, finish) if until >= now else clock
            self._rows[pool, share] = (start + cost, expires_at)
            return start
