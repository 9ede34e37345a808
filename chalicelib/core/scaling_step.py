"""From jobs that fit nowhere to hosts: what the policy wants, what is launched or taken back for it, who may leave.

The hosts that a policy allows are given first to jobs that fit on no host that is there, in rank order; what it wants beyond
those boots empty. A job that fits nowhere although hosts are idle (it is too big for them) does not wait for them to be used:
idle hosts count as free to be replaced, as long as the pool's maximum allows it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from chalicelib.core import calendar, forecast
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import TYPES, Capacity, capacity, price_usd_h
from chalicelib.core.durations import boot_s, expected_s
from chalicelib.core.fleet import COUNTED, TIERS, Fleet, exclusive
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.placement import Room, pack, place
from chalicelib.core.plan import Start, Target
from chalicelib.core.pool import Scaling
from chalicelib.core.scaling.target import wanted
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.snapshot import Snapshot

LAUNCH_HOSTS_MAX = 100  # in one request: its manifest must name them all within the 16 KiB of user data
OWNERS_APART_MAX = 4  # so many owners' jobs travel in user data of their own; the others' are handed over by inbox
_DRAINING = TIERS[HostState.DRAINING]
_LAUNCHING = TIERS[HostState.LAUNCHING]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`surplus`: how many hosts more than wanted there are; `agreed`: whether looks have found so for long enough that idle ones may leave.

    `waits`: who waits, with the sentence that says for what; `begins`: rank → when it is believed to begin on a host that is there.
    """

    target: Target
    memory: Scaling
    starts: tuple[Start, ...]
    recaptured: tuple[Host, ...]
    idle: tuple[Host, ...]
    surplus: int
    agreed: bool
    waits: tuple[tuple[Entry, str], ...]
    begins: Mapping[str, float]
    next_booking_at: float | None


def decide(s: Snapshot, fleet: Fleet, left: Sequence[Entry], retiring: set[str]) -> Step:
    """What to do about the number of hosts.

    `left`: who waits and fits on none of the fleet's rooms, in rank order. `retiring`: ids of hosts that leave in any case - but
    draining ones may still be taken back.
    """
    spec = s.pool.spec
    takes_s = _expectations(s)
    boots_s = boot_s(s.learned)
    sizes = usable(s)
    spare = max(0, spec.hosts_max - sum(host.state in COUNTED and host.id not in retiring for host in fleet.hosts))
    may_open = spare if sizes else 0
    jobs_per_host = _jobs_per_host(s, sizes, left)
    late, soon = forecast.late(
        left,
        list(_lanes(s, fleet, takes_s, boots_s)),
        s.now,
        boots_s,
        spec.slo_wait_s,
        lambda entry: takes_s(entry.family, entry.timeout_s),
        late_max=(may_open + 1) * max(jobs_per_host, 1) * 2,
    )
    rooms, unpacked = pack(late, sizes, may_open, exclusive=exclusive(s)) if late and may_open else ([], list(late))
    have = [room for room in fleet.rooms if room.tier != _DRAINING or room.taken]
    idle = tuple(
        host
        for room in have
        if not room.taken and not (host := fleet.fit[room.key]).assignments and host.state is HostState.READY
    )
    view = _view(s, fleet, left, len(have), len(rooms), jobs_per_host, takes_s, boots_s)
    floor = calendar.floor(
        s.pool.calendar,
        s.pool.interest,
        s.now,
        boots_s,
        jobs_per_host,
        view.expected_s,
        spec.jobs_per_person_h,
    )
    target, memory = wanted(view, s.pool, price_usd_h(sizes[0][0]) if sizes else None, floor)
    if not spec.scaling_enabled:
        rooms, unpacked = [], list(late)
    for_work = min(len(rooms), max(0, target.hosts - view.busy_hosts))
    if for_work < len(rooms):
        rooms.sort(key=lambda room: min(entry.rank for entry in room.taken))
        unpacked += [entry for room in rooms[for_work:] for entry in room.taken]
        rooms = rooms[:for_work]
    short = target.hosts - len(have) - len(rooms) if spec.scaling_enabled else 0
    recaptured = _newest(fleet, short)
    spare -= len(rooms) + sum(host.id in retiring for host in recaptured)  # these count again
    short = min(short - len(recaptured), spare)
    short = max(0, short)
    rooms += _empty(sizes, short)
    begins = {entry.rank: at for entry, at in soon}
    waiting = sorted([*unpacked, *(entry for entry, _ in soon)], key=lambda entry: entry.rank)
    waiting = (
        place(waiting, rooms) if rooms else waiting
    )  # who could have waited for another takes what is left on new hosts
    over = len(have) + len(rooms) - target.hosts if spec.scaling_enabled else 0
    agreed = memory.surplus_since is not None and s.now - memory.surplus_since >= spec.scale_in_agree_s
    return Step(
        target=target,
        memory=memory,
        starts=tuple(_starts(rooms, target)),
        recaptured=recaptured,
        idle=idle,
        surplus=max(0, over),
        agreed=agreed,
        waits=tuple(_waits(s, waiting, begins, sizes, target, full=spare - short <= 0)),
        begins=begins,
        next_booking_at=calendar.next_change(s.pool.calendar, s.now, boots_s),
    )


