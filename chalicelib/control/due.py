"""Jobs that may not begin before a time: noted in the agenda, put on a timer in the last minute, begun to the second.

Theory of operation. The job's row is the truth; the agenda only says when to look at it. Submitting writes the job, then the agenda, then
sends a timer if the time comes before a tick could. A tick sends timers for all that is due until the next one, and again for what
is overdue: a message that was lost costs a minute. What is begun leaves the agenda last. A crash between job and agenda is the sweep's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from chalicelib.control.fairness import ranked
from chalicelib.control.wake import wake
from chalicelib.core.agenda import AHEAD_S, Item, delay_s, item
from chalicelib.core.backlog import entry_of
from chalicelib.core.job import Job, JobEvent, JobState
from chalicelib.core.pool import Pool
from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

JOB, SCHEDULE = "job", "schedule"
ITEMS_MAX = 20_000  # a tick's; more are due in the next one
JOBS_PER_TIMER = 100
FIRES_PER_TIMER = 10
POOL_AGE_MAX_S = 10.0


def note(plane: Plane, jobs: Sequence[Job]) -> None:
    """Write the scheduled ones among new jobs into the agenda."""
    if items := [_item(job) for job in jobs if job.state is JobState.SCHEDULED]:
        plane.stores.agenda.put(items)


def set_timers(plane: Plane, jobs: Sequence[Job]) -> None:
    """Timers for those among new jobs whose time comes before a tick would see them."""
    until = plane.clock() + AHEAD_S
    set_timer(plane, *(_item(job) for job in jobs if job.state is JobState.SCHEDULED and _due_at(job) <= until))


def set_timer(plane: Plane, *items: Item) -> None:
    """They are noted, and the next tick sees them: late by a minute is better than a failure that makes somebody submit them twice."""
    try:
        _set(plane, items)
    except CloudUnavailable as error:
        log.warning("a timer could not be set", extra={"items": len(items), "error": str(error)})


def send_timers(plane: Plane) -> None:
    """The tick's part: timers for all that is due until the next tick, or was due and is still noted."""
    items = plane.stores.agenda.due(plane.clock() + AHEAD_S, ITEMS_MAX)
    if len(items) == ITEMS_MAX:
        log.warning("more is due than one tick can see to", extra={"seen": len(items)})
    _set(plane, items)


def begin(plane: Plane, job_ids: Sequence[str], at: int | None = None) -> None:
    """The time of these jobs has come: they wait for a host now. Those for which it is too early are put on a timer again.

    `at`: the second under which the agenda has them; it forgets even those whose rows have expired (cancelled long before their time).
    """
    now = plane.clock()
    found = plane.stores.jobs.get_many(job_ids)
    waiting = [job for job in found.values() if job.state is JobState.SCHEDULED]
    ripe = [job for job in waiting if _due_at(job) <= now]
    placed = ranked(plane, ripe, partial(known_pool, plane))
    begun = [moved for job, was in zip(placed, ripe, strict=True) if (moved := _move(plane, job, was.rank, now))]
    again = {job.id for job in waiting} - {
        job.id for job in begun
    }  # too early, or it was given another place in this moment
    begun += [j for j in found.values() if _has_just_begun(j)]  # who did that may have died before it wrote the entry
    plane.stores.backlog.put_many([entry_of(job) for job in begun])
    for pool in dict.fromkeys(job.pool for job in begun):
        wake(plane, pool)
    done = [_item(job) for job in found.values() if job.id not in again and job.spec.not_before]
    if at is not None:
        done += [Item(at, JOB, job_id) for job_id in job_ids if job_id not in found]
    plane.stores.agenda.remove(done)
    _set(plane, [_item(found[job_id]) for job_id in sorted(again)])


def _move(plane: Plane, job: Job, rank_before: str, now: float) -> Job | None:
    return plane.stores.jobs.move(
        job.id,
        JobEvent.DUE,
        attempt=job.attempt,
        at=now,
        reason="its time has come",
        rank=job.rank,
        rank_before=rank_before,
    )


def _has_just_begun(job: Job) -> bool:
    return job.state is JobState.PENDING and job.attempt == 1 and job.spec.not_before is not None


def _set(plane: Plane, items: Sequence[Item]) -> None:
    now, names = plane.clock(), defaultdict[tuple[str, int], list[str]](list)
    for each in items:
        names[each.kind, each.at].append(each.name)
    for (kind, at), all_of_them in names.items():
        size = JOBS_PER_TIMER if kind == JOB else FIRES_PER_TIMER
        for start in range(0, len(all_of_them), size):
            some = all_of_them[start : start + size]
            message = {"kind": "due", "jobs": some} if kind == JOB else {"kind": "fire", "schedules": some}
            plane.cloud.queues.timer({"v": 1, **message, "at": at}, delay_s(at, now))


def _item(job: Job) -> Item:
    return item(_due_at(job), JOB, job.id)


def _due_at(job: Job) -> float:
    return job.spec.not_before or 0.0


def known_pool(plane: Plane, name: str) -> Pool | None:
    """The pool, at most some seconds old."""
    return plane.recall.get(f"pool/{name}", plane.clock(), POOL_AGE_MAX_S, lambda: plane.stores.registry.pool(name))
