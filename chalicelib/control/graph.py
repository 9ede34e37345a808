"""Jobs and arrays that begin `after` others have ended: state `blocked`, without a place in the backlog.

Theory of operation. Who waits writes, in this order: a row "it waits" under each id that it waits for, its own row, and the flag
`awaited` on each of those - which is refused where that one has ended. Whoever ends a job gets its row back from the very write
that ended it: with the flag on it, the rows are there, and those who wait are looked at (`released`). Without, the flag was refused
to who waits, and who waits looks itself (`hold`). So between an end and a beginning nobody is forgotten but by a crash, and blocked
rows that stand still are held anew by the tick's sweep. Every look asks all that is waited for, so looking twice, or late, changes
nothing.

Who is skipped has ended, and those who wait for it are next: `released` gives them back instead of calling itself, since a chain
may be long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from chalicelib.control.due import known_pool
from chalicelib.control.fairness import ranked
from chalicelib.control.kept import kept_until
from chalicelib.control.wake import wake
from chalicelib.core import arrays as array_machine
from chalicelib.core import backlog, graph
from chalicelib.core.arrays import Array, ArrayEvent, ArrayState
from chalicelib.core.graph import Fate, Ruling
from chalicelib.core.job import Job, JobEvent, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import CloudUnavailable, Fault, StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

WAITER_TTL_S = 90 * 86_400.0  # as long as a job's own row
PAGE = 200  # of those who wait for one end; who stands behind them is told by another message
Record = Job | Array


def faults(plane: Plane, specs: Sequence[tuple[int, str, JobSpec]], owner: str) -> list[Fault]:
    """What is wrong with whom they wait for: `specs` with the number and the path of each. It must be there, and of the same owner.

    In a batch `#3` is its fourth job; as it must come earlier, nobody ever waits for himself.
    """
    wanted = {one for *_, spec in specs for one in spec.after if not one.startswith("#")}
    if not wanted and not any(spec.after for *_, spec in specs):
        return []
    known = rows(plane, wanted)
    found = []
    for number, path, spec in specs:
        if spec.after and spec.not_before is not None:
            found.append(Fault(f"{path}not_before", "cannot be said together with `after`"))
        for index, one in enumerate(spec.after):
            if one.startswith("#") and not (path and one[1:].isdecimal() and int(one[1:]) < number):
                found.append(Fault(f"{path}after[{index}]", f"{one} is no earlier job of this batch"))
            elif not one.startswith("#") and (one not in known or known[one].owner != owner):
                found.append(Fault(f"{path}after[{index}]", f"there is no job or array {one} of {owner}"))
    return found


def named(after: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Whom it waits for, by id: `#3` stands for the fourth of these."""
    return tuple(dict.fromkeys(ids[int(one[1:])] if one.startswith("#") else one for one in after))


def announce(plane: Plane, waiting: Iterable[tuple[str, JobSpec]]) -> None:
    """Before their own rows are written: that these ids will wait."""
    pairs = [(waiter, subject) for waiter, spec in waiting for subject in spec.after]
    if pairs:
        plane.stores.waiters.add(pairs, plane.clock() + WAITER_TTL_S)


def hold(plane: Plane, waiting: Sequence[Record], *, awaited: frozenset[str] = frozenset()) -> list[Record]:
    """After their rows are written: flag whom they wait for, and look at once at those some of whom have ended already.

    `awaited`: ids that carry the flag from their first moment. Returns whom that ended.
    """
    subjects = dict.fromkeys(one for record in waiting for one in record.spec.after if one not in awaited)
    over = {subject for subject in subjects if not plane.stores.waiters.await_end(subject)}
    look = [record for record in waiting if not over.isdisjoint(record.spec.after)]
    return _look(plane, look)


def released(plane: Plane, subject: str, after: str = "") -> list[Record]:
    """Something has ended: let those who waited for it go, or skip them. Returns whom that ended."""
    ids = plane.stores.waiters.of(subject, after=after, limit=PAGE)
    if len(ids) == PAGE:
        plane.cloud.queues.timer({"v": 1, "kind": "follow", "of": subject, "after": ids[-1]}, 0)
    return _look(plane, list(rows(plane, ids).values()))


