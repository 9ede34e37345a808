"""What a pass leaves on its pool's row of how soon jobs begin (core/expectation.py): one look at the snapshot and the plan made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from chalicelib.core import ladder
from chalicelib.core.durations import boot_s, expected_s
from chalicelib.core.expectation import Expectation, marks_of
from chalicelib.core.fleet import COUNTED, exclusive
from chalicelib.core.host import Host, HostState
from chalicelib.core.job_spec import Reservation
from chalicelib.core.outlook import jobs_per_host, list_price_usd_h
from chalicelib.core.plan import Assign, Gather, Plan, Start
from chalicelib.core.snapshot import Snapshot

NO_TIMEOUT_S = 86_400  # of an average job
Room = tuple[float, int, int]  # cpu, MiB, slots


def expectation(s: Snapshot, plan: Plan) -> Expectation:
    """`s` is what the plan was made from, which is performed now."""
    given: dict[str, list[Reservation]] = {}
    for action in plan.actions:
        if isinstance(action, Assign):
            given.setdefault(action.host, []).append(action.entry.reservation)
        elif isinstance(action, Gather):
            for host in action.hosts:
                given.setdefault(host, []).append(action.entry.reservation)
    s = ladder.current(s)
    per_host = jobs_per_host(s)
    hosts = sum(host.state in COUNTED for host in s.hosts)
    loads = [load for action in plan.actions if isinstance(action, Start) for load in action.loads]
    loads += [(action.entry,) for action in plan.actions if isinstance(action, Gather) for _ in range(action.missing)]
    spare, opens_at = _to_come(s, hosts + len(loads))
    coming = spare * per_host + sum(max(0.0, per_host - len(load)) for load in loads)
    coming += sum(
        max(0.0, per_host - len(host.assignments) - len(given.get(host.id, ())))
        for host in s.hosts
        if host.state is HostState.LAUNCHING
    )
    waiting = [entry.rank for entry, _ in plan.waits]
    most = s.pool.spec.hosts_max if spare else max(1, hosts + len(loads))
    return Expectation(
        at=s.now,
        room=_largest(s, given),
        coming=round(coming, 2),
        opens_at=opens_at,
        boot_s=round(boot_s(s.learned), 1),
        lanes=round(per_host * most, 2),
        job_s=round(expected_s("", NO_TIMEOUT_S, s.learned, s.pool.spec.estimated_s), 2),
        waiting=len(waiting),
        marks=marks_of(waiting),
    )


def _largest(s: Snapshot, given: Mapping[str, Sequence[Reservation]]) -> Room:
    """What the ready host with the most free slots has free, once the plan is performed."""
    alone = exclusive(s)
    rooms = (_free(host, given.get(host.id, ()), alone) for host in s.hosts if host.state is HostState.READY)
    return max(rooms, default=(0.0, 0, 0), key=lambda room: (room[2], room[0], room[1]))


def _free(host: Host, given: Sequence[Reservation], alone: bool) -> Room:
    if alone and (host.assignments or given):
        return 0.0, 0, 0
    taken = [*(a.reservation for a in host.assignments), *given]
    return (
        host.cpu - sum(r.cpu for r in taken),
        host.memory_mib - sum(r.memory_mib for r in taken),
        host.slots - sum(r.slots for r in taken),
    )


def _to_come(s: Snapshot, hosts: int) -> tuple[int, float | None]:
    """How many further hosts may be launched now, and when the queue moves on where none may: 0 for now, None for nobody knows when."""
    spec, supply = s.pool.spec, s.pool.supply
    rungs = ladder.rungs(s)
    spare = max(0, spec.hosts_max - hosts)
    if spec.budget_usd_h is not None and rungs:
        price_usd_h = list_price_usd_h(rungs[0].offering, spec)
        cost_usd_h = sum(list_price_usd_h(h.offering, spec) for h in s.hosts if h.state in COUNTED)
        spare = min(spare, math.floor((spec.budget_usd_h - cost_usd_h) / price_usd_h) if price_usd_h else spare)
    if spec.killed:
        return 0, None
    if spare <= 0 or not spec.scaling_enabled or not rungs:
        return 0, 0.0 if hosts else None
    opens_at = max(
        0.0 if any(not rung.closed_until for rung in rungs) else min(rung.closed_until for rung in rungs),
        supply.backoff_until,
        ladder.probe_at(s) or 0.0,
    )
    if opens_at <= s.now:
        return (spare if supply.protected_at is None else 1), 0.0
    return 0, 0.0 if hosts else min(opens_at, s.now + NO_TIMEOUT_S)
