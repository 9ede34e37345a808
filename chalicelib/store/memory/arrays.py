"""Arrays in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from threading import Lock
from typing import Any

from chalicelib.core.arrays import CHUNK, FINAL, Array, ArrayEvent, ArrayState, Results, Tally, sources, target
from chalicelib.core.job import JobState
from chalicelib.core.telling import Telling
from chalicelib.store.ports import must_say


class MemoryArrays:
    """`ports.Arrays` over dicts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: dict[str, Array] = {}
        self._ends: dict[str, dict[JobState, set[int]]] = {}
        self._untold: set[str] = set()
        self.expires: dict[str, float] = {}

    def put(self, array: Array) -> bool:
        with self._lock:
            if array.id in self._rows:
                return False
            self._rows[array.id] = array
            if array.ended and array.listeners and array.delivered_at is None and not array.telling.given_up:
                self._untold.add(array.id)
            return True

    def get(self, array_id: str) -> Array | None:
        with self._lock:
            return self._rows.get(array_id)

    def get_many(self, array_ids: Iterable[str]) -> dict[str, Array]:
        with self._lock:
            return {i: self._rows[i] for i in array_ids if i in self._rows}

    def move(
        self,
        array_id: str,
        event: ArrayEvent,
        *,
        at: float,
        reason: str,
        expires_at: float | None = None,
        untold: bool | None = None,
    ) -> Array | None:
        with self._lock:
            array = self._rows.get(array_id)
            if array is None or array.state not in sources(event):
                return None
            state = target(event)
            if state in FINAL:
                must_say(untold)
            entered = {**array.entered, str(state): at}
            array = replace(array, state=state, entered=entered, reason=reason, waiting_for="")
            self._rows[array_id] = array
            if array.ended and untold:
                self._untold.add(array_id)
            if array.ended and expires_at is not None:
                self.expires[array_id] = expires_at
            return array

    def request_cancel(self, array_id: str) -> Array | None:
        with self._lock:
            array = self._rows.get(array_id)
            return None if array is None or array.ended else self._set(array, cancel_requested=True)

    def expire(self, array_id: str) -> Array | None:
        with self._lock:
            array = self._rows.get(array_id)
            return None if array is None or array.state is not ArrayState.OPEN else self._set(array, expired=True)

    def all_made(self, array_id: str) -> Array | None:
        with self._lock:
            array = self._rows.get(array_id)
            return None if array is None else self._set(array, made=True)

    def wait_for(self, array_id: str, sentence: str) -> None:
        with self._lock:
            array = self._rows.get(array_id)
            if array is not None and array.state is ArrayState.OPEN:
                self._set(array, waiting_for=sentence)

    def note_results(self, array_id: str, results: Results) -> None:
        with self._lock:
            if (array := self._rows.get(array_id)) is not None:
                self._set(array, results=results)

    def await_end(self, array_id: str) -> bool:
        with self._lock:
            array = self._rows.get(array_id)
            if array is None or array.ended:
                return False
            self._set(array, awaited=True)
            return True

    def untold(self, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        with self._lock:
            ids = sorted(self._untold)
        return _page([i for i in ids if after is None or i > after], limit)

    def tell_again(self, array_id: str, was: Telling, now: Telling) -> bool:
        with self._lock:
            array = self._rows.get(array_id)
            if array is None or not array.ended or array.delivered_at is not None or array.telling != was:
                return False
            self._set(array, telling=now)
            if now.given_up:
                self._untold.discard(array_id)
            return True

    def delivered(self, array_id: str, at: float) -> bool:
        with self._lock:
            array = self._rows.get(array_id)
            if array is None or not array.ended or array.delivered_at is not None:
                return False
            self._set(array, delivered_at=at)
            self._untold.discard(array_id)
            return True

    def active(self, pool: str, after: str | None = None, limit: int = 500) -> tuple[list[str], str | None]:
        with self._lock:
            ids = sorted(a.id for a in self._rows.values() if a.pool == pool and not a.ended)
        return _page([i for i in ids if after is None or i > after], limit)

    def active_of(self, owner: str, limit: int = 100) -> list[str]:
        with self._lock:
            return sorted(a.id for a in self._rows.values() if a.owner == owner and not a.ended)[:limit]

    def of_pool(self, pool: str, before: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        with self._lock:
            ids = sorted((a.id for a in self._rows.values() if a.pool == pool), reverse=True)
        return _page([i for i in ids if before is None or i < before], limit)

    def count(self, array_id: str, index: int, state: JobState, expires_at: float) -> int:
        with self._lock:
            ends = self._ends.setdefault(array_id, {})
            ends.setdefault(state, set()).add(index)
            chunk = index // CHUNK
            return sum(one // CHUNK == chunk for indices in ends.values() for one in indices)

    def tally(self, array_id: str) -> Tally:
        with self._lock:
            return Tally({state: frozenset(indices) for state, indices in self._ends.get(array_id, {}).items()})

    def _set(self, array: Array, **facts: Any) -> Array:
        self._rows[array.id] = array = replace(array, **facts)
        return array


def _page(ids: list[str], limit: int) -> tuple[list[str], str | None]:
    page = ids[:limit]
    return page, page[-1] if len(page) == limit else None
