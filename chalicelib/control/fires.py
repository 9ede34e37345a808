"""What the clock does with schedules: a fire is decided, written down, done, and the next one is noted - in this order.

Each step finds what an earlier run of itself left. Whoever comes second reads the first one's decision, submits the job of the same id
(which is there already), and loses the race for going on. The agenda's row of a fire goes last: until then every tick comes back to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from zoneinfo import ZoneInfo

from chalicelib.control import due, families, quotas
from chalicelib.control.cancel import cancel
from chalicelib.control.due import SCHEDULE
from chalicelib.control.submit import check, known_pool, submit_as
from chalicelib.core.agenda import AHEAD_S, Item, item
from chalicelib.core.cron import fires, following, parse
from chalicelib.core.job import Job
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.schedule import LATE_S, Circumstances, Fired, Outcome, Schedule, decide, job_of
from chalicelib.errors import BadRequest, NotFound
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

FIRED_TTL_S = 90 * 86_400.0
MISSED_MAX = 1000  # as far as missed fires are counted
MEND_EVERY_MIN = 15
HALF_DONE_S = 3600.0  # so long a decision is still carried out


def fire_all(plane: Plane, names: Sequence[str], at: float) -> None:
    """All that are due at one moment. What fails is raised at the end: then all come again, and those that are done are done."""
    failure: Exception | None = None
    for name in names:
        try:
            fire(plane, name, at)
        except Exception as error:
            log.exception("a schedule could not fire", extra={"schedule": name})
            failure = error
    if failure is not None:
        raise failure


def fire(plane: Plane, name: str, at: float) -> Fired | None:
    """The fire that was due at `at`; what became of it, or None where it was none of this schedule any more."""
    schedule = plane.stores.schedules.get(name)
    if schedule is None or schedule.next_at != at:
        return _overtaken(plane, name, at, schedule)
    if at > plane.clock():
        due.set_timer(plane, item(at, SCHEDULE, name))  # this machine's clock is a little slow
        return None
    fired = plane.stores.schedules.decide(_decided(plane, schedule, at), at + FIRED_TTL_S)
    fired = _carry_out(plane, schedule, fired)
    submitted = fired.job if fired.outcome == Outcome.SUBMIT else None
    next_at = next_after(schedule, max(at, plane.clock() - LATE_S))
    if plane.stores.schedules.advance(name, at, next_at, submitted) and next_at is not None:
        noted = item(next_at, SCHEDULE, name)
        plane.stores.agenda.put([noted])
        set_timer(plane, noted)
    plane.stores.agenda.remove([item(at, SCHEDULE, name)])
    log.info("a schedule has fired", extra={"schedule": name, "outcome": fired.outcome, "reason": fired.reason})
    return fired


def set_timer(plane: Plane, noted: Item) -> None:
    """Of a fire that comes before a tick would see it."""
    if noted.at - plane.clock() <= AHEAD_S:
        due.set_timer(plane, noted)


def mend(plane: Plane) -> None:
    """Now and then, the tick's repair: a crash may have left a schedule that is not in the agenda."""
    if int(plane.clock() // 60) % MEND_EVERY_MIN == 0:
        noted = [item(s.next_at, SCHEDULE, s.name) for s in plane.stores.schedules.all() if s.next_at is not None]
        if noted:
            plane.stores.agenda.put(noted)


def next_after(schedule: Schedule, after: float) -> float | None:
    """When it fires next, in whole seconds; None where it never does again."""
    found = following(parse(schedule.timing), ZoneInfo(schedule.zone), after, schedule.anchor_at)
    return None if found is None else found.at


def spec_of(plane: Plane, schedule: Schedule) -> JobSpec:
    """The job that it submits now. Raises BadRequest."""
    return replace(families.resolve(plane, schedule.job), idempotency_key=None)


def _overtaken(plane: Plane, name: str, at: float, schedule: Schedule | None) -> Fired | None:
    """It was done, or the schedule was changed since: finish what a crash left half done, and forget the row."""
    fired = plane.stores.schedules.fired_at(name, at)
    if schedule is not None:
        if fired is not None and fired.job == job_of(schedule, at) and plane.clock() - fired.decided_at < HALF_DONE_S:
            _carry_out(plane, schedule, fired)
        if schedule.next_at is not None:
            plane.stores.agenda.put([item(schedule.next_at, SCHEDULE, name)])
    plane.stores.agenda.remove([item(at, SCHEDULE, name)])
    return None


def _decided(plane: Plane, schedule: Schedule, at: float) -> Fired:
    now = plane.clock()
    ruling = decide(schedule, _circumstances(plane, schedule, at, now))
    return Fired(
        schedule=schedule.name,
        at=at,
        outcome=ruling.outcome,
        reason=ruling.reason,
        decided_at=now,
        job=job_of(schedule, at) if ruling.outcome is Outcome.SUBMIT else None,
        after=ruling.after,
        cancels=ruling.cancels,
    )


def _circumstances(plane: Plane, schedule: Schedule, at: float, now: float) -> Circumstances:
    return Circumstances(
        at=at,
        now=now,
        missed=_missed(schedule, at, now),
        last=plane.stores.jobs.get(schedule.last_job) if schedule.last_job else None,
        adverse=adverse(plane, schedule),
        refusal=refusal(plane, schedule),
    )


def _missed(schedule: Schedule, at: float, now: float) -> int:
    """How many more than this one have come due, where they were missed."""
    if now - at <= LATE_S:
        return 0
    later = islice(fires(parse(schedule.timing), ZoneInfo(schedule.zone), at, schedule.anchor_at), MISSED_MAX)
    return sum(1 for each in later if each.at <= now - LATE_S)


def adverse(plane: Plane, schedule: Schedule) -> str:
    """Why the pool could not run it now, or nothing."""
    try:
        pool = known_pool(plane, spec_of(plane, schedule).pool)
    except BadRequest:
        return ""
    if pool is not None and pool.spec.killed:
        return f"pool {pool.name} is killed"
    if pool is not None and pool.supply.protected_at is not None:
        return (
            f"pool {pool.name} is in protected mode, because its hosts do not come up, or cannot install what jobs need"
        )
    return ""


def refusal(plane: Plane, schedule: Schedule) -> str:
    """Why the job would not be accepted now, or nothing."""
    try:
        check(plane, [spec_of(plane, schedule)], schedule.owner, prefix=lambda index: "")
    except BadRequest as error:
        return error.detail
    return quotas.refusal(plane, schedule.owner, 1) or ""


def _carry_out(plane: Plane, schedule: Schedule, fired: Fired) -> Fired:
    """Do what was decided, once or again."""
    if fired.outcome != Outcome.SUBMIT or fired.job is None:
        return fired
    try:
        _submit(plane, schedule, fired, fired.job)
    except BadRequest as error:
        plane.stores.schedules.refuse(fired, error.detail)
        return replace(fired, outcome=Outcome.REFUSED, reason=error.detail)
    if fired.cancels is not None:
        try:
            cancel(plane, fired.cancels)
        except NotFound:
            log.info("the job to be replaced is no more", extra={"job": fired.cancels})
    return fired


def _submit(plane: Plane, schedule: Schedule, fired: Fired, job_id: str) -> Job:
    there = plane.stores.jobs.get(job_id)  # then it was accepted, whatever has changed since
    spec = there.spec if there is not None else spec_of(plane, schedule)
    if there is None and fired.after:
        spec = replace(spec, after=(*spec.after, *fired.after), after_on="finish")
    return submit_as(plane, job_id, spec, schedule.owner, schedule=schedule.name, accepted=there is not None)