def held_again(plane: Plane, blocked: Sequence[Record]) -> list[Record]:
    """What a crash left of these that have stood blocked for a while: the flags that lack, and a look. Returns whom that ended.

    Nothing is written where nothing is amiss: jobs may wait for days, and this is asked each minute.
    """
    subjects = rows(plane, {subject for record in blocked for subject in record.spec.after})
    flagged = {subject for subject, row in subjects.items() if row.awaited and not row.ended}
    return hold(plane, blocked, awaited=frozenset(flagged))


def awaited(plane: Plane, record: Record) -> Ruling:
    """What is to become of who is blocked, by the rows of whom it waits for as they are now. Nothing is written."""
    return graph.ruling(record.spec.after, record.spec.after_on, _ends(plane, [record]))


def _ends(plane: Plane, blocked: Sequence[Record]) -> dict[str, str | None]:
    """The final states of those whom these wait for; None of one that has not ended."""
    subjects = rows(plane, {subject for one in blocked for subject in one.spec.after})
    return {subject: str(row.state) if row.ended else None for subject, row in subjects.items()}


def _look(plane: Plane, waiting: Sequence[Record]) -> list[Record]:
    blocked = [one for one in waiting if one.state in (JobState.BLOCKED, ArrayState.BLOCKED)]
    if not blocked:
        return []
    ends = _ends(plane, blocked)
    ended, pools = [], set()
    for one in blocked:
        ruling = graph.ruling(one.spec.after, one.spec.after_on, ends)
        moved = (
            None
            if ruling.fate is Fate.WAIT
            else _job(plane, one, ruling)
            if isinstance(one, Job)
            else _array(plane, one, ruling)
        )
        if moved is not None and moved.ended:
            ended.append(moved)
        elif moved is not None:
            pools.add(moved.pool)
    for pool in sorted(pools):
        try:
            wake(plane, pool)
        except (CloudUnavailable, StoreUnavailable) as error:  # the tick wakes it in a minute
            log.warning("a pool could not be woken", extra={"pool": pool, "error": str(error)})
    return ended


def _job(plane: Plane, job: Job, ruling: Ruling) -> Job | None:
    """The job then; None where somebody was quicker. Who was given another place in this moment is looked at anew by the sweep."""
    now, event, before = plane.clock(), JobEvent.SKIP, None
    if ruling.fate is Fate.UNBLOCK:
        before = job.rank
        (job,) = ranked(plane, [job], partial(known_pool, plane))
        event = JobEvent.UNBLOCK
    moved = plane.stores.jobs.move(
        job.id,
        event,
        attempt=job.attempt,
        at=now,
        reason=ruling.reason,
        rank=job.rank,
        rank_before=before,
        expires_at=kept_until(plane, job, now),
        untold=bool(job.listeners),
    )
    if moved is not None and not moved.ended:
        plane.stores.backlog.put(backlog.entry_of(moved))
    return moved


def _array(plane: Plane, array: Array, ruling: Ruling) -> Array | None:
    event = ArrayEvent.UNBLOCK if ruling.fate is Fate.UNBLOCK else ArrayEvent.SKIP
    now = plane.clock()
    moved = plane.stores.arrays.move(
        array.id,
        event,
        at=now,
        reason=ruling.reason,
        expires_at=kept_until(plane, array, now),
        untold=bool(array.listeners),
    )
    if moved is not None and not moved.ended:
        plane.stores.backlog.put(array_machine.entry_of(moved))
    return moved


def rows(plane: Plane, ids: Iterable[str]) -> Mapping[str, Record]:
    """The jobs and arrays of these ids, those that there are."""
    jobs = [one for one in dict.fromkeys(ids) if not one.startswith("array-")]
    arrays = [one for one in dict.fromkeys(ids) if one.startswith("array-")]
    found: dict[str, Record] = {}
    if jobs:
        found |= plane.stores.jobs.get_many(jobs)
    if arrays:
        found |= plane.stores.arrays.get_many(arrays)
    return found
