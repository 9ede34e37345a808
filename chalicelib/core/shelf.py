"""Rooms in order of preference, so that "the first that is large enough" is found without asking all of them.

Theory of operation. A shelf keeps one mark for each room: `(order, number, cpu, memory_mib, slots)`, sorted, cut into blocks of about
the square root of a large pool. A block knows the most that any room in it has free of each measure (or had: a room that leaves does not
lower the figures; a search that found nothing in the block does). So a search skips most blocks after one comparison.
One room may stand on several shelves (all of a tier; those that hold certain uploads). When it changes, each of them only notes its number
in `behind` and looks at its present mark before its next search: a shelf that nobody asks again costs almost nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

Mark = tuple[float, int, float, int, int]  # order (lowest first), number of the room, free cpu, MiB, slots
BLOCK = 64


class _Block:
    """Neighbours on a shelf, and upper bounds of what any of them has free."""

    __slots__ = ("cpu", "marks", "memory_mib", "slots")

    def __init__(self, marks: list[Mark]) -> None:
        self.marks = marks
        self.tighten()

    def tighten(self) -> None:
        self.cpu = max(mark[2] for mark in self.marks)
        self.memory_mib = max(mark[3] for mark in self.marks)
        self.slots = max(mark[4] for mark in self.marks)


class Shelf:
    """`present[number]` is the mark of a room as it is now, or None once it takes nothing more; shared by all shelves."""

    __slots__ = ("behind", "blocks", "lasts", "present", "stands")

    def __init__(self, present: list[Mark | None], numbers: Iterable[int]) -> None:
        self.present = present
        marks = sorted(mark for number in numbers if (mark := present[number]) is not None)
        self.blocks = [_Block(marks[i : i + BLOCK]) for i in range(0, len(marks), BLOCK)]
        self.lasts = [block.marks[-1] for block in self.blocks]
        self.stands = {mark[1]: mark for mark in marks}
        self.behind: set[int] = set()

    def first(self, cpu: float, memory_mib: int, slots: int) -> int | None:
        """The number of the first room in order that has so much free, or None."""
        if self.behind:
            self._catch_up()
        for block in self.blocks:
            if block.slots >= slots and block.cpu >= cpu and block.memory_mib >= memory_mib:
                for mark in block.marks:
                    if mark[4] >= slots and mark[2] >= cpu and mark[3] >= memory_mib:
                        return mark[1]
                block.tighten()
        return None

    def _catch_up(self) -> None:
        for number in self.behind:
            mark, stood = self.present[number], self.stands.pop(number, None)
            if stood is not None:
                self._remove(stood)
            if mark is not None:
                self.stands[number] = mark
                self._insert(mark)
        self.behind.clear()

    def _remove(self, mark: Mark) -> None:
        at = bisect_left(self.lasts, mark)
        marks = self.blocks[at].marks
        del marks[bisect_left(marks, mark)]
        if not marks:
            del self.blocks[at], self.lasts[at]
        else:
            self.lasts[at] = marks[-1]

    def _insert(self, mark: Mark) -> None:
        if not self.blocks:
            self.blocks, self.lasts = [_Block([mark])], [mark]
            return
        at = min(bisect_left(self.lasts, mark), len(self.blocks) - 1)
        block = self.blocks[at]
        insort(block.marks, mark)
        if len(block.marks) > 2 * BLOCK:
            self.blocks[at : at + 1] = halves = [_Block(block.marks[:BLOCK]), _Block(block.marks[BLOCK:])]
            self.lasts[at : at + 1] = [half.marks[-1] for half in halves]
            return
        self.lasts[at] = block.marks[-1]
        block.cpu = max(block.cpu, mark[2])
        block.memory_mib = max(block.memory_mib, mark[3])
        block.slots = max(block.slots, mark[4])
