"""A plan performed on paper: the snapshot that the next pass would see if every action succeeded in no time."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core import plan as do
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import capacity
from chalicelib.core.host import Assignment, Host, HostState
from chalicelib.core.plan import Plan
from chalicelib.core.snapshot import Snapshot


def assigned(entry: Entry, now: float, *, inline: bool) -> Assignment:
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
    )


def acted(s: Snapshot, plan: Plan) -> Snapshot:
    """Attempts that are settled or taken back are not queued again here: where they go is not what is asked."""
    hosts = {host.id: host for host in s.hosts}
    placed: set[str] = set()
    launches = {launch.id: launch for launch in s.launches}

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
                    change(host, assignments=(*host.assignments, one))
                placed.add(action.entry.rank)
            case do.Expire():
                placed.add(action.entry.rank)
            case do.Start():
                size = capacity(action.offering, s.pool.spec)
                for index, load in enumerate(action.loads):
                    name = f"host-new-{number}-{index}-{s.pool.pass_no}"
                    hosts[name] = Host(
                        id=name,
                        pool=s.pool.name,
                        state=HostState.LAUNCHING,
                        offering=action.offering,
                        launch=f"launch-{number}-{s.pool.pass_no}",
                        launch_index=index,
                        cpu=size.cpu,
                        memory_mib=size.memory_mib,
                        slots=size.slots,
                        launched_at=s.now,
                        recorded_at=s.now,
                        entered_at=s.now,
                        generation=s.pool.spec.generation,
                        instance_id=f"i-{name}",
                        userid=f"AROA:i-{name}",
                        assignments=tuple(assigned(entry, s.now, inline=True) for entry in load),
                    )
                    placed |= {entry.rank for entry in load}
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
    )
