"""What there is before hosts are decided on: who could take work, who needs a further host, what may be launched."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter

from chalicelib.core import calendar, forecast, ladder
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity, capacity, knows, price_usd_h
from chalicelib.core.constraint import Constraint
from chalicelib.core.durations import boot_s, expected_s
from chalicelib.core.fleet import COUNTED, TIERS, Fleet, exclusive
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.placement import FREE, Room, pack
from chalicelib.core.pool import PoolSpec
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.staffing import GRAIN

_DRAINING = TIERS[HostState.DRAINING]
_LAUNCHING = TIERS[HostState.LAUNCHING]
_READY = TIERS[HostState.READY]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What there is before anything is decided: rooms for work now (`have`), hosts without any (`idle`), what could be launched for whom.

    `sizes`: offerings that may be tried. `counted`: hosts that stay, as the pool's maximum counts them. `spare`: how many further hosts
    the pool may have; `money_usd_h`: what they may cost (None: no budget). `opened`: rooms on new hosts for jobs that need one.
    `elsewhere`: those of `idle` that serve one owner only, who has nothing for them, longest idle first: they can make way for others.
    `begins`: rank → moment, of jobs that are believed to begin soon enough on hosts that are there.
    """

    sizes: list[tuple[Offering, Capacity]]
    counted: int
    spare: int
    money_usd_h: float | None
    have: list[Room]
    idle: tuple[Host, ...]
    elsewhere: tuple[Host, ...]
    opened: list[Room]
    begins: dict[str, float]
    view: PoolView
    floor: tuple[int, str]


def outlook(
    s: Snapshot,
    fleet: Fleet,
    left: Sequence[Entry],
    retiring: set[str],
    bound: Mapping[str, Constraint] = FREE,
    promised: Sequence[Offering] = (),
) -> Outlook:
    """`left`: who waits and fits on none of the fleet's rooms; `retiring`: ids of hosts that leave anyway; `bound`: of core/ladder.py;
    `promised`: further hosts that are launched, and full."""
    spec = s.pool.spec
    takes_s = _expectations(s)
    boots_s = boot_s(s.learned)
    sizes = ladder.usable(s)
    counted = [host for host in fleet.hosts if host.state in COUNTED and host.id not in retiring]
    spare = max(0, spec.hosts_max - len(counted) - len(promised))
    if (launches_max := ladder.launches_max(s)) is not None:
        spare = min(spare, max(0, launches_max - len(promised)))
    per_host = jobs_per_host(s)
    late, soon = forecast.late(
        left,
        _lanes(s, fleet, takes_s, boots_s, known=bool(bound)) if left else forecast.Roads(),
        s.now,
        boots_s,
        spec.slo_wait_s,
        takes_s,
        late_max=math.ceil((spare + 1) * per_host * 2),
        bound=bound,
    )
    have = [room for room in fleet.rooms if room.tier != _DRAINING or room.taken]
    unused = [room for room in have if not room.taken and not room.used]
    idle = [(fleet.fit[room.key], room) for room in unused if room.tier == _READY]
    elsewhere = sorted((host for host, room in idle if not room.free), key=lambda h: (h.idle_since or 0.0, h.id))
    opened: list[Room] = []
    places = spare + len(elsewhere) if launches_max is None else min(spare + len(elsewhere), launches_max)
    if late and sizes and places:
        opened, _ = pack(late, sizes, places, exclusive=exclusive(s), bound=bound)
    cost_usd_h = sum(list_price_usd_h(each, spec) for each in (*(host.offering for host in counted), *promised))
    money_usd_h = spec.budget_usd_h - cost_usd_h if spec.budget_usd_h is not None else None
    view = replace(_view(s, fleet, left, have, len(opened), per_host, takes_s, boots_s), cost_usd_h=cost_usd_h)
    return Outlook(
        sizes=sizes,
        counted=len(counted) + len(promised),
        spare=spare,
        money_usd_h=money_usd_h,
        have=have,
        idle=tuple(host for host, _ in idle),
        elsewhere=tuple(elsewhere),
        opened=opened,
        begins={entry.rank: at for entry, at in soon},
        view=view,
        floor=calendar.floor(
            s.pool.calendar,
            s.pool.interest,
            s.now,
            boots_s,
            per_host,
            view.usual_s,
            spec.jobs_per_person_h,
        ),
    )


def list_price_usd_h(offering: Offering | None, spec: PoolSpec) -> float:
    """List price; 0 for what the catalogue does not have, which nothing here launches."""
    return price_usd_h(offering, spec) if offering is not None and knows(offering, spec) else 0.0


def _expectations(s: Snapshot) -> Callable[[str, int], float]:
    """(family, timeout) → seconds; remembered, because thousands of jobs share a few answers."""
    known: dict[tuple[str, int], float] = {}

    def takes_s(family: str, timeout_s: int) -> float:
        key = (family, timeout_s)
        seconds = known.get(key)
        if seconds is None:
            seconds = known[key] = expected_s(family, timeout_s, s.learned, s.pool.spec.estimated_s)
        return seconds

    return takes_s


