"""How many new hosts, and what goes onto each.

Theory of operation. Hosts are filled one after the other (not jobs placed one after the other): each begins with the largest job
that waits and then takes, again and again, the job after which the worst of its leftovers is the least - a leftover counts more if
its measure is scarce among all that waits. So cpu, memory and slots of a host are used up together. Jobs of one shape are alike,
so a filling that was found is repeated as often as there are jobs for it: the work grows with the number of shapes, not of
jobs. With very many shapes that would be slow; then jobs are placed one by one, the largest first.

Measured by `python -m bench.packing`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.constraint import Constraint
from chalicelib.core.host import Offering
from chalicelib.core.room import CPU_GRAIN, NEW_TIER, Room
from chalicelib.core.shelf import Mark, Shelf

Sizes = Sequence[tuple[Offering, Capacity]]
_Shape = tuple[
    float, int, int, Any, Any
]  # cpu, MiB, slots, which hosts are for it (a Constraint, or None: any), and its owner, as a host is one owner's
_Shaper = Callable[[Entry], _Shape]
_Filling = tuple[int, dict[_Shape, int], int]  # which of the sizes, how many jobs of each shape, on how many hosts

SHAPES_MAX = 128  # of one owner …
OWNERS_SHAPES = 8  # … and so many times as many of all together
_TRIES = (1.0, 0.97, 0.93, 0.86, 0.75, 0.5)  # of what the hosts could hold if nothing were ever left over


def pack(
    entries: Sequence[Entry],
    sizes: Sizes,
    rooms_max: int,
    *,
    exclusive: bool = False,
    shapes_max: int = SHAPES_MAX,
    bound: Mapping[str, Constraint] | None = None,
) -> tuple[list[Room], list[Entry]]:
    """New hosts for entries that come in rank order, at most `rooms_max`; and those that still have none, in rank order.

    A new host is one owner's, and of the first of `sizes` that is large enough for the entry it is opened for. While all entries find
    room, who is placed first matters to nobody, and they are placed as packs best. When not all do, rank decides: as many of the first as
    there are hosts for are packed, and what is left over goes, in rank order, to those who fit. `exclusive`: one entry a host.
    Entries of an owner with more than `shapes_max` shapes are placed one by one. `bound`: rank → what binds an entry to hosts of some
    offerings.
    """

    def shape_of(entry: Entry) -> _Shape:
        return (entry.cpu, entry.memory_mib, entry.slots, bound.get(entry.rank) if bound else None, entry.owner)

    shapes: dict[_Shape, int | None] = {}
    for shape in map(shape_of, entries):
        if shape not in shapes:
            shapes[shape] = _size_for(shape, sizes)
    possible = [entry for entry in entries if shapes[shape_of(entry)] is not None] if rooms_max > 0 else []
    if not possible:
        return [], list(entries)
    if exclusive:
        rooms = [
            _open(n, sizes, shapes[shape_of(entry)] or 0, exclusive) for n, entry in enumerate(possible[:rooms_max])
        ]
        for room, entry in zip(rooms, possible, strict=False):
            room.take(entry)
    elif _few(shapes, shapes_max):
        rooms = _host_by_host(possible, sizes, rooms_max, shape_of)
    else:
        rooms = _sorted_or_ranked(possible, sizes, rooms_max, shape_of)
    for room in rooms:
        room.taken.sort(key=attrgetter("rank"))
    chosen = {id(entry) for room in rooms for entry in room.taken}
    return rooms, [entry for entry in entries if id(entry) not in chosen]


def _few(shapes: Iterable[_Shape], shapes_max: int) -> bool:
    """Whether no owner has more than so many, nor all together far more: the work grows with the square of an owner's."""
    of_owners = Counter(shape[4] for shape in shapes)
    return max(of_owners.values()) <= shapes_max and of_owners.total() <= OWNERS_SHAPES * shapes_max


def _size_for(shape: _Shape, sizes: Sizes) -> int | None:
    """Which of the sizes is the first that is large enough."""
    cpu, memory_mib, slots, bound, _ = shape
    for number, (offering, size) in enumerate(sizes):
        if bound is not None and not bound.takes(offering):
            continue
        if cpu <= size.cpu + CPU_GRAIN and memory_mib <= size.memory_mib and slots <= size.slots:
            return number
    return None


