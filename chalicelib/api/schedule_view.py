"""Schedules and their fires as users see them. Times are epoch seconds, and ISO 8601 in the schedule's own zone."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from chalicelib.api.view import View
from chalicelib.control.schedules import coming
from chalicelib.core import cron
from chalicelib.core.schedule import Fired, Schedule

NEXT_SHOWN = 5


class NextView(View, frozen=True, kw_only=True):
    """A fire to come. `note`: what is special about it where clocks are changed."""

    at: float
    local: str
    note: str


class ScheduleView(View, frozen=True, kw_only=True):
    """A schedule. `next`: its next fires, none while it is paused."""

    name: str
    version: int
    owner: str
    timing: str
    zone: str
    job: dict[str, Any]
    misfire: str
    overlap: str
    adverse: str
    paused: bool
    next_at: float | None
    next: list[NextView]
    last_at: float | None
    last_job: str | None
    made_at: float
    by: str


class SchedulesPage(View, frozen=True, kw_only=True):
    """A page of schedules, by name; `next` is the cursor of the one after it."""

    items: list[ScheduleView]
    next: str | None


class NextsView(View, frozen=True, kw_only=True):
    """Fires to come, in order."""

    items: list[NextView]


class FireView(View, frozen=True, kw_only=True):
    """What became of a fire: `submit` (as `job`), `skip` or `refused`, and why. `by`: who asked for it, empty for the clock."""

    at: float
    local: str
    outcome: str
    reason: str
    decided_at: float
    job: str | None
    by: str


class FiresView(View, frozen=True, kw_only=True):
    """The last fires, the newest first."""

    items: list[FireView]


def schedule(record: Schedule, now: float) -> ScheduleView:
    return ScheduleView(
        name=record.name,
        version=record.version,
        owner=record.owner,
        timing=record.timing,
        zone=record.zone,
        job=dict(record.job),
        misfire=record.misfire,
        overlap=record.overlap,
        adverse=record.adverse,
        paused=record.paused,
        next_at=record.next_at,
        next=nexts(record, now, NEXT_SHOWN),
        last_at=record.last_at,
        last_job=record.last_job,
        made_at=record.made_at,
        by=record.by,
    )


def nexts(record: Schedule, now: float, count: int) -> list[NextView]:
    zone = ZoneInfo(record.zone)
    return [NextView(at=f.at, local=cron.local(f.at, zone), note=f.note) for f in coming(record, now, count)]


def fire(record: Fired, zone: str) -> FireView:
    return FireView(
        at=record.at,
        local=cron.local(record.at, ZoneInfo(zone)),
        outcome=record.outcome,
        reason=record.reason,
        decided_at=record.decided_at,
        job=record.job,
        by=record.by,
    )
