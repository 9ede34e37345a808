"""Which waiting jobs would start soon enough on the hosts that are there, and for which a further host is needed.

Theory of operation. What an attempt reserves is a lane: it falls free when the attempt is believed to end, and the next job of its owner -
the host is one owner's - that fits into it may then begin. Waiting jobs are dealt onto lanes in rank order, each onto the one that is free
first; a job that would begin too late there needs a host of its own - which gives a further lane to the jobs behind it.

"Too late": a further host would have it sooner (it takes `boot_s` to boot), *and* it would wait longer than the SLO. While hosts boot that
would serve several jobs in a row, the SLO counts from the moment when they were to be there: else a burst of five-second jobs on an
empty pool would cost a machine for every slot's worth of them.

A forecast is a belief: it decides only about launching. Who is placed where is decided by what is really free. So a belief must not be
held for ever: a host that boots late is believed to come later and later, and a job that waits far too long already (others of a higher
class overtook it again and again) is not put off any more with lanes that others may take before it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from heapq import heappush, heapreplace

from chalicelib.core.backlog import Entry
from chalicelib.core.constraint import Constraint
from chalicelib.core.host import Assignment, Host, Offering

OVERRUN_SHARE = 0.5  # a job that outlived its estimate is believed to take half as long again as it has taken so far
PATIENCE_S = 300.0  # at least so long a job may be put off with what is believed of hosts that are there

Shape = tuple[float, int, int]  # cpu, MiB, slots
_Where = (
    Offering | Constraint | None
)  # where a lane is, or where a job must be; a lane's is None where it does not matter, or is not known
_Kind = tuple[
    float, int, int, bool, str
]  # a shape; of a lane: is it on a host that boots? of a job: may it not be? and `Lanes.name`

_Lane = tuple[float, _Kind, int]  # when the first lane of a kind is free, the kind, and its number


def ends_at(a: Assignment, there: float, now: float, expected_s: float) -> float:
    """When an attempt is believed to end. One that has not begun yet begins when its host is there."""
    if a.started_at is None:
        return (there if there > now else now) + expected_s
    elapsed = now - a.started_at
    if elapsed < expected_s:
        return now + expected_s - elapsed
    return now + max(0.0, min(elapsed * OVERRUN_SHARE, a.timeout_s - elapsed))


def there_at(host: Host, now: float, boot_s: float) -> float:
    """When a host is, or was, ready for work. One that is late is believed to be as late again."""
    if host.ready_at is not None:
        return host.ready_at
    due = host.launched_at + boot_s
    return max(due, now + (now - due))


def wider(shape: Shape, beside: Shape) -> Shape:
    """What falls free with `shape` together with the room beside it, rounded down to powers of two; `shape` itself where that is more.

    Few kinds of lane for many hosts: a search asks every kind.
    """
    if min(beside) < 0:  # more is reserved than the host has, until the sweep takes away what a crash left there
        return shape
    cpu, memory_mib, slots = shape
    wide_cpu = _power_of_two(cpu + beside[0])
    wide_memory_mib = 1 << ((memory_mib + beside[1]).bit_length() - 1)
    wide_slots = 1 << ((slots + beside[2]).bit_length() - 1)
    if wide_cpu >= cpu and wide_memory_mib >= memory_mib and wide_slots >= slots:
        return wide_cpu, wide_memory_mib, wide_slots
    return shape


@lru_cache(maxsize=4096)  # cores come in quarters and halves
def _power_of_two(cpu: float) -> float:
    """Rounded down to one."""
    return 2.0 ** (math.frexp(cpu)[1] - 1)


class Roads:
    """The lanes of each owner, and those that anybody may take: where hosts are shared, what empties its host when it ends."""

    def __init__(self) -> None:
        self._of: defaultdict[str, Lanes] = defaultdict(Lanes)
        self.anybodys = Lanes()

    def of(self, owner: str) -> Lanes:
        return self._of[owner]


class Lanes:
    """When which room falls free, by shape; and for each shape of job the lane that is free first.

    `_order` holds each kind of lane once, with the moment at which its first one is free, soonest first. What a shape fits into is worked
    out once (`_covering`), so to find its lane is to look along the order for the first kind that it fits into.
    """

    def __init__(self) -> None:
        self._numbers: dict[_Kind, int] = {}
        self._heaps: list[list[float]] = []  # by the number of the kind: when its lanes are free
        self._order: list[_Lane] = []
        self._covering: dict[_Kind, set[int]] = {}  # kind of job → numbers of the kinds of lanes that it fits into
        self._named: dict[_Where, str] = {None: ""}
        self._places: dict[str, _Where] = {"": None}
        self.booting_until = 0.0  # until when jobs may wait for lanes on hosts that boot

    @property
    def any(self) -> bool:
        return bool(self._order)

    def add(self, shape: Shape, free_at: float, late_at: float = 0.0, where: _Where = None) -> None:
        """Room of that shape falls free then. `late_at`: on a host that boots, until when jobs may wait for it; else 0."""
        kind = (*shape, late_at > 0.0, "" if where is None else self.name(where))
        if free_at <= late_at and late_at > self.booting_until:
            self.booting_until = late_at
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self._heaps)
            self._heaps.append([free_at])
            insort(self._order, (free_at, kind, number))
            for asked, covering in self._covering.items():
                if self._covers(kind, asked):
                    covering.add(number)
            return
        heap = self._heaps[number]
        before = heap[0]
        heappush(heap, free_at)
        if free_at < before:
            self._move((before, kind, number), free_at)

    def name(self, where: _Where) -> str:
        """A text that stands for it in kinds, which are compared."""
        name = self._named.get(where)
        if name is None:
            name = where.key if isinstance(where, Offering) else f"must {where}"
            self._named[where], self._places[name] = name, where
        return name

    def soonest(self, asked: _Kind) -> _Lane | None:
        """When the lane is free that is free first of those that `asked` fits into, and that lane."""
        covering = self._covering.get(asked)
        if covering is None:
            covering = {number for kind, number in self._numbers.items() if self._covers(kind, asked)}
            self._covering[asked] = covering
        if covering:
            for lane in self._order:
                if lane[2] in covering:
                    return lane
        return None

    def _covers(self, lane: _Kind, asked: _Kind) -> bool:
        return (
            lane[0] >= asked[0]
            and lane[1] >= asked[1]
            and lane[2] >= asked[2]
            and lane[3] >= asked[3]
            and (not asked[4] or _meets(self._places[lane[4]], self._places[asked[4]]))
        )

    def use(self, lane: _Lane, until: float) -> None:
        """That lane is taken until then."""
        heap = self._heaps[lane[2]]
        heapreplace(heap, until)
        if heap[0] != lane[0]:
            self._move(lane, heap[0])

    def _move(self, lane: _Lane, free_at: float) -> None:
        order = self._order
        del order[bisect_left(order, lane)]
        insort(order, (free_at, lane[1], lane[2]))


def late(
    entries: Iterable[Entry],
    roads: Roads,
    now: float,
    boot_s: float,
    slo_wait_s: float,
    takes_s: Callable[[str, int], float],
    late_max: int,
    bound: Mapping[str, Constraint] | None = None,
) -> tuple[list[Entry], list[tuple[Entry, float]]]:
    """Those that need a further host, and those that do not, each with the moment at which it is believed to begin.

    `takes_s(family, timeout_s)`: how long a job is believed to take. Uses up `roads`. Stops looking when `late_max` jobs need a host:
    the rest counts as late, whatever the lanes. `bound`: rank → what binds a job to hosts of some offerings.
    """
    patience_s = max(PATIENCE_S, slo_wait_s + 2.0 * boot_s)
    there = now + boot_s
    anybodys = roads.anybodys
    too_late: list[Entry] = []
    soon: list[tuple[Entry, float]] = []
    pending = iter(entries)
    for entry in pending:
        shape = (entry.cpu, entry.memory_mib, entry.slots)
        must = bound.get(entry.rank) if bound else None
        mine = lanes = roads.of(entry.owner)
        impatient = now - entry.queued_at > patience_s
        found = mine.soonest((*shape, impatient, "" if must is None else mine.name(must)))
        if anybodys.any:
            other = anybodys.soonest((*shape, impatient, "" if must is None else anybodys.name(must)))
            if other is not None and (found is None or other[0] < found[0]):
                found, lanes = other, anybodys
        if found is not None and (
            found[0] <= there
            or found[0] <= entry.queued_at + slo_wait_s
            or found[0] <= mine.booting_until
            or found[0] <= anybodys.booting_until
        ):
            free_at = found[0]
            begins_at = free_at if free_at > now else now
            soon.append((entry, begins_at))
            lanes.use(found, begins_at + takes_s(entry.family, entry.timeout_s))
            continue
        too_late.append(entry)
        if len(too_late) >= late_max:
            too_late += pending
            break
        ends_s = takes_s(entry.family, entry.timeout_s)
        if ends_s <= slo_wait_s:
            mine.add(shape, there + ends_s, there + slo_wait_s, must)
    return too_late, soon


def _meets(lane: _Where, asked: _Where) -> bool:
    """Whether a lane is where a job must be. On a host that will be launched for another one that is bound alike, it is."""
    if isinstance(lane, Offering):
        return isinstance(asked, Constraint) and asked.takes(lane)
    return lane == asked