def usable(s: Snapshot) -> list[tuple[Offering, Capacity]]:
    """The offerings that may be tried now, as ranked by the operator, with what a host of each offers to jobs."""
    return [
        (offering, capacity(offering, s.pool.spec))
        for offering in s.pool.spec.offerings
        if offering.instance_type in TYPES and s.pool.skips.get(offering.key, 0.0) <= s.now
    ]


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


def _lanes(s: Snapshot, fleet: Fleet, takes_s: Callable[[str, int], float], boots_s: float) -> Iterator[forecast.Lane]:
    """What running and just placed attempts give back, and when. What is free beside them on their host is free then too."""
    slo_wait_s = s.pool.spec.slo_wait_s
    for room in fleet.rooms:
        if room.tier == _DRAINING and not room.taken:
            continue
        host = fleet.fit[room.key]
        there = forecast.there_at(host, s.now, boots_s)
        late_at = there + slo_wait_s if room.tier == _LAUNCHING else 0.0
        beside = (room.cpu, room.memory_mib, room.slots)
        for a in host.assignments:
            ends_at = forecast.ends_at(a, host, s.now, takes_s(a.family, a.timeout_s), boots_s)
            yield forecast.Lane(ends_at, late_at, forecast.coarse((a.cpu, a.memory_mib, a.slots), beside))
        for entry in room.taken:
            ends_at = max(s.now, there) + takes_s(entry.family, entry.timeout_s)
            yield forecast.Lane(ends_at, late_at, forecast.coarse((entry.cpu, entry.memory_mib, entry.slots), beside))


def _jobs_per_host(s: Snapshot, sizes: list[tuple[Offering, Capacity]], left: Sequence[Entry]) -> int:
    """How many average jobs one more host takes at a time; at least one."""
    if exclusive(s) or not sizes:
        return 1
    size = sizes[0][1]
    shapes: Sequence[Entry] = left or s.backlog
    if not shapes:
        placed = [a for host in s.hosts for a in host.assignments]
        if not placed:
            return max(1, size.slots)
        cpu, memory_mib = sum(a.cpu for a in placed), sum(a.memory_mib for a in placed)
        slots, count = sum(a.slots for a in placed), len(placed)
    else:
        cpu, memory_mib = sum(e.cpu for e in shapes), sum(e.memory_mib for e in shapes)
        slots, count = sum(e.slots for e in shapes), len(shapes)
    share = max(cpu / size.cpu, memory_mib / size.memory_mib, slots / size.slots) / count
    return max(1, math.floor(1 / share + 1e-9))


def _view(
    s: Snapshot,
    fleet: Fleet,
    left: Sequence[Entry],
    have: int,
    needed: int,
    jobs_per_host: int,
    takes_s: Callable[[str, int], float],
    boots_s: float,
) -> PoolView:
    on: Counter[HostState] = Counter()
    for host in fleet.hosts:
        on[host.state] += len(host.assignments)
    busy = 0
    for room in fleet.rooms:
        state = fleet.fit[room.key].state
        on[state] += len(room.taken)
        busy += bool(room.taken or (room.used and room.tier != _DRAINING))
    queue = left or s.backlog
    mean_s = sum(takes_s(e.family, e.timeout_s) for e in queue) / len(queue) if queue else takes_s("", 86_400)
    return PoolView(
        now=s.now,
        queued=len(left),
        queue_complete=s.backlog_complete,
        on_healthy=on[HostState.READY] + on[HostState.DRAINING],
        on_launching=on[HostState.LAUNCHING],
        on_unhealthy=on[HostState.UNHEALTHY],
        hosts=have,
        running_hosts=sum(room.tier == 0 for room in fleet.rooms),
        busy_hosts=busy,
        slots=jobs_per_host,
        needed=needed,
        expected_s=mean_s,
        boot_s=boots_s,
        people=calendar.people(s.pool.calendar, s.pool.interest, s.now, boots_s),
        jobs_per_person_h=s.pool.spec.jobs_per_person_h,
        memory=s.pool.scaling,
    )


