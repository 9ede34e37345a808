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

GRAIN_USD = 1e-9  # sums of prices must not refuse the last host
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """What there is before anything is decided: rooms for work now (`have`), hosts without any (`idle`), what could be launched for whom.

    `sizes`: offerings that may be tried. `spare`: how many further hosts the pool may have; `money_usd_h`: what they may cost (None: no
    budget). `opened`: rooms on new hosts for jobs that need one, `unpacked`: such jobs without room, `soon`: jobs that need none, with
    the moment at which they are believed to begin.
    """

    sizes: list[tuple[Offering, Capacity]]
    spare: int
    money_usd_h: float | None
    have: list[Room]
    idle: tuple[Host, ...]
    opened: list[Room]
    unpacked: list[Entry]
    soon: list[tuple[Entry, float]]
    view: PoolView
    floor: tuple[int, str]


def decide(s: Snapshot, fleet: Fleet, left: Sequence[Entry], retiring: set[str]) -> Step:
    """What to do about the number of hosts.

    `left`: who waits and fits on none of the fleet's rooms, in rank order. `retiring`: ids of hosts that leave in any case - but
    draining ones may still be taken back.
    """
    spec = s.pool.spec
    o = _outlook(s, fleet, left, retiring)
    target, memory = wanted(o.view, s.pool, price_usd_h(o.sizes[0][0]) if o.sizes else None, o.floor)
    have = len(o.have)
    rooms, unpacked = _allowed(o, target.hosts - o.view.busy_hosts if spec.scaling_enabled else 0)
    short = target.hosts - have - len(rooms) if spec.scaling_enabled else 0
    recaptured = _newest(fleet, short)
    back = [host for host in recaptured if host.id in retiring]  # these count again
    spare = o.spare - len(rooms) - len(back)
    rooms += _empty(o.sizes, min(short - len(recaptured), spare))
    paid = _paid_for(o, back, rooms)
    unpacked += [entry for room in rooms[paid:] for entry in room.taken]
    rooms = rooms[:paid]
    begins = {entry.rank: at for entry, at in o.soon}
    waiting = sorted([*unpacked, *(entry for entry, _ in o.soon)], key=lambda entry: entry.rank)
    if rooms:
        waiting = place(waiting, rooms)  # who could have waited for another takes what is left on new hosts
    over = have + len(rooms) - target.hosts if spec.scaling_enabled else 0
    since = memory.surplus_since
    return Step(
        target=target,
        memory=memory,
        starts=tuple(_starts(rooms, target)),
        recaptured=recaptured,
        idle=o.idle,
        surplus=max(0, over),
        agreed=since is not None and s.now - since >= spec.scale_in_agree_s,
        waits=tuple(_waits(s, waiting, begins, o.sizes, target, full=o.spare <= len(rooms) + len(back))),
        begins=begins,
        next_booking_at=calendar.next_change(s.pool.calendar, s.now, o.view.boot_s),
    )


def _outlook(s: Snapshot, fleet: Fleet, left: Sequence[Entry], retiring: set[str]) -> _Outlook:
    spec = s.pool.spec
    takes_s = _expectations(s)
    boots_s = boot_s(s.learned)
    sizes = usable(s)
    counted = [host for host in fleet.hosts if host.state in COUNTED and host.id not in retiring]
    spare = max(0, spec.hosts_max - len(counted))
    jobs_per_host = _jobs_per_host(s, sizes, left)
    late, soon = forecast.late(
        left,
        _lanes(s, fleet, takes_s, boots_s) if left else (),
        s.now,
        boots_s,
        spec.slo_wait_s,
        lambda entry: takes_s(entry.family, entry.timeout_s),
        late_max=(spare + 1) * jobs_per_host * 2,
    )
    opened, unpacked = pack(late, sizes, spare, exclusive=exclusive(s)) if late and sizes and spare else ([], late)
    have = [room for room in fleet.rooms if room.tier != _DRAINING or room.taken]
    money_usd_h = None
    if spec.budget_usd_h is not None:
        money_usd_h = spec.budget_usd_h - sum(_price_usd_h(host.offering) for host in counted)
    view = _view(s, fleet, left, have, len(opened), jobs_per_host, takes_s, boots_s)
    return _Outlook(
        sizes=sizes,
        spare=spare,
        money_usd_h=money_usd_h,
        have=have,
        idle=tuple(
            host
            for room in have
            if not room.taken and not room.used and (host := fleet.fit[room.key]).state is HostState.READY
        ),
        opened=opened,
        unpacked=unpacked,
        soon=soon,
        view=view,
        floor=calendar.floor(
            s.pool.calendar,
            s.pool.interest,
            s.now,
            boots_s,
            jobs_per_host,
            view.expected_s,
            spec.jobs_per_person_h,
        ),
    )


def _allowed(o: _Outlook, count: int) -> tuple[list[Room], list[Entry]]:
    """The first `count` of the opened rooms, by the rank of their jobs, and who is left without."""
    if count >= len(o.opened):
        return list(o.opened), list(o.unpacked)
    rooms = sorted(o.opened, key=lambda room: min(entry.rank for entry in room.taken))
    count = max(0, count)
    return rooms[:count], [*o.unpacked, *(entry for room in rooms[count:] for entry in room.taken)]


def _paid_for(o: _Outlook, back: Sequence[Host], rooms: Sequence[Room]) -> int:
    """For how many of the rooms the budget pays beside what is there; `back`: hosts that are taken back cost again."""
    if o.money_usd_h is None:
        return len(rooms)
    money_usd_h = o.money_usd_h - sum(_price_usd_h(host.offering) for host in back)
    for count, room in enumerate(rooms):
        money_usd_h -= _price_usd_h(room.offering)
        if money_usd_h < -GRAIN_USD:
            return count
    return len(rooms)


def _price_usd_h(offering: Offering | None) -> float:
    """List price; 0 for what the catalogue does not have, which nothing here launches."""
    return price_usd_h(offering) if offering is not None and offering.instance_type in TYPES else 0.0


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
    """What running and just placed attempts give back, and when. What is free beside them on their host is free then too.

    Lanes that no waiting job could use in time are left out: of a large pool, most.
    """
    slo_wait_s = s.pool.spec.slo_wait_s
    now = s.now
    useful_until = now + boots_s + slo_wait_s
    for room in fleet.rooms:
        if room.tier == _DRAINING and not room.taken:
            continue
        host = fleet.fit[room.key]
        there = forecast.there_at(host, now, boots_s)
        late_at = there + slo_wait_s if room.tier == _LAUNCHING else 0.0
        ends = [
            (forecast.ends_at(a, there, now, takes_s(a.family, a.timeout_s)), a.cpu, a.memory_mib, a.slots)
            for a in host.assignments
        ]
        begins_at = there if there > now else now
        ends += [(begins_at + takes_s(e.family, e.timeout_s), e.cpu, e.memory_mib, e.slots) for e in room.taken]
        for ends_at, cpu, memory_mib, slots in ends:
            if ends_at <= useful_until:
                beside = (room.cpu, room.memory_mib, room.slots)
                yield forecast.Lane(ends_at, late_at, forecast.coarse((cpu, memory_mib, slots), beside))


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
    have: Sequence[Room],
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
    working = {room.key for room in have}
    queue = left or s.backlog
    mean_s = sum(takes_s(e.family, e.timeout_s) for e in queue) / len(queue) if queue else takes_s("", 86_400)
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
