"""The tick's sweep: what a crash between two writes left behind is found and put right, in both directions.

Looks at every job that has not ended and at every host that carries something; touches only what has stood still for longer
than any handler may run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chalicelib.control import arrays, due, endings, graph, settle
from chalicelib.control.cancel import cancel
from chalicelib.control.launch_answers import ROW_TTL_S
from chalicelib.control.wake import wake
from chalicelib.core.backlog import Entry, entry_of
from chalicelib.core.expiry import sentence
from chalicelib.core.host import Assignment, Host, HostState, Launch
from chalicelib.core.job import Job, JobState
from chalicelib.core.samples import Tally
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

STILL_S = 60.0
PAGES_MAX = 10
PAGE = 500
OLDEST_PAGES = 5  # of the jobs, in each tick; the other pages of the tick go through those behind them
FORGOTTEN_MAX = 500  # rows a tick
BLOCKED_PAGE = 200  # jobs that are looked at together
ARRAY_S = 5.0  # for one array's cancellation; the next tick goes on
ARRAYS_S = 10.0  # for all arrays of a pool; where that is too short, each tick begins with others
STRIDE = 7919  # a prime: from minute to minute far apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep did, and all that it read before it did it."""

    repairs: int
    hosts: list[Host]
    launches: list[Launch]
    backlog: list[Entry]
    jobs: Tally


def sweep(plane: Plane, pool: str) -> int:
    """Repair one pool; how many repairs were made."""
    return swept(plane, pool).repairs


def swept(plane: Plane, pool: str) -> Swept:
    """The same, with what was seen."""
    hosts, launches = plane.stores.hosts.of_pool(pool)
    _forget(plane, pool, hosts, launches)
    carried = {(a.job, a.attempt): host for host in hosts for a in host.assignments if a.rank is None}
    members = {(a.job, a.attempt, host.id) for host in hosts for a in host.assignments if a.rank is not None}
    repairs = _stale_assignments(plane, hosts)
    backlog = plane.stores.backlog.head(
        pool, PAGE * PAGES_MAX
    )  # before the jobs, or new ones would seem to have no entry
    queued = _queued(plane, backlog)
    entries = _by_job(backlog)
    tally = Tally()
    for entry in backlog:
        if entry.size:
            tally.add_waiting(entry.size - entry.next_index, entry.queued_at)
    repairs += _arrays(plane, pool)
    cancelled = _Cancelled(plane)
    blocked: list[Job] = []
    for ids in _active(plane, pool, tally):
        for job in plane.stores.jobs.get_many(ids).values():
            if job.ended:
                continue
            tally.add(job)
            repairs += _strays(plane, job, entries.pop(job.id, ()))
            if plane.clock() - max(job.entered.values(), default=0.0) > STILL_S:
                repairs += _gang(plane, job, members) if job.gang and job.members else 0
                repairs += _job(plane, job, carried, queued) or cancelled.with_its_array(job)
                if job.state is JobState.BLOCKED:
                    blocked.append(job)
    repairs += _left_behind(plane, entries) + _of_ended_arrays(plane, backlog)
    repairs += _blocked(plane, blocked)
    if repairs:
        wake(plane, pool)
    return Swept(repairs=repairs, hosts=hosts, launches=launches, backlog=backlog, jobs=tally)


def _active(plane: Plane, pool: str, tally: Tally) -> Iterator[list[str]]:
    """Ids of jobs that have not ended: the oldest, and of those behind them as many from where the last sweep left off.

    Thousands may be deferred by months: without that, whoever comes after them would never be looked at.
    """
    after: str | None = None
    for _page in range(OLDEST_PAGES):
        ids, after = plane.stores.jobs.active(pool, after=after, limit=PAGE)
        yield ids
        if after is None:
            return
    place = f"sweep/{pool}"
    left_off = (plane.stores.registry.setting(place) or {}).get("after")
    tally.complete = not left_off
    after = max(after or "", left_off or "")
    for _page in range(PAGES_MAX - OLDEST_PAGES):
        ids, after = plane.stores.jobs.active(pool, after=after, limit=PAGE)
        if after is not None or left_off:
            plane.stores.registry.put_setting(
                place, {"after": after}
            )  # first: what cannot be repaired stops nobody else
        yield ids
        left_off = after
        if after is None:
            return
    tally.complete = False


