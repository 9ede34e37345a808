"""From jobs that fit nowhere to hosts: what the policy wants, what is launched or taken back for it, who may leave.

The hosts that a policy allows are given first to jobs that fit on no host that is there, in rank order; what it wants beyond
those boots empty. A job that fits nowhere although hosts are idle (it is too big for them) does not wait for them to be used:
idle hosts count as free to be replaced, as long as the pool's maximum allows it. Where it does not, idle hosts of other owners make way:
they serve nobody else in their life, so their owner's next job could wait for ever what others wait for now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from chalicelib.core import calendar, ladder
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity, price_usd_h
from chalicelib.core.constraint import Constraint
from chalicelib.core.fleet import TIERS, Fleet, exclusive
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.outlook import Outlook, list_price_usd_h, outlook
from chalicelib.core.placement import FREE, Room, place
from chalicelib.core.plan import Start, Target
from chalicelib.core.pool import PoolSpec, Scaling
from chalicelib.core.scaling.target import wanted
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.staffing import some
from chalicelib.core.waits import waits

GRAIN_USD = 1e-9  # sums of prices must not refuse the last host
LAUNCH_HOSTS_MAX = 100  # in one request: its manifest must name them all within the 16 KiB of user data
OWNERS_APART_MAX = 4  # so many owners' jobs travel in user data of their own; the others' are handed over by inbox
_DRAINING = TIERS[HostState.DRAINING]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`surplus`: how many hosts more than wanted there are; `agreed`: whether looks have found so for long enough that idle ones may leave.

    `displaced`: idle hosts that make way for hosts of another owner.
    `waits`: who waits, with the sentence that says for what; `begins`: rank → when it is believed to begin on a host that is there.
    """

    target: Target
    memory: Scaling
    starts: tuple[Start, ...]
    recaptured: tuple[Host, ...]
    displaced: tuple[Host, ...]
    idle: tuple[Host, ...]
    surplus: int
    agreed: bool
    waits: tuple[tuple[Entry, str], ...]
    begins: Mapping[str, float]
    next_booking_at: float | None


def decide(
    s: Snapshot,
    fleet: Fleet,
    left: Sequence[Entry],
    retiring: set[str],
    bound: Mapping[str, Constraint] = FREE,
    promised: Sequence[Offering] = (),
) -> Step:
    """What to do about the number of hosts.

    `left`: who waits and fits on none of the fleet's rooms, in rank order. `retiring`: ids of hosts that leave in any case - but
    draining ones may still be taken back. `bound`: of core/ladder.py. `promised`: new hosts that gangs get by the same plan.
    """
    spec = s.pool.spec
    o = outlook(s, fleet, left, retiring, bound, promised)
    target, memory = wanted(o.view, s.pool, price_usd_h(o.sizes[0][0], s.pool.spec) if o.sizes else None, o.floor)
    have = len(o.have)
    rooms = _allowed(o, target.hosts - o.view.busy_hosts if spec.scaling_enabled else 0)
    rooms, displaced = _make_way(o, rooms, spec)
    have -= len(displaced)
    o = replace(o, spare=o.spare + len(displaced), counted=o.counted - len(displaced))
    short = target.hosts - have - len(rooms) if spec.scaling_enabled else 0
    recaptured = _newest(fleet, short, retiring, spec.hosts_max - o.counted - len(rooms))
    back = [host for host in recaptured if host.id in retiring]  # these count again
    spare = o.spare - len(rooms) - len(back)
    rooms += _empty(o.sizes, min(short - len(recaptured), spare), exclusive(s))
    rooms = rooms[: _paid_for(o, back, rooms, s.pool.spec, displaced)]
    # Who is dealt behind a job that gets no host of its own waits for the same as that one.
    begins = o.begins if o.have or rooms else {}
    waiting = left
    if rooms:
        launched_for = {entry.rank for room in rooms for entry in room.taken}
        waiting = [entry for entry in left if entry.rank not in launched_for]
        waiting = place(
            waiting, rooms, bound=bound
        )  # who could have waited for another takes what is left on new hosts
    idle = tuple(host for host in o.idle if host not in displaced)
    elsewhere = Counter(host.serves for host in o.elsewhere if host not in displaced)
    over = have + len(rooms) - target.hosts if spec.scaling_enabled else 0
    since = memory.surplus_since
    return Step(
        target=target,
        memory=memory,
        starts=tuple(_starts(rooms, target, ladder.rungs(s) if rooms else ())),
        recaptured=recaptured,
        displaced=displaced,
        idle=idle,
        surplus=max(0, over),
        agreed=since is not None and s.now - since >= spec.scale_in_agree_s,
        waits=tuple(
            waits(s, waiting, begins, target, full=o.spare <= len(rooms) + len(back), bound=bound, elsewhere=elsewhere)
        ),
        begins=begins,
        next_booking_at=calendar.next_change(s.pool.calendar, s.now, o.view.boot_s),
    )