def _lanes(
    s: Snapshot, fleet: Fleet, takes_s: Callable[[str, int], float], boots_s: float, *, known: bool
) -> forecast.Roads:
    """What running and just placed attempts give back, and when. What is free beside them on their host is free then too.

    Lanes that no waiting job could use in time are left out: of a large pool, most. `known`: whether it matters of which offering they are.
    """
    slo_wait_s = s.pool.spec.slo_wait_s
    now = s.now
    useful_until = now + boots_s + slo_wait_s
    found = forecast.Roads()
    for room in fleet.rooms:
        if room.tier == _DRAINING and not room.taken:
            continue
        host = fleet.fit[room.key]
        there = forecast.there_at(host, now, boots_s)
        late_at = host.launched_at + boots_s + slo_wait_s if room.tier == _LAUNCHING else 0.0
        begins_at = there if there > now else now
        if room.domain is None:
            continue  # it carries nothing
        empties = s.pool.spec.share_hosts and len(host.assignments) + len(room.taken) == 1
        lanes = found.anybodys if empties else found.of(room.domain)
        beside = (room.cpu, room.memory_mib, room.slots)
        where = room.offering if known else None
        for a in host.assignments:
            ends_at = forecast.ends_at(a, there, now, takes_s(a.family, a.timeout_s))
            if ends_at <= useful_until:
                lanes.add(forecast.wider((a.cpu, a.memory_mib, a.slots), beside), ends_at, late_at, where)
        for entry in room.taken:
            ends_at = begins_at + takes_s(entry.family, entry.timeout_s)
            if ends_at <= useful_until:
                shape = (entry.cpu, entry.memory_mib, entry.slots)
                lanes.add(forecast.wider(shape, beside), ends_at, late_at, where)
    return found


def jobs_per_host(s: Snapshot) -> float:
    """How many average jobs one more host takes at a time; at least one.

    The average is of all jobs, those that wait and those that hosts carry: a policy divides the number of all of them by it. Where there
    are several owners, each needs whole hosts of its own. And of the first offering, tried now or not: that EC2 has no more of it today
    must not change what a policy believes.
    """
    offering = next((offering for offering in s.pool.spec.offerings if knows(offering, s.pool.spec)), None)
    if exclusive(s) or offering is None:
        return 1.0
    size = capacity(offering, s.pool.spec)
    assignments = chain.from_iterable(map(attrgetter("assignments"), s.hosts))
    jobs = Counter(map(attrgetter("cpu", "memory_mib", "slots", "owner"), chain(s.backlog, assignments)))
    if not jobs:
        return float(max(1, size.slots))
    hosts: defaultdict[str, float] = defaultdict(float)
    for (cpu, memory_mib, slots, owner), count in jobs.items():
        share = max(cpu / size.cpu, memory_mib / size.memory_mib, slots / size.slots)
        hosts[owner] += count / max(1, math.floor(1 / share + 1e-9))
    if len(hosts) == 1:
        return jobs.total() / sum(hosts.values())
    return jobs.total() / sum(math.ceil(each - GRAIN) for each in hosts.values())


def _view(
    s: Snapshot,
    fleet: Fleet,
    left: Sequence[Entry],
    have: Sequence[Room],
    needed: int,
    per_host: float,
    takes_s: Callable[[str, int], float],
    boots_s: float,
) -> PoolView:
    on: Counter[HostState] = Counter()
    for host in fleet.hosts:
        on[host.state] += len(host.assignments)
    busy = busy_spot = 0
    for room in fleet.rooms:
        state = fleet.fit[room.key].state
        on[state] += len(room.taken)
        if room.taken or (room.used and room.tier != _DRAINING):
            busy += 1
            busy_spot += not room.on_demand
    working = {room.key for room in have}
    queue = left or s.backlog
    usual_s = takes_s("", 86_400)
    kinds = Counter(map(attrgetter("family", "timeout_s"), queue))
    mean_s = sum(takes_s(*kind) * count for kind, count in kinds.items()) / len(queue) if queue else usual_s
    return PoolView(
        now=s.now,
        queued=len(left),
        queue_complete=s.backlog_complete,
        on_healthy=on[HostState.READY] + on[HostState.DRAINING],
        on_draining=sum(
            len(host.assignments)
            for host in fleet.hosts
            if host.state in (HostState.READY, HostState.DRAINING) and host.id not in working
        ),
        on_launching=on[HostState.LAUNCHING],
        on_unhealthy=on[HostState.UNHEALTHY],
        hosts=len(have),
        running_hosts=sum(room.tier == 0 for room in fleet.rooms),
        busy_hosts=busy,
        busy_spot=busy_spot,
        slots=per_host,
        needed=needed,
        expected_s=mean_s,
        usual_s=usual_s,
        oldest_s=s.now - min(map(attrgetter("queued_at"), left), default=s.now),
        boot_s=boots_s,
        people=calendar.people(s.pool.calendar, s.pool.interest, s.now, boots_s),
        jobs_per_person_h=s.pool.spec.jobs_per_person_h,
        memory=s.pool.scaling,
    )
