"""`reconcile(snapshot) -> Plan`: the one decision of the control plane.

Order of thought: make rows and EC2 agree; place what waits - on ready hosts first, then on draining ones that can be taken
back, then on ones that boot, then on new ones -; retire what is not needed; ring who must be told. The order of the actions is the order
in which they are performed: what stops spending or frees attempts comes first, launches come late, doorbells last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from chalicelib.core import consistency, retirement
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import TYPES, capacity
from chalicelib.core.host import WORKING, Host, HostState, Offering
from chalicelib.core.placement import NEW_TIER, Room, pack, place, room_of
from chalicelib.core.plan import Assign, Plan, Recapture, Ring, Start, Vanish
from chalicelib.core.snapshot import Snapshot

RING_AGAIN_S = 10.0
LAUNCH_HOSTS_MAX = 100  # in one request: its manifest must name them all within the 16 KiB of user data
_COUNTED = frozenset({HostState.LAUNCHING, HostState.READY, HostState.DRAINING, HostState.UNHEALTHY})
_TIERS = {HostState.READY: 0, HostState.DRAINING: 1, HostState.LAUNCHING: 2}


def reconcile(s: Snapshot) -> Plan:
    """What to do now, and why. Planning again right after acting plans nothing."""
    repairs = list(consistency.actions(s))
    gone = {action.host.id for action in repairs if isinstance(action, Vanish)}
    hosts = {host.id: host for host in s.hosts if host.id not in gone}
    rooms = [
        room_of(host, _TIERS[host.state])
        for host in hosts.values()
        if host.state in _TIERS
        and retirement.unfit(host, s) is None
        and not (host.state is HostState.LAUNCHING and retirement.why(_slow, host, s))
    ]
    builder = _Builder(s, counted=sum(host.state in _COUNTED for host in hosts.values()))
    carried = {
        (a.job, a.attempt): host.id for host in hosts.values() if host.state in WORKING for a in host.assignments
    }
    left = builder.launch_for(place((e for e in s.backlog if (e.job, e.attempt) not in carried), rooms))
    builder.fill_to_minimum()

    assigns = [
        Assign(entry, carried[entry.job, entry.attempt], "the host carries it already; the rest was not written")
        for entry in s.backlog
        if (entry.job, entry.attempt) in carried
    ] + [Assign(entry, room.key, f"it fits on {room.key}") for room in rooms for entry in room.taken]
    busy = frozenset(assign.host for assign in assigns)
    ready = sum(host.state in (HostState.LAUNCHING, HostState.READY) for host in hosts.values())
    retires = list(retirement.actions(s, busy, spare=ready - s.pool.spec.hosts_min))
    recaptures = [
        Recapture(host, "work came before it was gone")
        for host in hosts.values()
        if host.state is HostState.DRAINING and host.id in busy
    ]
    starts = list(builder.starts())
    ring = [host.id for host in hosts.values() if _must_ring(host, s) or (host.id in busy and _hears(host))]
    rings = [Ring(tuple(ring), "they have assignments or cancellations to hear of")] if ring else []
    touched = {action.host.id for action in retires} | busy
    return Plan(
        actions=(*repairs, *retires, *recaptures, *assigns, *starts, *rings),
        waits=tuple((entry, builder.why_not(entry)) for entry in left),
        wake_at=min(_due(s, touched, bool(left)), default=None),
    )


_slow = retirement.RETIRE_RULES[HostState.LAUNCHING]


class _Builder:
    """Opens rooms on hosts that are still to be launched, up to the pool's maximum, offering by offering."""

    def __init__(self, s: Snapshot, counted: int) -> None:
        self.s = s
        self.counted = counted
        self.opened: list[tuple[Offering, Room]] = []
        self.usable = [
            (offering, capacity(offering, s.pool.spec))
            for offering in s.pool.spec.offerings
            if offering.instance_type in TYPES and s.pool.skips.get(offering.key, 0.0) <= s.now
        ]

    def _full(self) -> bool:
        return self.counted + len(self.opened) >= self.s.pool.spec.hosts_max

    def launch_for(self, entries: list[Entry]) -> list[Entry]:
        """Rooms on new hosts, each for one owner's entries; those that find none are returned."""
        waiting: list[Entry] = []
        for owner in dict.fromkeys(entry.owner for entry in entries):
            spare = max(0, self.s.pool.spec.hosts_max - self.counted - len(self.opened))
            rooms, left = pack([entry for entry in entries if entry.owner == owner], self.usable, spare)
            self.opened += [(room.offering, room) for room in rooms if room.offering is not None]
            waiting += left
        return sorted(waiting, key=lambda entry: entry.rank)

    def fill_to_minimum(self) -> None:
        """Hosts that the pool wants whether there is work or not."""
        while self.usable and self.counted + len(self.opened) < self.s.pool.spec.hosts_min and not self._full():
            offering, size = self.usable[0]
            self.opened.append((offering, Room("", NEW_TIER, size, size.cpu, size.memory_mib, size.slots)))

    def starts(self) -> Iterator[Start]:
        """Launches by offering and owner: a manifest holds one owner's jobs."""
        groups: dict[tuple[str, str], list[tuple[Entry, ...]]] = defaultdict(list)
        offerings: dict[str, Offering] = {}
        for offering, room in self.opened:
            offerings[offering.key] = offering
            groups[offering.key, room.taken[0].owner if room.taken else ""].append(tuple(room.taken))
        for (key, _), loads in groups.items():
            for first in range(0, len(loads), LAUNCH_HOSTS_MAX):
                part = loads[first : first + LAUNCH_HOSTS_MAX]
                jobs = sum(len(load) for load in part)
                yield Start(offerings[key], tuple(part), f"{jobs} waiting jobs fit on no host that is there")

    def why_not(self, entry: Entry) -> str:
        """What a job that found no place is waiting for, as a sentence."""
        if self._full():
            return f"all {self.s.pool.spec.hosts_max} hosts that the pool may have are taken"
        skips = {o.key: self.s.pool.skips[o.key] for o in self.s.pool.spec.offerings if o.key in self.s.pool.skips}
        if skips and not self.usable:
            key, until = min(skips.items(), key=lambda item: item[1])
            return f"EC2 has no capacity for it now; next try: {key} at {_clock(until)} UTC"
        return "no offering that may be tried now is large enough for it"


