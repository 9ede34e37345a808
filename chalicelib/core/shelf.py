"""Rooms in order of preference, so that "the first that is large enough" is found without asking all of them.

Theory of operation. A shelf keeps one mark for each room: `(order, number, cpu, memory_mib, slots)`, sorted, cut into blocks of about
the square root of a large pool. A block knows the most that any room in it has free of each measure (or had: the figures are
lowered only when a search found nothing), and which wants were within those figures and still fitted no room, since one has the cores
and another the memory. So a search skips most blocks after one comparison.
One room may stand on several shelves (all of a tier; those that hold certain uploads). When it changes, each of them only notes its number
in `behind` and looks at its present mark before its next search: a shelf that nobody asks again costs almost nothing.
A room that changes hands - a free one that its first owner has taken - leaves the shelves of those who have lost it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

Mark = tuple[float, int, float, int, int]  # order (lowest first), number of the room, free cpu, MiB, slots
Want = tuple[float, int, int]  # cpu, MiB, slots
BLOCK = 64
REFUSED_MAX = 64  # remembered for each block


class _Block:
    """Neighbours on a shelf; upper bounds of what any of them has free; and wants that are within the bounds and fit none of them."""

    __slots__ = ("cpu", "loose", "marks", "memory_mib", "refused", "slots")

    def __init__(self, marks: list[Mark]) -> None:
        self.marks = marks
        self.refused: set[Want] = set()
        self.tighten()

    def tighten(self) -> None:
        _, _, cpu, memory_mib, slots = zip(*self.marks, strict=True)
        self.cpu, self.memory_mib, self.slots = max(cpu), max(memory_mib), max(slots)
        self.loose = False

    def refuse(self, want: Want) -> None:
        """No room here has so much free: true until one comes that has."""
        if self.loose:
            self.tighten()
        if self.slots >= want[2] and self.cpu >= want[0] and self.memory_mib >= want[1]:
            if len(self.refused) >= REFUSED_MAX:
                self.refused.clear()
            self.refused.add(want)

    def widen(self, mark: Mark) -> None:
        """A room has come."""
        _, _, cpu, memory_mib, slots = mark
        if cpu > self.cpu:
            self.cpu = cpu
        if memory_mib > self.memory_mib:
            self.memory_mib = memory_mib
        if slots > self.slots:
            self.slots = slots
        if self.refused:
            self.refused = {w for w in self.refused if w[0] > cpu or w[1] > memory_mib or w[2] > slots}


class Shelf:
    """`present[number]` is the mark of a room as it is now, or None once it takes nothing more; shared by all shelves.

    `least`: nobody asks this shelf for less, so rooms that have less leave it.
    """

    __slots__ = ("behind", "blocks", "lasts", "least", "present", "stands")

    def __init__(self, present: list[Mark | None], numbers: Iterable[int], least: Want = (0.0, 0, 0)) -> None:
        self.present = present
        self.least = cpu, memory_mib, slots = least
        marks = sorted(
            mark
            for number in numbers
            if (mark := present[number]) and mark[2] >= cpu and mark[3] >= memory_mib and mark[4] >= slots
        )
        self.blocks = [_Block(marks[i : i + BLOCK]) for i in range(0, len(marks), BLOCK)]
        self.lasts = [block.marks[-1] for block in self.blocks]
        self.stands = {mark[1]: mark for mark in marks}
        self.behind: set[int] = set()

    def first(self, want: Want) -> Mark | None:
        """The mark of the first room in order that has so much free, or None."""
        if self.behind:
            self._catch_up()
        cpu, memory_mib, slots = want
        for block in self.blocks:
            if (
                block.slots >= slots
                and block.cpu >= cpu
                and block.memory_mib >= memory_mib
                and want not in block.refused
            ):
                for mark in block.marks:
                    if mark[4] >= slots and mark[2] >= cpu and mark[3] >= memory_mib:
                        return mark
                block.refuse(want)
        return None

    def leave(self, number: int) -> None:
        """A room is none of this shelf's any more."""
        self.behind.discard(number)
        stood = self.stands.pop(number, None)
        if stood is None:
            return
        at = bisect_left(self.lasts, stood)
        marks = self.blocks[at].marks
        del marks[bisect_left(marks, stood)]
        if marks:
            self.lasts[at] = marks[-1]
            self.blocks[at].loose = True
        else:
            del self.blocks[at], self.lasts[at]

    def _catch_up(self) -> None:
        cpu, memory_mib, slots = self.least
        present, stands, lasts = self.present, self.stands, self.lasts
        for number in self.behind:
            stood = stands.pop(number, None)
            if (
                stood is not None
            ):  # in place, not in a method: half of all time that placing takes is spent in this loop
                at = bisect_left(lasts, stood)
                block = self.blocks[at]
                marks = block.marks
                del marks[bisect_left(marks, stood)]
                if not marks:
                    del self.blocks[at], lasts[at]
                else:
                    lasts[at] = marks[-1]
                    block.loose = True
            mark = present[number]
            if mark is not None and mark[2] >= cpu and mark[3] >= memory_mib and mark[4] >= slots:
                stands[number] = mark
                self._insert(mark)
        self.behind.clear()

    def _insert(self, mark: Mark) -> None:
        if not self.blocks:
            self.blocks.append(_Block([mark]))
            self.lasts.append(mark)
            return
        at = min(bisect_left(self.lasts, mark), len(self.blocks) - 1)
        block = self.blocks[at]
        insort(block.marks, mark)
        if len(block.marks) > 2 * BLOCK:
            self.blocks[at : at + 1] = halves = [_Block(block.marks[:BLOCK]), _Block(block.marks[BLOCK:])]
            self.lasts[at : at + 1] = [half.marks[-1] for half in halves]
            return
        self.lasts[at] = block.marks[-1]
        block.widen(mark)
