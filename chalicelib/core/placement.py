"""Which waiting job goes onto which host: pure bookkeeping of rooms.

A room is what a host still has free. Entries are taken in rank order; one that does not fit is passed over, so nothing at the head
blocks what stands behind it. Among the rooms that fit, an entry takes the first by:

1. tier: hosts that are ready, then draining ones that can be taken back, then ones that boot, then new ones;
2. how many of the uploads that it needs are there already;
3. the pool's style - `best_fit`: the fullest room, so that big jobs still find big rooms and idle hosts can leave; `spread`: the
   emptiest; `random`: any, evenly. Draining hosts are taken back newest first, whatever the style, and one that is filled already
   before another is woken;
4. the place in the list of rooms.

A room is one owner's (core/room.py): an entry asks its owner's rooms and those that are anybody's, and of two that stand alike its owner's
own. Whoever takes one that is anybody's has it from then on.

Nothing is approximate: this is what asking every room for every entry would answer. It is quick because entries of one shape
ask one sequence of shelves (`core/shelf.py`), and because rooms only shrink while placing: a level that had nothing for a shape will
never have - what comes to an owner's shelf came from the free rooms of the same level.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from chalicelib.core.backlog import Entry
from chalicelib.core.constraint import Constraint
from chalicelib.core.host import Offering
from chalicelib.core.packing import pack
from chalicelib.core.room import CPU_GRAIN, NEW_TIER, Room, room_of
from chalicelib.core.shelf import Mark, Shelf, Want
from chalicelib.core.withheld import Withheld

__all__ = ["CPU_GRAIN", "NEW_TIER", "STYLES", "Room", "pack", "place", "room_of"]

STYLES = ("best_fit", "spread", "random")
WITHHELD_SHARE = 0.1  # of the rooms, at most so many are kept empty for those who wait too long; but one always may be
FREE: Mapping[str, Constraint] = {}  # nobody is bound by anything
_WOKEN = 1e12  # seconds: puts a draining room that is used again before every one that is not


def place(
    entries: Iterable[Entry],
    rooms: list[Room],
    *,
    style: str = "best_fit",
    seed: int = 0,
    aged_before: float = -math.inf,
    bound: Mapping[str, Constraint] = FREE,
    displace: bool = True,
    crowded: bool = False,
) -> list[Entry]:
    """Put entries, which come in rank order, into rooms; those that fit nowhere are returned in rank order.

    `seed` is the chance of the style `random`. An entry queued before `aged_before` that fits nowhere has a room withheld from those
    behind it: the emptiest that is large enough for it once its jobs have ended. So a wide job is not overtaken by small ones for ever,
    nor an owner's by another's; `displace`: whether another owner's room would be of any use to it once that is empty. `crowded`: no
    further room is to be had; then an owner who has none at all need not wait that long for its first.
    `bound`: rank → what binds an entry to rooms of some offerings (`ladder.bound`); to it all others are as if they were not there.
    ValueError for a style that is not one of `STYLES`.
    """
    if style not in STYLES:
        raise ValueError(f"placement {style!r} is none of {', '.join(STYLES)}")
    entries = list(entries)
    shapes = _Shapes(entries, rooms, bound)
    placing = Placing(rooms, style, seed, shapes)
    withheld = Withheld(placing, displace, most=max(1, int(len(rooms) * WITHHELD_SHARE)))
    left: list[Entry] = []
    homes = {room.domain for room in rooms if not room.open} if crowded else set()
    for entry, shape in zip(entries, shapes.of, strict=True):
        number = None if shape.refused else placing.find(shape)
        if number is not None:
            placing.take(number, entry)
            if crowded:
                homes.add(entry.owner)
            continue
        left.append(entry)
        homeless = crowded and entry.owner not in homes
        if homeless:
            homes.add(entry.owner)
        if homeless or entry.queued_at < aged_before:
            withheld.ask(shape)
    return left


class Shape:
    """What entries that ask for the same have in common. `needs`: what of their uploads any room holds; `bound`: to which rooms."""

    __slots__ = (
        "bound",
        "cpu",
        "level",
        "levels",
        "memory_mib",
        "needs",
        "owner",
        "promised",
        "refused",
        "slots",
        "want",
    )

    def __init__(
        self, cpu: float, memory_mib: int, slots: int, needs: frozenset[str], bound: Constraint | None, owner: str
    ) -> None:
        self.cpu = cpu
        self.memory_mib = memory_mib
        self.slots = slots
        self.needs = needs
        self.bound = bound
        self.owner = owner
        self.want = (cpu, memory_mib, slots)
        self.refused = False
        self.levels: list[_Level] | None = None
        self.level = 0  # the first of `levels` that may have room still
        self.promised = 0  # the first of the withheld rooms that may have room still


_NOTHING: frozenset[str] = frozenset()
_Demand = tuple[
    frozenset[str], Constraint | None, str
]  # the uploads of a shape, what binds it, and whose it is: what decides which shelves it asks
_Level = tuple[Shelf, Shelf | None]  # rooms of one preference: the owner's, and those that are anybody's


class _Shapes:
    """The distinct shapes; `of[i]` is that of entry i; `least` and, by demand, `least_of` are less than any of them in every measure."""

    def __init__(self, entries: Sequence[Entry], rooms: Sequence[Room], bound: Mapping[str, Constraint]) -> None:
        held = frozenset().union(*{room.holds for room in rooms})
        known: dict[tuple[float, int, int, frozenset[str], Constraint | None, str], Shape] = {}
        if bound:
            bound = _felt(bound, {room.offering for room in rooms})
        self.bound = bool(bound)
        self.of: list[Shape] = []
        for entry in entries:
            needs = held.intersection(entry.needs) if held and entry.needs else _NOTHING
            must = bound.get(entry.rank) if bound else None
            key = (entry.cpu, entry.memory_mib, entry.slots, needs, must, entry.owner)
            shape = known.get(key)
            if shape is None:
                shape = known[key] = Shape(*key)
            self.of.append(shape)
        self.least = _least(known.values())
        alike, of_owner = defaultdict(list), defaultdict(list)
        for shape in known.values():
            alike[shape.needs, shape.bound, shape.owner].append(shape)
            of_owner[shape.owner].append(shape)
        self.least_of = {demand: _least(shapes) for demand, shapes in alike.items()}
        self.least_of_owner = {owner: _least(shapes) for owner, shapes in of_owner.items()}


def _felt(bound: Mapping[str, Constraint], offerings: set[Offering | None]) -> Mapping[str, Constraint]:
    """Without those that all of these offerings meet."""
    felt = {each for each in set(bound.values()) if not all(map(each.takes, offerings))}
    return {rank: each for rank, each in bound.items() if each in felt}


def _least(shapes: Iterable[Shape]) -> Want:
    """Less than any of them in every measure."""
    wants = [shape.want for shape in shapes] or [(0.0, 0, 0)]
    return min(want[0] for want in wants), min(want[1] for want in wants), min(want[2] for want in wants)


class Placing:
    """Rooms on shelves. A room has the number of its place in the list."""

    def __init__(self, rooms: list[Room], style: str, seed: int, shapes: _Shapes) -> None:
        self.rooms = rooms
        self.style = style
        self.seed = seed
        self.bound = shapes.bound
        self.least = shapes.least
        self.least_of = shapes.least_of
        self.least_of_owner = shapes.least_of_owner
        self.clocks = [0.0] * len(rooms) if style == "random" else []
        self.present: list[Mark | None] = [self._mark(number, "") for number in range(len(rooms))]
        self.on: list[tuple[Shelf, ...]] = [()] * len(rooms)  # the shelves that each room stands on
        self.own: dict[tuple[str | None, int], list[int]] = defaultdict(list)  # by owner and tier; None: anybody's
        for number, room in enumerate(rooms):
            if self.present[number] is not None:
                if room.domain is not None:
                    self.own[room.domain, room.tier].append(number)
                if room.free:
                    self.own[None, room.tier].append(number)
        self.tiers = sorted({tier for _, tier in self.own})
        self.bounds: list[Constraint | None] = []  # that shelves of `shelves` were made for
        self.shelves: dict[tuple[str | None, int, Constraint | None], Shelf] = {}  # by owner, tier and what binds
        self.holding: dict[tuple[str | None, str], list[int]] | None = None
        self.sequences: dict[_Demand, list[_Level]] = {}

    def find(self, shape: Shape) -> int | None:
        """The number of the room that an entry of this shape takes, or None: then no later one finds a room either."""
        if shape.levels is None:
            demand = (shape.needs, shape.bound, shape.owner)
            shape.levels = self.sequences.get(demand) or self._sequence(*demand)
        want, levels = shape.want, shape.levels
        while shape.level < len(levels):
            own, free = levels[shape.level]
            mark = own.first(want)
            if free is not None and (other := free.first(want)) is not None and (mark is None or other[0] < mark[0]):
                return other[1]
            if mark is not None:
                return mark[1]
            shape.level += 1
        shape.refused = True
        return None

    def take(self, number: int, entry: Entry) -> None:
        room = self.rooms[number]
        if room.domain is None or room.open:
            self._bind(number, entry.owner)
        room.take(entry)
        cpu, memory_mib, slots = room.cpu, room.memory_mib, room.slots
        mark: Mark | None
        if self.style != "best_fit" or room.newest or room.exclusive:
            mark = self._mark(number, entry.job)
        elif slots < self.least[2] or memory_mib < self.least[1] or cpu + CPU_GRAIN < self.least[0]:
            mark = None
        else:  # the same as `_mark`, of which half of all time would be spent in calls
            total = room.total
            slack = cpu / total.cpu + memory_mib / total.memory_mib + slots / total.slots
            mark = (slack, number, cpu + CPU_GRAIN, memory_mib, slots)
        self.present[number] = mark
        for shelf in self.on[number]:
            shelf.behind.add(number)

    def withhold(self, number: int) -> None:
        self.present[number] = None
        for shelf in self.on[number]:
            shelf.behind.add(number)

    def _mark(self, number: int, job: str) -> Mark | None:
        """Where the room stands now, having taken `job`; None if it is too small for every entry."""
        room = self.rooms[number]
        cpu = room.cpu + CPU_GRAIN
        least = self.least
        if room.slots < least[2] or cpu < least[0] or room.memory_mib < least[1] or room.closed:
            return None
        return (self._order(number, room, job), number, cpu, room.memory_mib, room.slots)

    def _order(self, number: int, room: Room, job: str) -> float:
        if room.newest:
            return -room.newest - (_WOKEN if room.taken else 0.0)
        if self.style == "best_fit":
            return room.slack()
        if self.style == "spread":
            return -room.slack()
        # Each room has a clock that rings after exponential times, and the next to ring takes the entry: so each is as likely.
        self.clocks[number] += _exponential(f"{self.seed}/{room.key}/{job}")
        return self.clocks[number]

    def _bind(self, number: int, owner: str) -> None:
        """A room that was anybody's is `owner`'s from now on."""
        room, shelves = self.rooms[number], self.shelves
        free = {shelves.get((None, room.tier, bound)) for bound in self.bounds}
        kept = [shelf for shelf in self.on[number] if room.domain == owner and shelf not in free]
        for shelf in self.on[number]:
            if shelf not in kept:
                shelf.leave(number)
        if room.domain != owner:
            self.own[owner, room.tier].append(number)
            for bound in self.bounds:
                if (owner, room.tier, bound) in shelves and (bound is None or bound.takes(room.offering)):
                    kept.append(shelves[owner, room.tier, bound])
        self.on[number] = tuple(kept)

    def _shelf(self, numbers: Sequence[int], least: Want) -> Shelf:
        shelf = Shelf(self.present, numbers, least)
        for number in numbers:
            self.on[number] += (shelf,)
        return shelf

    def _sequence(self, needs: frozenset[str], bound: Constraint | None, owner: str) -> list[_Level]:
        """The shelves in order for entries with these needs: in each tier the rooms that hold most of them first.

        What a room holds counts for those whom it serves: anybody's is empty, or emptied before the next owner's jobs begin.
        """
        if self.holding is None:
            self.holding = defaultdict(list)
            for number, room in enumerate(self.rooms):
                for digest in room.holds:
                    self.holding[room.domain, digest].append(number)
        rooms = self.rooms
        covers = Counter(
            number
            for digest in needs
            for number in self.holding.get((owner, digest), ())
            if rooms[number].domain == owner  # or it has changed hands, and is empty
        )
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, cover in covers.items():
            if self.present[number] is not None and (bound is None or bound.takes(rooms[number].offering)):
                groups[rooms[number].tier, -cover].append(number)
        sequence: list[_Level] = []
        least = self.least_of[needs, bound, owner]
        for tier in self.tiers:
            whole, free = self._whole(owner, tier, bound), self._whole(None, tier, bound)
            levels = sorted(level for level in groups if level[0] == tier)
            sequence += [(self._shelf(groups[level], least), None) for level in levels]
            sequence.append((whole, free))
        self.sequences[needs, bound, owner] = sequence
        return sequence

    def _whole(self, owner: str | None, tier: int, bound: Constraint | None) -> Shelf:
        """The rooms of a tier that are an owner's, or anybody's, and meet a constraint."""
        shelf = self.shelves.get((owner, tier, bound))
        if shelf is None:
            rooms, numbers = self.rooms, [n for n in self.own[owner, tier] if self.present[n] is not None]
            if bound is not None:
                numbers = [n for n in numbers if bound.takes(rooms[n].offering)]
            # some have changed hands since
            numbers = [n for n in numbers if (rooms[n].free if owner is None else rooms[n].domain == owner)]
            least = self.least if owner is None else self.least_of_owner[owner]
            if bound not in self.bounds:
                self.bounds.append(bound)
            shelf = self.shelves[owner, tier, bound] = self._shelf(numbers, least)
        return shelf


def _exponential(text: str) -> float:
    """A number that depends on the text alone, distributed like times between rings that come once a second on average."""
    mixed = crc32(text.encode()) * 0x9E3779B1 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 0x85EBCA6B & 0xFFFFFFFF
    return -math.log((mixed ^ mixed >> 13) / 2**32 + 2**-33)