def _open(number: int, sizes: Sizes, size: int, exclusive: bool = False) -> Room:
    offering, total = sizes[size]
    return Room(
        key=f"new-{number:04d}",
        tier=NEW_TIER,
        total=total,
        cpu=total.cpu,
        memory_mib=total.memory_mib,
        slots=total.slots,
        exclusive=exclusive,
        offering=offering,
    )


def _fit_at_most(entries: Sequence[Entry], sizes: Sizes, rooms_max: int) -> int:
    """How many of the first entries could find room if none of it were ever left over, but for the last host of each owner."""
    cpu_each = max(size.cpu for _, size in sizes)
    memory_each = max(size.memory_mib for _, size in sizes)
    slots_each = max(size.slots for _, size in sizes)
    left: dict[str, list[float]] = {}  # on an owner's hosts
    for count, entry in enumerate(entries):
        mine = left.get(entry.owner)
        if mine is None:
            mine = left[entry.owner] = [CPU_GRAIN, 0, 0]
        mine[0] -= entry.cpu
        mine[1] -= entry.memory_mib
        mine[2] -= entry.slots
        while mine[0] < 0 or mine[1] < 0 or mine[2] < 0:
            rooms_max -= 1
            if rooms_max < 0:
                return count
            mine[0] += cpu_each
            mine[1] += memory_each
            mine[2] += slots_each
    return len(entries)


def _host_by_host(entries: Sequence[Entry], sizes: Sizes, rooms_max: int, shape_of: _Shaper) -> list[Room]:
    most = _fit_at_most(entries, sizes, rooms_max)
    count, fillings = 0, None
    for share in _TRIES:
        count = int(most * share)
        fillings = _fillings(Counter(map(shape_of, entries[:count])), sizes, rooms_max)
        if fillings is not None:
            break
    waiting: dict[_Shape, list[Entry]] = {}
    for entry in reversed(entries[:count] if fillings else ()):
        waiting.setdefault(shape_of(entry), []).append(entry)
    rooms: list[Room] = []
    for size, filling, hosts in fillings or ():
        for _ in range(hosts):
            room = _open(len(rooms), sizes, size)
            for shape, jobs in filling.items():
                for _ in range(jobs):
                    room.take(waiting[shape].pop())
            rooms.append(room)
    _one_by_one(entries[count:] if fillings else entries, sizes, rooms_max, rooms, shape_of)
    return rooms


def _fillings(counts: Counter[_Shape], sizes: Sizes, rooms_max: int) -> list[_Filling] | None:
    """Fillings for all of these, or None if `rooms_max` hosts do not hold them."""
    fillings: list[_Filling] = []
    hosts_left = rooms_max
    of_owners: dict[str, Counter[_Shape]] = {}
    for shape, count in counts.items():
        of_owners.setdefault(shape[4], Counter())[shape] = count
    for owners_counts in of_owners.values():
        found = _owners_fillings(owners_counts, sizes, hosts_left)
        if found is None:
            return None
        fillings += found
        hosts_left -= sum(hosts for _, _, hosts in found)
    return fillings