def _by_job(backlog: list[Entry]) -> dict[str, list[Entry]]:
    entries: dict[str, list[Entry]] = {}
    for entry in backlog:
        if not entry.size:  # an array's is its own sweep's
            entries.setdefault(entry.job, []).append(entry)
    return entries


def _strays(plane: Plane, job: Job, entries: Sequence[Entry]) -> int:
    """Remove entries where a job does not stand any more: what was read of the backlog before its row is older than that. A later attempt's
    entry is left alone: the attempt may be newer than the row that was read.
    An attempt that is on a host never comes back to the backlog."""
    place = None if job.state in (JobState.ASSIGNED, JobState.RUNNING) else entry_of(job).rank
    strays = [entry for entry in entries if entry.rank != place and entry.attempt <= job.attempt]
    if strays:
        log.warning("a job stood in the backlog where it is not", extra={"job": job.id, "entries": len(strays)})
        plane.stores.backlog.remove(strays)
    return len(strays)


def _left_behind(plane: Plane, entries: dict[str, list[Entry]]) -> int:
    """Remove entries of jobs that have ended; those that the index did not name may be new, so their rows are asked."""
    ended = [job for job in plane.stores.jobs.get_many(list(entries)[:FORGOTTEN_MAX]).values() if job.ended]
    for job in ended:
        log.warning("a job that has ended was in the backlog", extra={"job": job.id})
        plane.stores.backlog.remove(entries[job.id])
    return len(ended)


def _of_ended_arrays(plane: Plane, backlog: list[Entry]) -> int:
    """Remove entries of arrays that have ended: who put them was overtaken by that end."""
    entries = {entry.job: entry for entry in backlog if entry.size}
    ended = [one.id for one in plane.stores.arrays.get_many(list(entries)[:FORGOTTEN_MAX]).values() if one.ended]
    for array_id in ended:
        log.warning("an array that has ended was in the backlog", extra={"job": array_id})
        plane.stores.backlog.remove([entries[array_id]])
    return len(ended)


