"""What users send about schedules."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.api.job_wire import JobSpecWire
from chalicelib.api.wire import Name, Strict, refuse
from chalicelib.core.schedule import Schedule
from chalicelib.errors import Fault

NOT_OF_A_SCHEDULE = ("owner", "not_before", "after", "idempotency_key")


class ScheduleWire(Strict, frozen=True, kw_only=True):
    """When to submit which job. `timing`: cron (5 fields, or Quartz's 6 or 7), `cron(…)`, `rate(…)`, `at(…)`; `zone`: an IANA time zone."""

    timing: Annotated[str, Meta(min_length=1, max_length=200)]
    zone: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*\Z")] = "UTC"
    job: JobSpecWire
    misfire: Literal["skip", "once"] = "once"
    overlap: Literal["allow", "skip", "queue", "replace"] = "allow"
    adverse: Literal["skip", "submit"] = "skip"
    paused: bool = False
    owner: Name | None = None


class FiresQuery(Strict, frozen=True, kw_only=True):
    """How many."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20


def schedule(name: str, wire: ScheduleWire, *, owner: str, by: str) -> Schedule:
    """The record of a schedule's document. Raises BadRequest."""
    job = msgspec.to_builtins(wire.job)
    refuse([Fault(f"job.{field}", "is the schedule's to say") for field in NOT_OF_A_SCHEDULE if field in job])
    return Schedule(
        name=name,
        owner=owner,
        timing=wire.timing.strip(),
        zone=wire.zone,
        job=job,
        misfire=wire.misfire,
        overlap=wire.overlap,
        adverse=wire.adverse,
        paused=wire.paused,
        by=by,
    )
