"""What must hold (DESIGN §9), as functions over plain records: used by tests, fault runs and a debug route.

`always` may be asked at any moment, `at_rest` once nothing is left to do, `of_plan` of any plan before it is performed. Each answers
with sentences; none is good.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core import plan as do
from chalicelib.core.arrays import Array, ArrayState, Tally
from chalicelib.core.backlog import Entry
from chalicelib.core.bucket import EC2_INSTANCES, EC2_REQUESTS, GRAIN
from chalicelib.core.catalogue import Capacity, capacity, knows, price_usd_h
from chalicelib.core.constraint import matches
from chalicelib.core.fleet import COUNTED
from chalicelib.core.host import Host, HostState
from chalicelib.core.job import Job, JobState
from chalicelib.core.placement import CPU_GRAIN
from chalicelib.core.plan import Plan
from chalicelib.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All rows of a pool, EC2's truth, and how often each attempt's command really began (where somebody counted)."""

    jobs: tuple[Job, ...] = ()
    arrays: tuple[tuple[Array, Tally], ...] = ()
    hosts: tuple[Host, ...] = ()
    backlog: tuple[Entry, ...] = ()
    instances: frozenset[str] = frozenset()  # that cost money
    began: Mapping[tuple[str, int], int] = field(default_factory=dict)
    members_began: Mapping[tuple[str, int, int], int] = field(default_factory=dict)  # the same of gangs, by rank
    served: Mapping[str, Sequence[str]] = field(default_factory=dict)  # host → owners of what began there, in order
    share_hosts: bool = False
    hosts_max: int = 0
    cpu_max: Mapping[str, float] = field(default_factory=dict)  # owner → cores at work, where it was never less
    calls: Mapping[str, Sequence[tuple[float, int]]] = field(
        default_factory=dict
    )  # region → RunInstances: when, for how many hosts


def always(world: World) -> list[str]:
    """What holds at any moment, whatever has just crashed."""
    rates = [f"{region}: {sentence}" for region, calls in world.calls.items() for sentence in launch_rate(calls)]
    return [
        *_begun_once(world),
        *_gangs_are_whole(world),
        *_reservations(world.hosts),
        *_serves_one(world.hosts),
        *_served(world),
        *_maximum(world),
        *_quotas(world),
        *rates,
    ]


def at_rest(world: World) -> list[str]:
    """What holds when nothing is left to do: everything ended, nothing costs money, no row points anywhere."""
    return [
        *always(world),
        *(f"{job.id} is {job.state}: {job.reason}" for job in world.jobs if not job.ended),
        *(f"instance {instance} still runs" for instance in sorted(world.instances)),
        *(f"{h.id} is {h.state}: {h.reason}" for h in world.hosts if h.state is not HostState.TERMINATED),
        *(f"{h.id} still carries {a.key}" for h in world.hosts for a in h.assignments),
        *(f"the backlog still has {entry.rank}" for entry in world.backlog),
        *_succeeded_ran(world),
        *_told(world.jobs),
        *_arrays_are_their_elements(world),
    ]


def of_plan(s: Snapshot, plan: Plan) -> list[str]:
    """What every plan keeps, whatever the snapshot that it was made from."""
    return [
        *_placed_once(s, plan),
        *_placed_where_it_fits(s, plan),
        *_placed_where_it_asked_for(s, plan),
        *_one_owner_a_host(s, plan),
        *_work_goes_where_it_may(s, plan),
        *_nothing_running_is_ended(plan),
        *_launches_stay_within_limits(s, plan),
        *_nothing_is_concluded_from_silence(s, plan),
        *_reasons(plan),
        *([f"the next look is ordered for {plan.wake_at}, and it is {s.now}"] if _past(plan.wake_at, s.now) else []),
    ]