def _allowed(o: Outlook, count: int) -> list[Room]:
    """The first `count` of the opened rooms, by the rank of their jobs."""
    if count >= len(o.opened):
        return list(o.opened)
    return sorted(o.opened, key=lambda room: min(entry.rank for entry in room.taken))[: max(0, count)]


def _make_way(o: Outlook, rooms: list[Room], spec: PoolSpec) -> tuple[list[Room], tuple[Host, ...]]:
    """The rooms for which there is place and money, by the rank of their jobs, and who makes way for those of them that have none else."""
    if len(rooms) <= (places := min(o.spare, _paid_for(o, (), rooms, spec))):
        return rooms, ()
    rooms = sorted(rooms, key=lambda room: min(entry.rank for entry in room.taken))
    if o.counted > spec.hosts_max:  # the maximum was lowered: who leaves now makes way for nobody
        return rooms[:places], ()
    kept, displaced, there = rooms[:places], list[Host](), list(o.elsewhere)
    for room in rooms[places:]:
        host = next((host for host in there if host.serves != room.domain), None)
        if host is None:
            continue
        there.remove(host)
        if _paid_for(o, (), [*kept, room], spec, [*displaced, host]) > len(kept):
            kept.append(room)
            displaced.append(host)
    return kept, tuple(displaced)


def _paid_for(
    o: Outlook, back: Sequence[Host], rooms: Sequence[Room], spec: PoolSpec, displaced: Sequence[Host] = ()
) -> int:
    """For how many of the rooms the budget pays beside what is there; `back`: hosts that are taken back cost again, `displaced` no more."""
    if o.money_usd_h is None:
        return len(rooms)
    money_usd_h = o.money_usd_h - sum(list_price_usd_h(host.offering, spec) for host in back)
    money_usd_h += sum(list_price_usd_h(host.offering, spec) for host in displaced)
    for count, room in enumerate(rooms):
        money_usd_h -= list_price_usd_h(room.offering, spec)
        if money_usd_h < -GRAIN_USD:
            return count
    return len(rooms)


def _newest(fleet: Fleet, short: int, retiring: set[str], spare: int) -> tuple[Host, ...]:
    """Draining hosts to be taken back although no job needs them now: the newest first, which have the most life left.

    Of those that would leave by this plan, and so are not counted any more, at most `spare`.
    """
    if short <= 0:
        return ()
    draining = [fleet.fit[room.key] for room in fleet.rooms if room.tier == _DRAINING and not room.taken]
    draining.sort(key=lambda host: (-host.launched_at, host.id))
    leaving = [host for host in draining if host.id in retiring]
    beyond = {host.id for host in leaving[max(0, spare) :]}
    return tuple([host for host in draining if host.id not in beyond][:short])


def _empty(sizes: list[tuple[Offering, Capacity]], count: int, exclusive: bool) -> list[Room]:
    """Rooms on new hosts that no job asked for."""
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
            exclusive=exclusive,
            offering=offering,
        )
        for n in range(count)
    ]


def _starts(rooms: Iterable[Room], target: Target, rungs: Sequence[ladder.Rung]) -> Iterator[Start]:
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
            reason = (
                f"{some(jobs, 'job')} without room on the hosts that are there; {target.why}" if jobs else target.why
            )
            if passed := ladder.passed(rungs, offering):
                reason = f"{reason}; {passed}"
            yield Start(offering, tuple(tuple(room.taken) for room in part), reason)


def _main_owner(room: Room) -> str:
    """Whose jobs a new host takes along most; empty for a host without jobs."""
    counts = Counter(entry.owner for entry in room.taken)
    return min(counts, key=lambda owner: (-counts[owner], owner)) if counts else ""
