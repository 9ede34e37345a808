"""A plan performed on paper: the snapshot that the next pass would see if every action succeeded in no time."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core import plan as do
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import capacity
from chalicelib.core.host import Assignment, Host, HostState, Offering
from chalicelib.core.job import End, Job, JobEvent, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.plan import Plan
from chalicelib.core.snapshot import Snapshot


def assigned(entry: Entry, now: float, *, inline: bool, rank: int | None = None) -> Assignment:
    return Assignment(
        job=entry.job,
        attempt=entry.attempt,
        cpu=entry.cpu,
        memory_mib=entry.memory_mib,
        slots=entry.slots,
        timeout_s=entry.timeout_s,
        assigned_at=now,
        inline=inline,
        family=entry.family,
        rank=rank,
        owner=entry.owner,
    )


def gathered(entry: Entry, members: tuple[str, ...], now: float) -> Job:
    """The row of a gang that was placed."""
    return Job(
        id=entry.job,
        pool=entry.pool,
        owner=entry.owner,
        spec=JobSpec(command="solve", timeout_s=entry.timeout_s, hosts=entry.hosts),
        state=JobState.ASSIGNED,
        submitted_at=entry.queued_at,
        attempt=entry.attempt,
        entered={"assigned": now},
        host=members[0],
        members=members,
    )


def ended(gang: Job, host: str) -> Job:
    """The row once a member was taken back: it waits again when that was the last one."""
    if gang.state is not JobState.ASSIGNED or host not in gang.members:
        return gang
    rank = gang.members.index(host)
    ends = {**gang.ends, rank: End(event=JobEvent.RELEASE, reason="taken back", at=0.0)}
    state = JobState.PENDING if len(ends) == len(gang.members) else gang.state
    cause = gang.cause if gang.cause is not None else rank
    return replace(gang, ends=ends, cause=cause, state=state, attempt=gang.attempt + (state is JobState.PENDING))


def acted(s: Snapshot, plan: Plan) -> Snapshot:
    """Attempts that are settled or taken back are not queued again here: where they go is not what is asked."""
    hosts = {host.id: host for host in s.hosts}
    placed: set[str] = set()
    launches = {launch.id: launch for launch in s.launches}
    gangs = dict(s.gangs)

    def change(host: Host, **facts: object) -> None:
        hosts[host.id] = replace(hosts[host.id], **facts)  # type: ignore[arg-type]

    def state(host: Host, state: HostState, **facts: object) -> None:
        change(host, state=state, entered_at=s.now, **facts)

    def without(host: Host, key: str) -> None:
        change(host, assignments=tuple(a for a in hosts[host.id].assignments if a.key != key), freed_at=s.now)

    for number, action in enumerate(plan.actions):
        match action:
            case do.Resume():
                launches[action.launch.id] = replace(action.launch, recorded=True)
            case do.Missed():
                change(action.host, missed_lists=action.missed_lists)
            case do.Vanish():
                state(action.host, HostState.TERMINATED, assignments=())
            case do.Settle() | do.Reclaim():
                without(action.host, action.assignment.key)
                if action.assignment.rank is not None and action.assignment.job in gangs:
                    gangs[action.assignment.job] = ended(gangs[action.assignment.job], action.host.id)
            case do.Sicken():
                state(action.host, HostState.UNHEALTHY)
            case do.Drain():
                state(action.host, HostState.DRAINING)
            case do.Recapture():
                state(action.host, HostState.READY)
            case do.Retire():
                state(action.host, HostState.TERMINATING, retire_sent_at=s.now)
            case do.Assign():
                host = hosts[action.host]
                one = assigned(action.entry, s.now, inline=False)
                if all(a.key != one.key for a in host.assignments):
                    change(host, domain=one.owner, assignments=(*host.assignments, one))
                placed.add(action.entry.rank)
            case do.Expire():
                placed.add(action.entry.rank)
            case do.Start():
                for index, load in enumerate(action.loads):
                    name = f"host-new-{number}-{index}-{s.pool.pass_no}"
                    carried = tuple(assigned(entry, s.now, inline=True) for entry in load)
                    hosts[name] = launched(s, action.offering, name, carried)
                    placed |= {entry.rank for entry in load}
            case do.Gather():
                new = tuple(f"host-gang-{number}-{index}-{s.pool.pass_no}" for index in range(action.missing))
                members = (*action.hosts, *new)
                for rank, name in enumerate(members):
                    one = assigned(action.entry, s.now, inline=name in new, rank=rank)
                    if name in new and action.offering is not None:
                        hosts[name] = launched(s, action.offering, name, ())
                    change(hosts[name], domain=one.owner, assignments=(*hosts[name].assignments, one))
                gangs[action.entry.job] = gathered(action.entry, members, s.now)
                placed.add(action.entry.rank)
            case do.Go():
                gangs[action.job] = replace(
                    gangs[action.job],
                    state=JobState.RUNNING,
                    peers=action.addresses,
                    entered={**gangs[action.job].entered, "running": s.now},
                )
                for host in action.hosts:
                    change(host, rung_at=s.now)
            case do.Halt():
                flagged = replace(action.assignment, cancel=True)
                others = tuple(a for a in hosts[action.host.id].assignments if a.key != flagged.key)
                change(action.host, assignments=(*others, flagged), rung_at=s.now)
            case do.Ring():
                for host_id in action.hosts:
                    change(hosts[host_id], rung_at=s.now)
            case do.Wipe():
                change(hosts[action.host.id], secrets_at=None)
            case do.Adopt():
                pass
    memory = {"scaling": plan.scaling or s.pool.scaling, "supply": plan.supply or s.pool.supply}
    pool = replace(s.pool, pass_no=s.pool.pass_no + 1, **memory)  # type: ignore[arg-type]  # each of its own type
    return replace(
        s,
        pool=pool,
        hosts=tuple(h for h in hosts.values() if h.state is not HostState.TERMINATED or h.assignments),
        launches=tuple(launches.values()),
        backlog=tuple(entry for entry in s.backlog if entry.rank not in placed),
        listed=None,
        gangs=gangs,
    )


def launched(s: Snapshot, offering: Offering, name: str, assignments: tuple[Assignment, ...]) -> Host:
    """A new host of which EC2 has told."""
    size = capacity(offering, s.pool.spec)
    return Host(
        id=name,
        pool=s.pool.name,
        state=HostState.LAUNCHING,
        offering=offering,
        launch=f"launch-of-{name}",
        launch_index=0,
        cpu=size.cpu,
        memory_mib=size.memory_mib,
        slots=size.slots,
        launched_at=s.now,
        recorded_at=s.now,
        entered_at=s.now,
        generation=s.pool.spec.generation,
        instance_id=f"i-{name}",
        userid=f"AROA:i-{name}",
        domain=assignments[0].owner if assignments else None,
        assignments=assignments,
    )