def launch_rate(calls: Iterable[tuple[float, int]]) -> list[str]:
    """RunInstances calls of a region, each with its time and how many hosts it asks for, stay under EC2's own token bucket."""
    calls = sorted(calls)
    requests = fullest([(at, 1.0) for at, _ in calls], EC2_REQUESTS.per_s)
    hosts = fullest([(at, float(count)) for at, count in calls], EC2_INSTANCES.per_s)
    return [
        f"EC2 was asked for {most:.1f} {what} at once, and takes {limit.burst:g}"
        for what, most, limit in (("launches", requests, EC2_REQUESTS), ("hosts", hosts, EC2_INSTANCES))
        if most > limit.burst + 1000 * GRAIN
    ]


def fullest(spent: Sequence[tuple[float, float]], per_s: float) -> float:
    """How much of a bucket that refills at this rate was in use at most: the burst that it needs. `spent`: (when, how much), in order."""
    level, before, most = 0.0, 0.0, 0.0
    for at, amount in spent:
        level = max(0.0, level - per_s * (at - before)) + amount
        before, most = at, max(most, level)
    return most


def _past(at: float | None, now: float) -> bool:
    return at is not None and at <= now


def _placed_once(s: Snapshot, plan: Plan) -> Iterator[str]:
    """Every waiting job is placed once, skipped, or told why not."""
    placed = Counter(a.entry.rank for a in plan.actions if isinstance(a, do.Assign | do.Expire | do.Gather))
    placed.update(entry.rank for a in plan.actions if isinstance(a, do.Start) for load in a.loads for entry in load)
    placed.update(entry.rank for entry, _ in plan.waits)
    waiting = Counter(entry.rank for entry in s.backlog)
    for rank in placed.keys() | waiting.keys():
        if placed[rank] != waiting[rank]:
            yield f"{rank} waits {waiting[rank]} times and is dealt with {placed[rank]} times"


def _placed_where_it_fits(s: Snapshot, plan: Plan) -> Iterator[str]:
    hosts = {host.id: host for host in s.hosts}
    given: dict[str, list[Entry]] = {}
    for action in plan.actions:
        if isinstance(action, do.Assign) and all(a.job != action.entry.job for a in hosts[action.host].assignments):
            given.setdefault(action.host, []).append(action.entry)
        elif isinstance(action, do.Gather):
            yield from _gathered_whole(s, action)
            for host_id in action.hosts:
                given.setdefault(host_id, []).append(action.entry)
        elif isinstance(action, do.Start):
            size = capacity(action.offering, s.pool.spec)
            for load in action.loads:
                yield from _overfull("a new host", size, load)
    for host_id, entries in given.items():
        host = hosts[host_id]
        free = Capacity(
            host.cpu - sum(a.cpu for a in host.assignments),
            host.memory_mib - sum(a.memory_mib for a in host.assignments),
            host.slots - sum(a.slots for a in host.assignments),
        )
        yield from _overfull(host_id, free, entries)


def _gathered_whole(s: Snapshot, action: do.Gather) -> Iterator[str]:
    """On as many different hosts as it asked for, in one region; new ones are large enough."""
    entry, offerings = action.entry, {host.id: host.offering for host in s.hosts}
    if len(set(action.hosts)) + action.missing != entry.hosts:
        yield f"{entry.rank} asks for {entry.hosts} hosts and gets {len(set(action.hosts))} and {action.missing} new ones"
    regions = {offerings[host].region for host in action.hosts}
    if action.offering is not None:
        regions.add(action.offering.region)
        yield from _overfull("a new host", capacity(action.offering, s.pool.spec), [entry])
    if len(regions) > 1:
        yield f"{entry.rank} is spread over {', '.join(sorted(regions))}"


