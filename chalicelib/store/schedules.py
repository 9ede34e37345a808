"""Schedules and their fires in DynamoDB, in the registry table.

A schedule's row holds two kinds of fact that never overwrite each other: what somebody said, guarded by `version`, and how far it has come,
guarded by `next_at`.
"""

from __future__ import annotations

from dataclasses import replace

from pynamodb.expressions.update import Action

from chalicelib.core.schedule import Fired, Outcome, Schedule
from chalicelib.store.batches import read_all
from chalicelib.store.connection import ConditionFailed, done
from chalicelib.store.tables import FiredRow, ScheduleRow

KIND = "schedule"


class DynamoSchedules:
    """`ports.Schedules`: hash `schedule`, range the name; and hash `fire/<name>`, range the time that it was due."""

    def __init__(self, row: type[ScheduleRow], fired: type[FiredRow]) -> None:
        self._row, self._fired = row, fired

    def all(self) -> list[Schedule]:
        return [_schedule(self._row.from_raw_data(item)) for item in read_all(self._row, KIND)]

    def get(self, name: str) -> Schedule | None:
        try:
            return _schedule(self._row.get(KIND, name, consistent_read=True))
        except self._row.DoesNotExist:
            return None

    def put(self, schedule: Schedule, *, version: int | None) -> Schedule | None:
        row = self._row(KIND, schedule.name)
        said = replace(schedule, next_at=None, last_job=None, last_at=None)
        now = (version or 0) + 1
        changes: list[Action] = [
            self._row.said.set(said),
            self._row.version.set(now),
            self._row.next_at.remove() if schedule.next_at is None else self._row.next_at.set(schedule.next_at),
        ]
        there = self._row.name.does_not_exist() if version is None else self._row.version == version
        return _schedule(row) if done(lambda: row.update(changes, condition=there)) else None

    def delete(self, name: str, *, version: int) -> bool:
        return done(lambda: self._row(KIND, name).delete(condition=self._row.version == version))

    def advance(self, name: str, at: float, next_at: float | None, last_job: str | None) -> bool:
        changes: list[Action] = [
            self._row.next_at.remove() if next_at is None else self._row.next_at.set(next_at),
            self._row.last_at.set(at),
        ]
        if last_job is not None:
            changes.append(self._row.last_job.set(last_job))
        return done(lambda: self._row(KIND, name).update(changes, condition=self._row.next_at == at))

    def ran(self, name: str, at: float, job: str) -> None:
        changes: list[Action] = [self._row.last_job.set(job), self._row.last_at.set(at)]
        try:
            self._row(KIND, name).update(changes, condition=self._row.name.exists())
        except ConditionFailed:
            return

    def decide(self, fired: Fired, expires_at: float) -> Fired:
        row = self._fired(*_key(fired), body=fired, expires_at=expires_at)
        try:
            row.save(condition=self._fired.name.does_not_exist())
        except ConditionFailed:
            return self._fired.get(*_key(fired), consistent_read=True).body
        return fired

    def refuse(self, fired: Fired, reason: str) -> None:
        refused = replace(fired, outcome=Outcome.REFUSED, reason=reason)
        self._fired(*_key(fired)).update([self._fired.body.set(refused)], condition=self._fired.name.exists())

    def fired(self, name: str, limit: int = 50) -> list[Fired]:
        newest = self._fired.query(f"fire/{name}", scan_index_forward=False, limit=limit, consistent_read=True)
        return [row.body for row in newest]

    def fired_at(self, name: str, at: float) -> Fired | None:
        try:
            return self._fired.get(f"fire/{name}", key_of(at), consistent_read=True).body
        except self._fired.DoesNotExist:
            return None


def key_of(at: float, job: str | None = None) -> str:
    """A fire of the clock is known by its time; one that somebody asked for by its job as well."""
    return f"{at:014.3f}" + (f"#{job}" if job else "")


def _key(fired: Fired) -> tuple[str, str]:
    return f"fire/{fired.schedule}", key_of(fired.at, fired.job if fired.by else None)


def _schedule(row: ScheduleRow) -> Schedule:
    return replace(row.said, version=row.version, next_at=row.next_at, last_job=row.last_job, last_at=row.last_at)