def _owners_fillings(counts: Counter[_Shape], sizes: Sizes, rooms_max: int) -> list[_Filling] | None:
    """The same of one owner's."""
    by_size = sorted(counts, key=lambda shape: _largest_first(shape, sizes[0][1]))
    totals = [sum(shape[measure] * count for shape, count in counts.items()) for measure in range(3)]
    constrained = any(shape[3] is not None for shape in counts)
    fillings: list[_Filling] = []
    hosts_left = rooms_max
    while by_size:
        size = _size_for(by_size[0], sizes) or 0
        offering, total = sizes[size]
        may = [s for s in by_size if s[3] is None or s[3].takes(offering)] if constrained else by_size
        filling = _filling(may, counts, total, totals)
        hosts = min(counts[shape] // jobs for shape, jobs in filling.items())
        hosts_left -= hosts
        if hosts_left < 0:
            return None
        fillings.append((size, filling, hosts))
        for shape, jobs in filling.items():
            counts[shape] -= jobs * hosts
            for measure in range(3):
                totals[measure] -= shape[measure] * jobs * hosts
        by_size = [shape for shape in by_size if counts[shape]]
    return fillings


def _filling(
    shapes: Sequence[_Shape], counts: Counter[_Shape], size: Capacity, totals: Sequence[float]
) -> dict[_Shape, int]:
    """What goes together onto one host that begins with a job of the first of `shapes`."""
    cpu, memory_mib, slots = size.cpu + CPU_GRAIN, size.memory_mib, size.slots
    scarce_cpu = totals[0] / (size.cpu * size.cpu)
    scarce_memory = totals[1] / (size.memory_mib * size.memory_mib)
    scarce_slots = totals[2] / (size.slots * size.slots)
    filling: dict[_Shape, int] = {}
    fitting = shapes
    chosen = shapes[0]
    while True:
        filling[chosen] = filling.get(chosen, 0) + 1
        cpu -= chosen[0]
        memory_mib -= chosen[1]
        slots -= chosen[2]
        fitting = [
            shape
            for shape in fitting
            if shape[0] <= cpu
            and shape[1] <= memory_mib
            and shape[2] <= slots
            and counts[shape] > filling.get(shape, 0)
        ]
        if not fitting:
            return filling
        least = math.inf
        for shape in fitting:
            worst = max(
                scarce_cpu * (cpu - shape[0]),
                scarce_memory * (memory_mib - shape[1]),
                scarce_slots * (slots - shape[2]),
            )
            if worst < least:
                least, chosen = worst, shape


def _largest_first(shape: _Shape, size: Capacity) -> tuple[float, float]:
    shares = (shape[0] / size.cpu, shape[1] / size.memory_mib, shape[2] / size.slots)
    return -max(shares), -sum(shares)


def _sorted_or_ranked(entries: Sequence[Entry], sizes: Sizes, rooms_max: int, shape_of: _Shaper) -> list[Room]:
    """Largest first if so all find room, else in rank order."""
    rooms: list[Room] = []
    if _fit_at_most(entries, sizes, rooms_max) == len(entries):
        largest = sorted(entries, key=lambda entry: _largest_first(shape_of(entry), sizes[0][1]))
        if _one_by_one(largest, sizes, rooms_max, rooms, shape_of):
            return rooms
    rooms = []
    _one_by_one(entries, sizes, rooms_max, rooms, shape_of)
    return rooms


def _one_by_one(entries: Iterable[Entry], sizes: Sizes, rooms_max: int, rooms: list[Room], shape_of: _Shaper) -> bool:
    """Put entries, in order, into the fullest room or a new one; those that find none are passed over. Whether all found one."""
    present: list[Mark | None] = [_mark(number, room) for number, room in enumerate(rooms)]
    shelves: dict[tuple[str, Constraint | None], Shelf] = {}  # an owner's rooms, those for jobs that are bound by it
    constraints: dict[str, list[Constraint | None]] = {}  # of an owner's shelves
    refused: set[_Shape] = set()
    for entry in entries:
        shape = shape_of(entry)
        if shape in refused:
            continue
        constraint: Constraint | None = shape[3]
        owner = entry.owner
        if (mine := shelves.get((owner, constraint))) is None:
            its = [
                n
                for n, room in enumerate(rooms)
                if room.domain == owner and (constraint is None or constraint.takes(room.offering))
            ]
            mine = shelves[owner, constraint] = Shelf(present, its)
            constraints.setdefault(owner, []).append(constraint)
        mark = mine.first(shape[:3])
        if mark is not None:
            number = mark[1]
        else:
            if len(rooms) >= rooms_max:
                refused.add(shape)
                continue
            number = len(rooms)
            rooms.append(_open(number, sizes, _size_for(shape, sizes) or 0))
            present.append(None)
        rooms[number].take(entry)
        present[number] = _mark(number, rooms[number])
        for constraint in constraints[owner]:
            if constraint is None or constraint.takes(rooms[number].offering):
                shelves[owner, constraint].behind.add(number)
    return not refused


def _mark(number: int, room: Room) -> Mark:
    return (room.slack(), number, room.cpu + CPU_GRAIN, room.memory_mib, room.slots)
