"""Who waits for whose end, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from chalicelib.store.memory.arrays import MemoryArrays
from chalicelib.store.memory.jobs import MemoryJobs


class MemoryWaiters:
    """`ports.Waiters` over a dict; the flags are on the rows of the other two."""

    def __init__(self, jobs: MemoryJobs, arrays: MemoryArrays) -> None:
        self._lock = Lock()
        self._jobs, self._arrays = jobs, arrays
        self._waiting: dict[str, set[str]] = {}

    def add(self, pairs: Sequence[tuple[str, str]], expires_at: float) -> None:
        with self._lock:
            for waiter, subject in pairs:
                self._waiting.setdefault(subject, set()).add(waiter)

    def await_end(self, subject: str) -> bool:
        rows = self._arrays if subject.startswith("array-") else self._jobs
        return rows.await_end(subject)

    def of(self, subject: str, after: str = "", limit: int = 1000) -> list[str]:
        with self._lock:
            return [one for one in sorted(self._waiting.get(subject, ())) if one > after][:limit]