def _placed_where_it_asked_for(s: Snapshot, plan: Plan) -> Iterator[str]:
    """On a host of the types and market that its user named; but a host that carries it already keeps it."""
    there = {(host.id, a.job) for host in s.hosts for a in host.assignments}
    offerings = {host.id: host.offering for host in s.hosts}
    placed = [
        (a.entry, offerings[a.host])
        for a in plan.actions
        if isinstance(a, do.Assign) and (a.host, a.entry.job) not in there
    ]
    for gather in (a for a in plan.actions if isinstance(a, do.Gather)):
        placed += [(gather.entry, offerings[host]) for host in gather.hosts]
        placed += [(gather.entry, gather.offering)] if gather.offering is not None else []
    placed += [(e, a.offering) for a in plan.actions if isinstance(a, do.Start) for load in a.loads for e in load]
    for entry, offering in placed:
        if entry.market not in ("", offering.market):
            yield f"{entry.rank} asks for {entry.market} and goes to {offering.key}"
        if entry.instance_types and not matches(offering.instance_type, entry.instance_types):
            yield f"{entry.rank} asks for {', '.join(entry.instance_types)} and goes to {offering.key}"


def _one_owner_a_host(s: Snapshot, plan: Plan) -> Iterator[str]:
    """Jobs of one owner go to a host, and never to another owner's - but where hosts are shared, to one that is empty."""
    owners: dict[str, set[str]] = {}
    hosts = {host.id: host for host in s.hosts}
    for number, action in enumerate(plan.actions):
        if isinstance(action, do.Assign):
            host = hosts[action.host]
            if all(a.job != action.entry.job for a in host.assignments):
                owners.setdefault(host.id, set()).add(action.entry.owner)
        elif isinstance(action, do.Gather):
            for host_id in action.hosts:
                owners.setdefault(host_id, set()).add(action.entry.owner)
        elif isinstance(action, do.Start):
            for index, load in enumerate(action.loads):
                owners[f"new host {number}-{index}"] = {entry.owner for entry in load}
    for where, its in owners.items():
        there = hosts.get(where)
        if there is not None and there.serves is not None and (there.assignments or not s.pool.spec.share_hosts):
            its = its | {there.serves}
        if len(its) > 1:
            yield f"{where} is to serve {', '.join(sorted(its))}"


def _overfull(where: str, free: Capacity, entries: Iterable[Entry]) -> Iterator[str]:
    cpu, memory_mib, slots = 0.0, 0, 0
    for entry in entries:
        cpu, memory_mib, slots = cpu + entry.cpu, memory_mib + entry.memory_mib, slots + entry.slots
    if cpu > free.cpu + 1000 * CPU_GRAIN or memory_mib > free.memory_mib or slots > free.slots:
        yield f"{where} has {free} free and is given {cpu:g} cpu, {memory_mib} MiB, {slots} slots"


def _work_goes_where_it_may(s: Snapshot, plan: Plan) -> Iterator[str]:
    """Never to hosts that leave or are not trusted; and who gets work, or is taken back, does not leave by the same plan."""
    state = {host.id: host.state for host in s.hosts}
    recaptured = {a.host.id for a in plan.actions if isinstance(a, do.Recapture)}
    leaving = {a.host.id for a in plan.actions if isinstance(a, do.Drain | do.Retire | do.Vanish | do.Sicken)}
    for action in plan.actions:
        if isinstance(action, do.Gather):
            for host in action.hosts:
                working = state[host] in (HostState.READY, HostState.LAUNCHING) or host in recaptured
                if host in leaving or not working:
                    yield f"{action.entry.rank} goes to {host}, which is {state[host]}, {'and' if host in leaving else 'not'} leaves"
        if isinstance(action, do.Assign):
            if state[action.host] not in (HostState.READY, HostState.LAUNCHING) and action.host not in recaptured:
                yield f"{action.entry.rank} goes to {action.host}, which is {state[action.host]}"
            if action.host in leaving and all(action.entry.job != a.job for h in s.hosts for a in h.assignments):
                yield f"{action.entry.rank} goes to {action.host}, which leaves"
    yield from (f"{host} is taken back and leaves" for host in sorted(recaptured & leaving))


def _nothing_running_is_ended(plan: Plan) -> Iterator[str]:
    for action in plan.actions:
        if (
            isinstance(action, do.Retire)
            and action.host.assignments
            and action.host.state in (HostState.READY, HostState.DRAINING)
        ):
            yield f"{action.host.id} is retired ({action.reason}) and carries {len(action.host.assignments)} attempts"


