"""The backlog in memory."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

from chalicelib.core.backlog import Entry


class MemoryBacklog:
    """`ports.Backlog`: a sorted list of ranks for each pool."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ranks: dict[str, list[str]] = {}
        self._rows: dict[tuple[str, str], Entry] = {}

    def put(self, entry: Entry) -> None:
        self.put_many([entry])

    def put_if_absent(self, entry: Entry) -> bool:
        if self.has(entry):
            return False
        self.put(entry)
        return True

    def put_many(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                if (entry.pool, entry.rank) not in self._rows:
                    bisect.insort(self._ranks.setdefault(entry.pool, []), entry.rank)
                self._rows[entry.pool, entry.rank] = entry

    def remove(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                if self._rows.pop((entry.pool, entry.rank), None) is not None:
                    ranks = self._ranks[entry.pool]
                    del ranks[bisect.bisect_left(ranks, entry.rank)]

    def head(self, pool: str, limit: int) -> list[Entry]:
        with self._lock:
            return [self._rows[pool, rank] for rank in self._ranks.get(pool, [])[:limit]]

    def advance(self, entry: Entry, next_index: int) -> bool:
        with self._lock:
            row = self._rows.get((entry.pool, entry.rank))
            if row is not None and row.next_index < next_index:
                self._rows[entry.pool, entry.rank] = replace(row, next_index=next_index)
            return row is not None

    def has(self, entry: Entry) -> bool:
        with self._lock:
            return (entry.pool, entry.rank) in self._rows

    def find(self, entry: Entry) -> Entry | None:
        with self._lock:
            return self._rows.get((entry.pool, entry.rank))