def _clock(at: float) -> str:
    seconds = int(at) % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"


def _hears(host: Host) -> bool:
    return host.state in (HostState.READY, HostState.DRAINING)


def _must_ring(host: Host, s: Snapshot) -> bool:
    """Whether a host has something to be told that it was not told, or did not accept, lately."""
    if not _hears(host):
        return False
    due = _ring_due(host)
    return due is not None and s.now >= due


def _ring_due(host: Host) -> float | None:
    """When its doorbell must ring (again), or None. Work that came in the user data gets its time after boot."""
    rung = host.rung_at or 0.0
    dues = []
    for a in host.assignments:
        if a.cancel:
            dues.append(rung + RING_AGAIN_S)
        elif not a.held:
            fresh = not a.inline and rung < a.assigned_at
            dues.append(0.0 if fresh else max(rung, host.ready_at or 0.0) + RING_AGAIN_S)
    return min(dues, default=None)


def _due(s: Snapshot, touched: set[str], waiting: bool) -> Iterator[float]:
    """The moments at which this plan would be another one, if nothing else happens: never one that is past, or passes would race."""
    for host in s.hosts:
        if host.state is HostState.READY and host.id not in touched and host.idle_since is not None:
            lingers_until = host.idle_since + s.pool.spec.linger_s
            if lingers_until > s.now:  # else the pool's minimum keeps it, and no time changes that
                yield lingers_until
        if _hears(host) and (due := _ring_due(host)) is not None:
            yield max(due, s.now + RING_AGAIN_S)
    for launch in s.launches:
        if not launch.recorded:
            yield max(launch.created_at, s.now - 1.0) + consistency.RESUME_AFTER_S
    if waiting:
        yield from (until for until in s.pool.skips.values() if until > s.now)
