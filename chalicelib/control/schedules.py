"""What people do with schedules: make, change, pause and resume them, delete them, run one now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from math import ceil
from zoneinfo import ZoneInfo

from chalicelib.control import fires as clockwork
from chalicelib.control.due import SCHEDULE
from chalicelib.control.fires import FIRED_TTL_S, next_after, spec_of
from chalicelib.control.submit import check, submit_as
from chalicelib.core import cron
from chalicelib.core.agenda import item
from chalicelib.core.job import Job
from chalicelib.core.schedule import Fired, Outcome, Schedule
from chalicelib.errors import BadRequest, Conflict, Fault, NotFound, PreconditionFailed
from chalicelib.wiring import Plane

SCHEDULES_MAX = 1000
OF_AN_OWNER_MAX = 100
TRIES = 3


def known(plane: Plane, name: str) -> Schedule:
    """Raises NotFound."""
    schedule = plane.stores.schedules.get(name)
    if schedule is None:
        raise NotFound(f"there is no schedule {name}")
    return schedule


def put(plane: Plane, said: Schedule, *, version: int | None = None) -> Schedule:
    """Make a schedule, or replace all that was said of it; it goes on from now. `version`: only if it is at that one.

    Raises BadRequest (fields), Conflict, PreconditionFailed.
    """
    _must_fire(said, plane.clock())
    _must_be_accepted(plane, said)

    def once() -> Schedule | None:
        there, now = plane.stores.schedules.get(said.name), plane.clock()
        if there is not None and there.owner != said.owner:  # first: its version is nobody else's affair
            raise Conflict(f"there is a schedule {said.name} of another owner already")
        if version is not None and (there.version if there else 0) != version:
            at = f"is at version {there.version}" if there else "does not exist"
            raise PreconditionFailed(f"schedule {said.name} {at}, not {version}")
        if there is None:
            _must_be_room(plane, said.owner)
        same_rate = there is not None and there.timing == said.timing
        wanted = replace(
            said,
            made_at=there.made_at if there else now,
            anchor_at=there.anchor_at if there and same_rate else float(ceil(now)),
        )
        return _write(plane, wanted, None if there is None else there.version)

    return _tried(said.name, once)


def pause(plane: Plane, name: str, *, by: str) -> Schedule:
    """It fires no more until it is resumed. Raises NotFound, Conflict."""
    return _change(plane, name, lambda s: replace(s, paused=True, by=by))


def resume(plane: Plane, name: str, *, by: str) -> Schedule:
    """It fires again, from now on: what was due while it was paused is not made up for. Raises NotFound, Conflict."""
    return _change(plane, name, lambda s: replace(s, paused=False, by=by))


def delete(plane: Plane, name: str) -> Schedule:
    """It is no more; its jobs stay. Raises NotFound, Conflict."""

    def once() -> Schedule | None:
        there = known(plane, name)
        return there if plane.stores.schedules.delete(name, version=there.version) else None

    gone = _tried(name, once)
    if gone.next_at is not None:
        plane.stores.agenda.remove([item(gone.next_at, SCHEDULE, name)])
    return gone


def fired(plane: Plane, schedule: Schedule, limit: int) -> list[Fired]:
    """What became of its last fires, the newest first. Those of an earlier schedule of this name, which are kept for a while and may have
    been somebody else's, are none of them."""
    return [f for f in plane.stores.schedules.fired(schedule.name, limit) if f.decided_at >= schedule.made_at]


def run_now(plane: Plane, schedule: Schedule, *, by: str) -> Job:
    """Submit its job now, whatever its policies say; the fires to come stay as they are. Raises BadRequest."""
    now = plane.clock()
    check(plane, [spec_of(plane, schedule)], schedule.owner, prefix=lambda index: "job.")
    fired = Fired(
        schedule=schedule.name,
        at=now,
        outcome=Outcome.SUBMIT,
        reason=f"run now by {by}",
        decided_at=now,
        job=plane.new_id("job"),
        by=by,
    )
    fired = plane.stores.schedules.decide(fired, now + FIRED_TTL_S)
    job = submit_as(plane, str(fired.job), spec_of(plane, schedule), schedule.owner, schedule=schedule.name)
    plane.stores.schedules.ran(schedule.name, now, job.id)
    return job


def coming(schedule: Schedule, now: float, count: int) -> list[cron.Fire]:
    """Its next fires, as far as anybody can know; none while it is paused."""
    if schedule.paused:
        return []
    zone, after = ZoneInfo(schedule.zone), now
    if schedule.next_at is not None and schedule.next_at <= now:
        after = schedule.next_at - 1  # due, and not done yet
    return list(islice(cron.fires(cron.parse(schedule.timing), zone, after, schedule.anchor_at), count))


def _write(plane: Plane, schedule: Schedule, version: int | None) -> Schedule | None:
    """The row with its next fire, then the agenda; what the agenda had of it before is found to be nothing when its time comes."""
    next_at = None if schedule.paused else next_after(schedule, plane.clock())
    written = plane.stores.schedules.put(replace(schedule, next_at=next_at), version=version)
    if written is not None and next_at is not None:
        noted = item(next_at, SCHEDULE, schedule.name)
        plane.stores.agenda.put([noted])
        clockwork.set_timer(plane, noted)
    return written


def _change(plane: Plane, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
    def once() -> Schedule | None:
        there = known(plane, name)
        return _write(plane, change(there), there.version)

    return _tried(name, once)


def _tried(name: str, once: Callable[[], Schedule | None]) -> Schedule:
    for _try in range(TRIES):
        if (done := once()) is not None:
            return done
    raise Conflict(f"schedule {name} is being changed by somebody else; please try again")


def _must_be_room(plane: Plane, owner: str) -> None:
    """What a tick and an answer can take; two who make one at once may both be let in."""
    there = plane.stores.schedules.all()
    if len(there) >= SCHEDULES_MAX:
        raise Conflict(f"there are {SCHEDULES_MAX} schedules already, which is the most")
    if sum(s.owner == owner for s in there) >= OF_AN_OWNER_MAX:
        raise Conflict(f"{owner} has {OF_AN_OWNER_MAX} schedules already, which is the most")


def _must_fire(schedule: Schedule, now: float) -> None:
    faults = []
    try:
        zone = ZoneInfo(schedule.zone)
    except (ValueError, OSError, KeyError):  # KeyError: its own ZoneInfoNotFoundError
        zone = None
        faults.append(Fault("zone", f"{schedule.zone!r} is no time zone; say one like Europe/Berlin or UTC"))
    try:
        timing = cron.parse(schedule.timing)
        if zone is not None and cron.following(timing, zone, now, now) is None:
            faults.append(Fault("timing", f"{schedule.timing!r} lies in the past: it would never fire"))
    except cron.BadTiming as error:
        faults.append(Fault("timing", str(error)))
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))


def _must_be_accepted(plane: Plane, schedule: Schedule) -> None:
    """Refuse at once what every fire would refuse. Faults are those of its job."""
    try:
        check(plane, [spec_of(plane, schedule)], schedule.owner, prefix=lambda index: "")
    except BadRequest as error:
        faults = tuple(Fault(f"job.{f.field}", f.message) for f in error.faults)
        raise BadRequest(f"job.{error.detail}" if faults else error.detail, faults) from None
