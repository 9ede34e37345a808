"""Where gangs go: all hosts of one at once, in one region, or none.

Gangs take their turn by rank between the jobs of one host. One uses rooms on hosts that are there, and what is missing is launched with
it, of the first offering of the ladder that is open and large enough. A gang is not asked of the pool's policy, which counts jobs and
cannot know that four of them fit on no fewer than four hosts; maxima, budget, protected mode and circuit breakers hold for all of its
hosts together.
What those before it in the queue may still need of the pool's maximum is left to them. One that has waited for too long need not leave it,
and has rooms kept for it: those that would be large enough once their jobs have ended take nothing more from those behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core import ladder
from chalicelib.core.backlog import Entry
from chalicelib.core.constraint import Constraint
from chalicelib.core.fleet import COUNTED, Fleet, exclusive
from chalicelib.core.host import Offering
from chalicelib.core.ladder import Rung
from chalicelib.core.outlook import list_price_usd_h
from chalicelib.core.placement import CPU_GRAIN, Room, pack, place
from chalicelib.core.plan import Gather
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.spoken import count

GANGS_MAX = 20  # that are looked at in a pass
GRAIN_USD = 1e-9


@dataclass(slots=True)
class Gathered:
    """`left`: who waits for one host and found none; `waits`: gangs that were not gathered, with why; `promised`: new hosts for those that
    were."""

    left: list[Entry]
    gathers: list[Gather] = field(default_factory=list)
    waits: list[tuple[Entry, str]] = field(default_factory=list)
    promised: list[Offering] = field(default_factory=list)


def placed(
    s: Snapshot,
    fleet: Fleet,
    waiting: Sequence[Entry],
    aged_before: float,
    bound: Mapping[str, Constraint],
    crowded: bool = False,
) -> Gathered:
    """Place who waits, which comes in rank order, into the rooms of the fleet. `crowded`: one host must go before another can come."""

    def singles(entries: Iterable[Entry], rooms: list[Room]) -> list[Entry]:
        spec = s.pool.spec
        return place(
            entries,
            rooms,
            style=spec.placement,
            seed=s.pool.pass_no,
            aged_before=aged_before,
            bound=bound,
            displace=spec.share_hosts or crowded,
            crowded=crowded,
        )

    if all(entry.hosts == 1 for entry in waiting):
        return Gathered(singles(waiting, fleet.rooms))
    gathering = _Gathering(s, fleet, aged_before, bound)
    found, between = Gathered([]), list[Entry]()
    for entry in waiting:
        if entry.hosts == 1:
            between.append(entry)
            continue
        found.left += singles(between, gathering.rooms)
        between = []
        outcome = gathering.gather(entry, found)
        if isinstance(outcome, Gather):
            found.gathers.append(outcome)
        else:
            found.waits.append((entry, outcome))
    found.left += singles(between, gathering.rooms)
    return found


@dataclass(slots=True)
class _Place:
    """What one region has for a gang: rooms that are there, and what the missing ones could be."""

    rooms: list[Room]
    missing: int
    rung: Rung | None


class _Gathering:
    """`rooms`: those that still take something."""

    def __init__(self, s: Snapshot, fleet: Fleet, aged_before: float, bound: Mapping[str, Constraint]) -> None:
        self.s = s
        self.spec = s.pool.spec
        self.bound = bound
        self.aged_before = aged_before
        self.rooms = fleet.rooms
        self.looked_at = 0
        self.keeps = False
        self.carried = {(a.job, a.attempt) for host in fleet.hosts for a in host.assignments if a.rank is not None}
        self.rungs = ladder.rungs(s)
        counted = [host for host in fleet.hosts if host.state in COUNTED]
        self.spare = max(0, self.spec.hosts_max - len(counted))
        if (launches_max := ladder.launches_max(s)) is not None:
            self.spare = min(self.spare, launches_max)
        self.money_usd_h: float | None = None
        if self.spec.budget_usd_h is not None:
            self.money_usd_h = self.spec.budget_usd_h - sum(list_price_usd_h(h.offering, self.spec) for h in counted)

    def gather(self, entry: Entry, found: Gathered) -> Gather | str:
        """Take rooms for all its hosts, or say why not."""
        self.looked_at += 1
        if (entry.job, entry.attempt) in self.carried:
            return "a look that died had begun to place it; what that left behind is taken away first"
        if self.spec.capacity == "asg":
            return "the pool's hosts come from Auto Scaling groups now, which give no several at once; cancel it, or take another pool"
        if self.looked_at > GANGS_MAX:
            return f"{GANGS_MAX} others that need several hosts at once are before it"
        must = self.bound.get(entry.rank)
        aged = entry.queued_at < self.aged_before
        places = self._places(entry, must)
        spare = self.spare if aged else self.spare - self._needed_before(found.left)
        for where in places:
            if not where.missing or self._may_launch(where, spare):
                return self._take(entry, where, found)
        if aged and not self.keeps:
            self._keep(entry, must)
        return self._why_not(entry, places, spare, must)

    def _places(self, entry: Entry, must: Constraint | None) -> list[_Place]:
        """By region: fewest missing first, then as the ladder has them."""
        fitting: defaultdict[str, list[Room]] = defaultdict(list)
        for room in self.rooms:
            if room.offering is not None and room.fits(entry) and (must is None or must.takes(room.offering)):
                fitting[room.offering.region].append(room)
        its = [rung for rung in self.rungs if rung.holds(entry) and (must is None or must.takes(rung.offering))]
        regions = dict.fromkeys([*(rung.offering.region for rung in its), *fitting])
        places = []
        for region in regions:
            rooms = sorted(fitting[region], key=lambda room: (room.tier, room.slack(), -room.newest, room.key))
            rung = next((r for r in its if r.offering.region == region and not r.closed_until), None)
            places.append(_Place(rooms[: entry.hosts], max(0, entry.hosts - len(rooms)), rung))
        return sorted(places, key=lambda where: where.missing)

    def _may_launch(self, where: _Place, spare: int) -> bool:
        if where.rung is None or self.spec.killed or not self.spec.scaling_enabled or where.missing > spare:
            return False
        cost_usd_h = where.missing * list_price_usd_h(where.rung.offering, self.spec)
        return self.money_usd_h is None or cost_usd_h <= self.money_usd_h + GRAIN_USD

    def _take(self, entry: Entry, where: _Place, found: Gathered) -> Gather:
        for room in where.rooms:
            room.take(entry)
        offering = where.rung.offering if where.missing and where.rung is not None else None
        if offering is not None:
            self.spare -= where.missing
            found.promised += [offering] * where.missing
            if self.money_usd_h is not None:
                self.money_usd_h -= where.missing * list_price_usd_h(offering, self.spec)
        has = f"{len(where.rooms)} of its {entry.hosts} hosts have room" if where.rooms else "no host has room for it"
        reason = (
            f"{has}, and {where.missing} more may be launched"
            if where.missing
            else f"all its {entry.hosts} hosts have room"
        )
        return Gather(entry, tuple(room.key for room in where.rooms), offering, where.missing, reason)

    def _needed_before(self, left: Sequence[Entry]) -> int:
        """How many new hosts those before it may need."""
        sizes = ladder.usable(self.s)
        if not left or not sizes or not self.spare:
            return 0
        return len(pack(left, sizes, self.spare, exclusive=exclusive(self.s), bound=self.bound)[0])

    def _keep(self, entry: Entry, must: Constraint | None) -> None:
        """The emptiest that would be large enough, if there are so many in one region; one gang at a time."""
        large: defaultdict[str, list[Room]] = defaultdict(list)
        for room in self.rooms:
            total = room.total
            enough = (
                room.serves(entry.owner)
                and entry.cpu <= total.cpu + CPU_GRAIN
                and entry.memory_mib <= total.memory_mib
                and entry.slots <= total.slots
            )
            if room.offering is not None and enough and (must is None or must.takes(room.offering)):
                large[room.offering.region].append(room)
        for rooms in large.values():
            if len(rooms) >= entry.hosts:
                rooms.sort(key=lambda room: (-room.slack(), room.key))
                kept = {room.key for room in rooms[: entry.hosts]}
                self.rooms = [room for room in self.rooms if room.key not in kept]
                self.keeps = True
                return

    def _why_not(self, entry: Entry, places: Sequence[_Place], spare: int, must: Constraint | None) -> str:
        most = len(places[0].rooms) if places else 0
        lacks = f"it needs {entry.hosts} hosts at once, and {count(most, 'host')} that {'is' if most == 1 else 'are'} there "
        lacks += "has room for it" if most == 1 else "have room for it"
        its = [rung for rung in self.rungs if rung.holds(entry) and (must is None or must.takes(rung.offering))]
        if self.spec.killed:
            return f"{lacks}; the pool's hosts are killed"
        if not self.spec.scaling_enabled:
            return f"{lacks}; scaling of this pool is switched off"
        if all(where.rung is None for where in places):
            return f"{lacks}; {ladder.words(its)}"
        if self.s.pool.supply.protected_at is not None:
            return f"{lacks}; {ladder.protection(self.s)}"
        missing = entry.hosts - most
        if missing > self.spare:
            return f"{lacks}; {missing} more would be needed, and of {self.spec.hosts_max} that the pool may have {self.spare} are left"
        if missing > spare:
            return f"{lacks}; what the pool may still launch is for those before it in the queue"
        return f"{lacks}; the budget of {self.spec.budget_usd_h or 0:g} USD an hour does not pay for {missing} more"