def _launches_stay_within_limits(s: Snapshot, plan: Plan) -> Iterator[str]:
    gathers = [a for a in plan.actions if isinstance(a, do.Gather)]
    started = sum(len(a.loads) for a in plan.actions if isinstance(a, do.Start)) + sum(a.missing for a in gathers)
    gone = {a.host.id for a in plan.actions if isinstance(a, do.Vanish | do.Retire)}
    live = sum(host.state in COUNTED and host.id not in gone for host in s.hosts)
    if started and live + started > s.pool.spec.hosts_max:
        yield f"{started} hosts are launched beside {live}, and the pool may have {s.pool.spec.hosts_max}"
    if started and (budget_usd_h := s.pool.spec.budget_usd_h) is not None:
        there = [h.offering for h in s.hosts if h.state in COUNTED and h.id not in gone]
        there += [a.offering for a in plan.actions if isinstance(a, do.Start) for _ in a.loads]
        there += [a.offering for a in gathers if a.offering is not None for _ in range(a.missing)]
        cost_usd_h = sum(price_usd_h(o, s.pool.spec) for o in there if knows(o, s.pool.spec))
        if cost_usd_h > budget_usd_h + 1e-6:
            yield f"with {started} more hosts the pool costs {cost_usd_h:g} USD an hour, and its budget is {budget_usd_h:g}"


def _nothing_is_concluded_from_silence(s: Snapshot, plan: Plan) -> Iterator[str]:
    """Without EC2's list, the only hosts that vanish are those that never had an instance; and nobody is a stranger."""
    if s.listed is not None:
        return
    for action in plan.actions:
        if isinstance(action, do.Adopt | do.Missed) or (
            isinstance(action, do.Vanish) and action.host.instance_id is not None
        ):
            yield f"{type(action).__name__} is planned and EC2 was not asked"


def _reasons(plan: Plan) -> Iterator[str]:
    yield from (f"{type(action).__name__} has no reason" for action in plan.actions if not action.reason)
    yield from (f"{entry.rank} is not told why it waits" for entry, sentence in plan.waits if not sentence)


def _told(jobs: Iterable[Job]) -> Iterator[str]:
    """Who wants to know of an end has been told of it, or it was given up in words."""
    for job in jobs:
        if job.ended and job.listeners and job.delivered_at is None and not job.telling.given_up:
            yield f"nobody told {', '.join(job.listeners)} that {job.id} has ended"


def _begun_once(world: World) -> Iterator[str]:
    """No attempt begins twice, and no job more often than it allows (attempts that a host of ours failed are free)."""
    yield from (f"{job}#{attempt} began {n} times" for (job, attempt), n in world.began.items() if n > 1)
    total: Counter[str] = Counter()
    for (job_id, _), count in world.began.items():
        total[job_id] += count
    for job in world.jobs:
        allowed = (
            job.spec.max_attempts
            if job.spec.max_attempts == 1
            else job.spec.max_attempts + job.faults + job.interruptions
        )
        if total[job.id] > allowed:
            yield f"{job.id} began {total[job.id]} times and allows {allowed}"


def _gangs_are_whole(world: World) -> Iterator[str]:
    """A gang is on as many different hosts as it asked for, and nobody of it begins unless all were told to, nor twice."""
    yield from (
        f"rank {r} of {job}#{n} began {times} times" for (job, n, r), times in world.members_began.items() if times > 1
    )
    begun: defaultdict[str, set[int]] = defaultdict(set)
    for job_id, attempt, _ in world.members_began:
        begun[job_id].add(attempt)
    for job in world.jobs:
        if not job.gang:
            continue
        if job.members and len(set(job.members)) != job.spec.hosts:
            yield f"{job.id} asked for {job.spec.hosts} hosts and is on {', '.join(job.members)}"
        if job.state is JobState.RUNNING and len(job.peers) != job.spec.hosts:
            yield f"{job.id} runs, and {len(job.peers)} of {job.spec.hosts} hosts were ready"
        if job.state in (JobState.PENDING, JobState.ASSIGNED) and job.attempt in begun[job.id]:
            yield f"{job.id} is {job.state}, and a member of attempt {job.attempt} has begun"
        allowed = 1 if job.spec.max_attempts == 1 else job.spec.max_attempts + job.faults + job.interruptions
        if len(begun[job.id]) > allowed:
            yield f"{job.id} began {len(begun[job.id])} times and allows {allowed}"


