"""Rooms that are kept empty for entries that have waited too long, or whose owner has none: a part of placing (core/placement.py)."""

from __future__ import annotations

from collections import defaultdict
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Offering
from chalicelib.core.room import CPU_GRAIN, NEW_TIER, Room

if TYPE_CHECKING:
    from chalicelib.core.placement import Placing, Shape


class Withheld:
    """Rooms kept from those behind an entry that has waited too long. Each is promised to as many such entries as it can hold."""

    def __init__(self, placing: Placing, displace: bool, most: int) -> None:
        self.placing = placing
        self.displace = displace
        self.most = most
        self.promised: list[Room] = []  # of each withheld room: the whole, less what was promised
        self.emptiest: dict[tuple[Capacity, Offering | None, str | None], list[tuple[float, int]]] | None = (
            None  # by size, by offering where somebody is bound, and by owner where that matters: (-slack, number)
        )

    def ask(self, shape: Shape) -> None:
        while shape.promised < len(self.promised):
            if self._promise(self.promised[shape.promised], shape):
                return
            shape.promised += 1
        if len(self.promised) < self.most and (number := self._emptiest(shape)) is not None:
            self.placing.withhold(number)
            room = self.placing.rooms[number]
            total = room.total
            self.promised.append(
                Room(
                    room.key,
                    room.tier,
                    total,
                    total.cpu,
                    total.memory_mib,
                    total.slots,
                    exclusive=room.exclusive,
                    offering=room.offering,
                    domain=shape.owner,
                )
            )
            self._promise(self.promised[-1], shape)

    @staticmethod
    def _promise(room: Room, shape: Shape) -> bool:
        """Whether the room is large enough for one more such entry beside those that it is promised to."""
        fits = (
            not room.used
            and room.domain == shape.owner
            and (shape.bound is None or shape.bound.takes(room.offering))
            and shape.cpu <= room.cpu + CPU_GRAIN
            and shape.memory_mib <= room.memory_mib
            and shape.slots <= room.slots
        )
        if fits:
            room.cpu -= shape.cpu
            room.memory_mib -= shape.memory_mib
            room.slots -= shape.slots
            room.used = room.exclusive
        return fits

    def _emptiest(self, shape: Shape) -> int | None:
        """The emptiest room that is large enough as a whole. Rooms only got fuller since they were put on the heaps."""
        rooms = self.placing.rooms
        if self.emptiest is None:
            self.emptiest = defaultdict(list)
            told_apart = self.placing.bound
            for number, room in enumerate(rooms):
                if room.tier < NEW_TIER:
                    where = room.offering if told_apart else None
                    whose = None if self.displace or room.free else room.domain
                    self.emptiest[room.total, where, whose].append((-room.slack(), number))
            for heap in self.emptiest.values():
                heapify(heap)
        self._settle()
        tops: list[list[tuple[float, int]]] = []
        for (total, offering, owner), heap in self.emptiest.items():
            if (
                (owner is None or owner == shape.owner)
                and (shape.bound is None or shape.bound.takes(offering))
                and shape.cpu <= total.cpu + CPU_GRAIN
                and shape.memory_mib <= total.memory_mib
                and shape.slots <= total.slots
            ):
                while heap and heap[0][0] < (now := -rooms[heap[0][1]].slack()):
                    heapreplace(heap, (now, heap[0][1]))
                if heap:
                    tops.append(heap)
        return heappop(min(tops))[1] if tops else None

    def _settle(self) -> None:
        """Where nobody can be displaced: free rooms that somebody has taken since are that owner's."""
        if self.displace or self.emptiest is None:
            return
        rooms = self.placing.rooms
        for (total, where, owner), heap in list(self.emptiest.items()):
            while owner is None and heap and not rooms[heap[0][1]].free:
                marked = heappop(heap)
                heappush(self.emptiest[total, where, rooms[marked[1]].domain], marked)