def _newest(fleet: Fleet, short: int) -> tuple[Host, ...]:
    """Draining hosts to be taken back although no job needs them now: the newest first, which have the most life left."""
    if short <= 0:
        return ()
    draining = [fleet.fit[room.key] for room in fleet.rooms if room.tier == _DRAINING and not room.taken]
    return tuple(sorted(draining, key=lambda host: (-host.launched_at, host.id))[:short])


def _empty(sizes: list[tuple[Offering, Capacity]], count: int) -> list[Room]:
    """Rooms on new hosts that boot without work."""
    if count <= 0 or not sizes:
        return []
    offering, size = sizes[0]
    return [
        Room(
            key=f"empty-{n:04d}",
            tier=3,
            total=size,
            cpu=size.cpu,
            memory_mib=size.memory_mib,
            slots=size.slots,
            offering=offering,
        )
        for n in range(count)
    ]


def _starts(rooms: Iterable[Room], target: Target) -> Iterator[Start]:
    """One request for each offering and owner, at most `LAUNCH_HOSTS_MAX` hosts each: user data holds one owner's jobs.

    Where there are many owners, the ones with the fewest hosts share a request.
    """
    rooms = list(rooms)
    owners = Counter(_main_owner(room) for room in rooms)
    apart = {owner for owner, _ in owners.most_common(OWNERS_APART_MAX)}
    groups: dict[tuple[Offering, str], list[Room]] = {}
    for room in rooms:
        owner = _main_owner(room)
        key = (cast(Offering, room.offering), owner if owner in apart else "")  # rooms of hosts to be launched have one
        groups.setdefault(key, []).append(room)
    for (offering, _), group in groups.items():
        for first in range(0, len(group), LAUNCH_HOSTS_MAX):
            part = group[first : first + LAUNCH_HOSTS_MAX]
            jobs = sum(len(room.taken) for room in part)
            reason = f"{jobs} waiting jobs fit on no host that is there; {target.why}" if jobs else target.why
            yield Start(offering, tuple(tuple(room.taken) for room in part), reason)


def _main_owner(room: Room) -> str:
    """Whose jobs a new host takes along most; empty for a host without jobs."""
    counts = Counter(entry.owner for entry in room.taken)
    return min(counts, key=lambda owner: (-counts[owner], owner)) if counts else ""


def _waits(
    s: Snapshot,
    waiting: Iterable[Entry],
    begins: Mapping[str, float],
    sizes: list[tuple[Offering, Capacity]],
    target: Target,
    full: bool,
) -> Iterator[tuple[Entry, str]]:
    """What each job that found no place is waiting for, as a sentence. `begins`: rank → when it is believed to begin, where it is."""
    spec = s.pool.spec
    skips = {o.key: s.pool.skips[o.key] for o in spec.offerings if s.pool.skips.get(o.key, 0.0) > s.now}
    fits: dict[tuple[float, int, int], bool] = {}
    for entry in waiting:
        shape = (entry.cpu, entry.memory_mib, entry.slots)
        if shape not in fits:
            fits[shape] = any(
                entry.cpu <= size.cpu and entry.memory_mib <= size.memory_mib and entry.slots <= size.slots
                for _, size in sizes
            )
        if (begins_at := begins.get(entry.rank)) is not None:
            yield entry, f"it fits on a host that is there, in about {max(1, round(begins_at - s.now))} s"
        elif not fits[shape] and skips:
            key, until = min(skips.items(), key=lambda item: item[1])
            yield entry, f"EC2 has no capacity for it now; next try: {key} at {_clock(until)} UTC"
        elif not fits[shape]:
            yield entry, "no offering that may be tried now is large enough for it"
        elif not spec.scaling_enabled:
            yield entry, "scaling of this pool is switched off, and no host that is there has room for it"
        elif full:
            yield entry, f"all {spec.hosts_max} hosts that the pool may have are taken"
        else:
            yield entry, f"no host has room for it; {target.why}"


def _clock(at: float) -> str:
    seconds = int(at) % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