def _reservations(hosts: Iterable[Host]) -> Iterator[str]:
    for host in hosts:
        cpu = sum(a.cpu for a in host.assignments)
        memory_mib = sum(a.memory_mib for a in host.assignments)
        slots = sum(a.slots for a in host.assignments)
        if cpu > host.cpu + CPU_GRAIN or memory_mib > host.memory_mib or slots > host.slots:
            yield f"{host.id} has {cpu:g} of {host.cpu:g} cpu, {memory_mib} of {host.memory_mib} MiB, {slots} of {host.slots} slots"


def _serves_one(hosts: Iterable[Host]) -> Iterator[str]:
    """What a host carries is its owner's."""
    for host in hosts:
        others = sorted({a.owner for a in host.assignments if a.owner and a.owner != host.serves})
        if others:
            yield f"{host.id} serves {host.serves} and carries attempts of {', '.join(others)}"


def _served(world: World) -> Iterator[str]:
    """In its life a host served one owner."""
    for host, owners in world.served.items() if not world.share_hosts else ():
        if len(set(owners)) > 1:
            yield f"{host} served {', '.join(dict.fromkeys(owners))}"


def _arrays_are_their_elements(world: World) -> Iterator[str]:
    """What an array says of its elements is what their rows say; what has no row never began, and that only where it was to stop."""
    elements: dict[str, dict[int, Job]] = {}
    for job in world.jobs:
        if job.array is not None and job.index is not None:
            elements.setdefault(job.array, {})[job.index] = job
    for array, tally in world.arrays:
        rows = elements.get(array.id, {})
        if not array.ended:
            yield f"{array.id} is {array.state}: {array.reason}"
        if len(rows) < array.count and not array.stops and array.state is not ArrayState.SKIPPED:
            yield f"{array.id} has {len(rows)} of {array.count} elements and was never stopped"
        for state, indices in tally.ended.items():
            yield from (
                f"{array.id} says that element {index} is {state}, and its row is {rows[index].state if index in rows else 'not there'}"
                for index in indices
                if index not in rows or rows[index].state is not state
            )
        yield from (f"{array.id} forgot element {index}" for index in rows.keys() - tally.indices)


def _maximum(world: World) -> Iterator[str]:
    if world.hosts_max and len(world.instances) > world.hosts_max:
        yield f"{len(world.instances)} instances run and the pool may have {world.hosts_max}"


def _quotas(world: World) -> Iterator[str]:
    for owner, most in world.cpu_max.items():
        placed = [j for j in world.jobs if j.owner == owner and j.state in (JobState.ASSIGNED, JobState.RUNNING)]
        cpu = sum(job.spec.cpu * (job.spec.hosts - len(job.ends)) for job in placed)
        if cpu > most + CPU_GRAIN:
            yield f"{owner} has {cpu:g} cores at work and may have {most:g}"


def _succeeded_ran(world: World) -> Iterator[str]:
    began = {job for job, _ in world.began}
    for job in world.jobs:
        if world.began and job.state is JobState.SUCCEEDED and job.id not in began and not job.gang:
            yield f"{job.id} succeeded and never began"
        ranks = {rank for name, attempt, rank in world.members_began if (name, attempt) == (job.id, job.attempt)}
        if world.members_began and job.gang and job.state is JobState.SUCCEEDED and len(ranks) < job.spec.hosts:
            yield f"{job.id} succeeded and {len(ranks)} of its {job.spec.hosts} members began"
