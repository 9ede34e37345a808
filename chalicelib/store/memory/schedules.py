"""Schedules and their fires in memory."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

from chalicelib.core.schedule import Fired, Outcome, Schedule


class MemorySchedules:
    """`ports.Schedules`: schedules by name, fires by schedule, time and who asked."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._schedules: dict[str, Schedule] = {}
        self._fired: dict[tuple[str, float, str], Fired] = {}

    def all(self) -> list[Schedule]:
        with self._lock:
            return [self._schedules[name] for name in sorted(self._schedules)]

    def get(self, name: str) -> Schedule | None:
        with self._lock:
            return self._schedules.get(name)

    def put(self, schedule: Schedule, *, version: int | None) -> Schedule | None:
        with self._lock:
            there = self._schedules.get(schedule.name)
            if (there.version if there else None) != version:
                return None
            known = (there.last_job, there.last_at) if there else (None, None)
            put = replace(schedule, version=(version or 0) + 1, last_job=known[0], last_at=known[1])
            self._schedules[schedule.name] = put
            return put

    def delete(self, name: str, *, version: int) -> bool:
        with self._lock:
            there = self._schedules.get(name)
            if there is None or there.version != version:
                return False
            del self._schedules[name]
            return True

    def advance(self, name: str, at: float, next_at: float | None, last_job: str | None) -> bool:
        with self._lock:
            there = self._schedules.get(name)
            if there is None or there.next_at != at:
                return False
            self._schedules[name] = replace(there, next_at=next_at, last_at=at, last_job=last_job or there.last_job)
            return True

    def ran(self, name: str, at: float, job: str) -> None:
        with self._lock:
            if (there := self._schedules.get(name)) is not None:
                self._schedules[name] = replace(there, last_job=job, last_at=at)

    def decide(self, fired: Fired, expires_at: float) -> Fired:
        with self._lock:
            return self._fired.setdefault(_key(fired), fired)

    def refuse(self, fired: Fired, reason: str) -> None:
        with self._lock:
            self._fired[_key(fired)] = replace(fired, outcome=Outcome.REFUSED, reason=reason)

    def fired(self, name: str, limit: int = 50) -> list[Fired]:
        with self._lock:
            keys = sorted((key for key in self._fired if key[0] == name), reverse=True)
            return [self._fired[key] for key in keys[:limit]]

    def fired_at(self, name: str, at: float) -> Fired | None:
        with self._lock:
            return self._fired.get((name, at, ""))


def _key(fired: Fired) -> tuple[str, float, str]:
    return fired.schedule, fired.at, fired.job or "" if fired.by else ""
