"""What would be done now and why, and why things are as they are: reads only.

A plan here is made by the same `observe` and `reconcile` as a pass makes it; printing it is all that is done with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.control import graph, story
from chalicelib.control.decide import decide
from chalicelib.control.reconcile_pool import observe
from chalicelib.core import invariants
from chalicelib.core.consistency import GOING
from chalicelib.core.durations import boot_s
from chalicelib.core.forecast import there_at
from chalicelib.core.host import LIVE, Host, HostState
from chalicelib.core.job import Job, JobState
from chalicelib.core.plan import Action, Assign, Gather, Plan, Start
from chalicelib.core.plan_words import concerning_host, concerning_job, words
from chalicelib.core.pool import Pool
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.why_host import why_gone, why_host
from chalicelib.core.why_job import Outlook, why_job
from chalicelib.wiring import Plane

LOOKED_AT_MAX = 500  # jobs and backlog entries that the invariants are asked of


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan that nobody performs, and what it was made from. `snapshot.listed` is None where EC2 did not answer, or was not asked."""

    plan: Plan
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The answer to "why?": whole sentences, the most important first. `state`: None where the row is gone."""

    subject: str
    state: str | None
    at: float
    sentences: tuple[str, ...]


def plan(plane: Plane, pool: Pool, *, list_now: bool = True) -> Planned:
    """The plan that a pass would perform now. EC2's own list is asked for even where no pass would ask yet."""
    snapshot, *_ = observe(plane, pool, list_now=list_now)
    return Planned(plan=decide(snapshot), snapshot=snapshot)


def job(plane: Plane, record: Job) -> Why:
    """Why a job is where it is."""
    now = plane.clock()
    host = plane.stores.hosts.get(record.pool, record.host) if record.host and not record.ended else None
    outlook = _outlook(plane, record) if record.state is JobState.PENDING else None
    awaited = graph.awaited(plane, record) if record.state is JobState.BLOCKED else None
    unanswered = host is not None and host.state is HostState.LAUNCHING and host.instance_id is None
    pool = plane.stores.registry.pool(record.pool) if unanswered else None
    backoff_until = pool.supply.backoff_until if pool is not None else 0.0
    rows = (plane.stores.hosts.get(record.pool, name) for name in record.members) if not record.ended else ()
    sentences = why_job(
        record,
        story.of_job(plane, record),
        now,
        host=host,
        outlook=outlook,
        awaited=awaited,
        backoff_until=backoff_until,
        members={row.id: row for row in rows if row is not None},
    )
    return Why(subject=record.id, state=str(record.state), at=now, sentences=tuple(sentences))


def host(plane: Plane, host_id: str) -> Why | None:
    """Why a host is where it is, or what its story says where its row is gone; None where nothing is known of it."""
    now = plane.clock()
    record = find_host(plane, host_id)
    lines = story.of_host(plane, host_id, record)
    pool = plane.stores.registry.pool(record.pool) if record is not None else None
    if record is None or pool is None:
        return (
            Why(subject=host_id, state=None, at=now, sentences=tuple(why_gone(host_id, lines, now))) if lines else None
        )
    coming: list[str] = []
    target = None
    if record.state in LIVE:
        planned = plan(plane, pool, list_now=False)
        coming = [words(action) for action in concerning_host(planned.plan, host_id)]
        target = planned.plan.target
    sentences = why_host(record, lines, now, pool=pool, coming=coming, target=target)
    return Why(subject=host_id, state=str(record.state), at=now, sentences=tuple(sentences))


def find_host(plane: Plane, host_id: str) -> Host | None:
    """A host by its id alone: ids are unique, and pools are few."""
    for pool in plane.stores.registry.pools():
        if (found := plane.stores.hosts.get(pool.name, host_id)) is not None:
            return found
    return None


def broken(plane: Plane, pool: Pool) -> list[str]:
    """What does not hold of a pool now, of all that must always hold (DESIGN §9), as sentences. Of many jobs, the oldest are looked at.

    Raises CloudUnavailable where EC2 does not answer: from half a view nothing is concluded.
    """
    hosts, _ = plane.stores.hosts.of_pool(pool.name)
    active, _ = plane.stores.jobs.active(pool.name, limit=LOOKED_AT_MAX)
    carried = [a.job for host in hosts for a in host.assignments][:LOOKED_AT_MAX]
    regions = {o.region for o in pool.spec.offerings} | {h.offering.region for h in hosts if h.state in LIVE}
    listed = plane.cloud.compute.instances(pool.name, sorted(regions))
    world = invariants.World(
        jobs=tuple(plane.stores.jobs.get_many(dict.fromkeys([*carried, *active])).values()),
        hosts=tuple(hosts),
        backlog=tuple(plane.stores.backlog.head(pool.name, LOOKED_AT_MAX)),
        instances=frozenset(i.id for i in listed if i.state not in GOING),
        hosts_max=pool.spec.hosts_max,
    )
    return invariants.always(world)


def _outlook(plane: Plane, record: Job) -> Outlook | None:
    """What a plan made now says of a pending job; EC2 is not asked, since users may ask this often."""
    pool = plane.stores.registry.pool(record.pool)
    if pool is None:
        return None
    planned = plan(plane, pool, list_now=False)
    actions = concerning_job(planned.plan, record.id)
    s = planned.snapshot
    queue = sorted((*s.backlog, *(entry for entry, _ in s.held)), key=lambda entry: entry.rank)
    place = next((n for n, entry in enumerate(queue) if entry.job == record.id), None)
    return Outlook(
        coming=tuple(words(action) for action in actions),
        waits=next((why for entry, why in planned.plan.waits if entry.job == record.id), ""),
        ahead=place,
        wait_s=_wait_s(planned, actions, None if place is None else queue[place].rank),
    )


def _wait_s(planned: Planned, actions: Sequence[Action], rank: str | None) -> float | None:
    """How long until it begins: what the plan believes; for one that is placed, until its host is there. None where nobody can tell."""
    s = planned.snapshot
    hosts = {host.id: host for host in s.hosts}
    boot = boot_s(s.learned)
    for action in actions:
        if isinstance(action, Start) or (isinstance(action, Gather) and action.missing):
            return boot
        if isinstance(action, Assign) and (on := hosts.get(action.host)) is not None:
            return max(0.0, there_at(on, s.now, boot) - s.now)
    if rank is None or (begins_at := planned.plan.begins.get(rank)) is None:
        return None
    return max(0.0, begins_at - s.now)