def _arrays(plane: Plane, pool: str) -> int:
    """Every array that has not ended is looked at: its entry, its cancellation, its end."""
    began, after, found = plane.clock(), None, list[str]()
    for _page in range(PAGES_MAX):
        ids, after = plane.stores.arrays.active(pool, after=after, limit=PAGE)
        found += ids
        if after is None:
            break
    first, repairs = int(began // 60) * STRIDE % max(1, len(found)), 0
    for array_id in found[first:] + found[:first]:
        if plane.clock() - began > ARRAYS_S:
            log.warning("a sweep had no time for all arrays", extra={"pool": pool, "arrays": len(found)})
            break
        repairs += arrays.look(plane, array_id, plane.clock() + ARRAY_S)
    return repairs


def _blocked(plane: Plane, jobs: list[Job]) -> int:
    """Jobs that still wait for others: a crash may have lost the word that these have ended, or that they are waited for."""
    ended = []
    for start in range(0, len(jobs), BLOCKED_PAGE):
        ended += graph.held_again(plane, jobs[start : start + BLOCKED_PAGE])
    endings.ended(plane, *ended)
    return len(ended)


class _Cancelled:
    """Elements whose array was cancelled, or ended, while a pass made them, which died before it could cancel them too."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._arrays: dict[str, bool] = {}

    def with_its_array(self, job: Job) -> int:
        if job.array is None or job.cancel_requested:
            return 0
        if job.array not in self._arrays:
            array = self._plane.stores.arrays.get(job.array)
            self._arrays[job.array] = array is not None and (array.cancel_requested or array.ended)
        if self._arrays[job.array]:
            cancel(self._plane, job.id)
        return int(self._arrays[job.array])


def _forget(plane: Plane, pool: str, hosts: list[Host], launches: list[Launch]) -> None:
    """Delete what is over. Every pass reads every row of its pool, and rows that have expired stay for days."""
    before = plane.clock() - ROW_TTL_S
    over = [h.id for h in hosts if h.state is HostState.TERMINATED and not h.assignments and h.entered_at < before]
    over += [launch.id for launch in launches if launch.recorded and launch.created_at < before]
    if over:
        plane.stores.hosts.forget(pool, over[:FORGOTTEN_MAX])


def _queued(plane: Plane, head: list[Entry]) -> Callable[[Entry], bool]:
    """Whether an entry is in the backlog, which was read as a whole: asking for each of thousands would take all of a tick."""
    ranks = {entry.rank for entry in head}
    end = head[-1].rank if len(head) == PAGE * PAGES_MAX else None
    return lambda entry: (
        entry.rank in ranks or (end is not None and entry.rank > end and plane.stores.backlog.has(entry))
    )


def _job(plane: Plane, job: Job, carried: dict[tuple[str, int], Host], queued: Callable[[Entry], bool]) -> int:
    entry = entry_of(job)
    placed = job.state in (JobState.ASSIGNED, JobState.RUNNING)
    if job.gang and placed:
        return 0  # what is to be done about it a pass concludes from its row
    if job.cancel_requested and not _knows_of_cancel(job, carried.get((job.id, job.attempt))):
        log.warning("a cancellation was left half done", extra={"job": job.id})
        cancel(plane, job.id)
        return 1
    if job.state is JobState.PENDING and entry.give_up_at is not None and entry.give_up_at + STILL_S < plane.clock():
        log.warning("a job waited for longer than it was to", extra={"job": job.id})
        settle.skip(plane, job, sentence(entry))
        plane.stores.backlog.remove([entry])
        return 1
    if job.state is JobState.SCHEDULED and (job.spec.not_before or 0.0) <= plane.clock():
        log.warning("a job was not begun in time", extra={"job": job.id})
        due.begin(plane, [job.id])
        return 1
    if job.state is JobState.PENDING and not queued(entry):
        log.warning("a pending job was not in the backlog", extra={"job": job.id})
        plane.stores.backlog.put(entry)
        return 1
    if placed and (job.id, job.attempt) not in carried and job.host:
        log.warning("no host carries an assigned job", extra={"job": job.id, "host": job.host})
        host = plane.stores.hosts.get(job.pool, job.host)
        settle.abandoned(plane, job, job.host, host, f"host {job.host} does not carry it any more")
        return 1
    return 0


def _gang(plane: Plane, job: Job, carried: set[tuple[str, int, str]]) -> int:
    """Members that no host carries and of whose end nothing is noted; or all ends are noted, and nobody moved the job."""
    if job.state not in (JobState.ASSIGNED, JobState.RUNNING):
        return 0
    missing = [
        host
        for rank, host in enumerate(job.members)
        if rank not in job.ends and (job.id, job.attempt, host) not in carried
    ]
    for host_id in missing:
        log.warning("a member of a gang is carried by no host", extra={"job": job.id, "host": host_id})
        host = plane.stores.hosts.get(job.pool, host_id)
        settle.abandoned(plane, job, host_id, host, f"host {host_id} does not carry it any more")
    if not missing and len(job.ends) == len(job.members):
        log.warning("a gang whose members have all ended had not", extra={"job": job.id})
        settle.concluded(plane, job)
        return 1
    return len(missing)


def _knows_of_cancel(job: Job, host: Host | None) -> bool:
    """Whether the host that carries it is to be told; a job that no host carries has nobody who would end it."""
    on_host = job.state in (JobState.ASSIGNED, JobState.RUNNING)
    if host is None:
        return on_host  # that is the next rule's
    return any(a.cancel for a in host.assignments if a.job == job.id)


def _stale_assignments(plane: Plane, hosts: list[Host]) -> int:
    """Assignments whose job has ended, or is elsewhere: the second write of a settlement was lost."""
    old = [(h, a) for h in hosts for a in h.assignments if plane.clock() - a.assigned_at > STILL_S]
    jobs = plane.stores.jobs.get_many({a.job for _, a in old})
    stale = [(h, a) for h, a in old if _is_stale(h, a, jobs.get(a.job))]
    for host, assignment in stale:
        log.warning("a host carried an attempt that is over", extra={"host": host.id, "job": assignment.job})
        plane.stores.hosts.unassign(host.pool, host.id, assignment.key, plane.clock())
    return len(stale)


def _is_stale(host: Host, assignment: Assignment, job: Job | None) -> bool:
    return job is None or job.ended or job.attempt != assignment.attempt or not (job.host is None or job.on(host.id))
