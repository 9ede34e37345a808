"""Making the jobs of arrays, in one pass (core/arrays.py says when and why).

A plan places "element 17"; what is made of it is the next element that has none, whichever that is, since they are all alike. Only what a
host carries already - the trace of a crash between the host's row and the job's - keeps its number.

Order of writes: host, job (put, if it is not there), then the backlog entry's `next_index`. Each put decides: what another pass
made, or its user cancelled before it ever was, is found there and counts as made. `next_index` is raised over the unbroken row of those
that are made, and not at all where the entry is gone: then the array was cancelled meanwhile, and what this pass made of it is too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from chalicelib.control import element_parameters
from chalicelib.control.cancel import cancel
from chalicelib.core.arrays import Array, ArrayState, element, element_id
from chalicelib.core.backlog import Entry
from chalicelib.core.job import Job, JobState
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

PAGE = 100  # rows that are looked at together for those that are made already


@dataclass
class _Line:
    """One array in this pass. `first`: every element below it is made; `made`: those beyond, and all that this pass made."""

    array: Array | None
    entry: Entry
    first: int
    known: set[int] = field(default_factory=set)  # that have rows
    bound: set[int] = field(default_factory=set)  # that an action is at
    made: list[int] = field(default_factory=list)  # by this pass

    def settle(self) -> None:
        while self.first in self.known:
            self.known.discard(self.first)
            self.first += 1

    def is_made(self, index: int) -> bool:
        return index < self.first or index in self.known


class Elements:
    """`carried`: ids of jobs that hosts carried when the pass began."""

    def __init__(self, plane: Plane, carried: frozenset[str] = frozenset()) -> None:
        self._plane = plane
        self._carried = carried
        self._lines: dict[str, _Line] = {}

    def bind(self, entry: Entry) -> Entry | None:
        """What is to be placed instead of a planned element: the next one. None where there is no more, or the array is over.

        Entries that are no elements stay as they are.
        """
        if entry.of is None:
            return entry
        line = self._line(entry.of)
        if line.array is None:
            return None
        if entry.job in self._carried:
            return entry
        index = line.first
        while line.is_made(index) or index in line.bound or element_id(line.array.id, index) in self._carried:
            index += 1
        if index >= line.entry.size:
            return None
        line.bound.add(index)
        return replace(entry, job=element_id(line.array.id, index), of=entry.of)

    def make(self, entry: Entry, host: str, at: float, reason: str) -> Job | None:
        """The job of a bound element, assigned to a host that carries it; None if it is elsewhere, or over."""
        line = self._line(entry.of or entry)
        if line.array is None:
            return None
        index = int(entry.job.rpartition("-")[2])
        given = element_parameters.of(self._plane, line.array, index)
        job = element(line.array, index, given, JobState.ASSIGNED, at, reason=reason, host=host)
        line.bound.discard(index)
        if self._plane.stores.jobs.put(job):
            line.known.add(index)
            line.made.append(index)
            line.settle()
            return job
        there = self._plane.stores.jobs.get(job.id)
        line.known.add(index)
        line.settle()
        self._catch_up(line)
        mine = there is not None and there.attempt == 1 and there.host == host and not there.ended
        return there if mine else None

    def let_go(self) -> None:
        """What was bound and not made is free for the next action."""
        for line in self._lines.values():
            line.bound.clear()

    def advance(self) -> None:
        """Let the backlog know what is made; to be called before anything that takes long, and at the end."""
        for line in self._lines.values():
            if line.array is not None and line.first > line.entry.next_index:
                self._advance(line, line.array)

    def _advance(self, line: _Line, array: Array) -> None:
        backlog = self._plane.stores.backlog
        if line.first >= line.entry.size:
            known = self._plane.stores.arrays.all_made(array.id)
            backlog.remove([line.entry])
            over = known is None or known.stops
        else:
            over = not backlog.advance(line.entry, line.first)
        line.entry = replace(line.entry, next_index=line.first)
        if over:
            line.array = None
            log.info("an array was cancelled while its elements were made", extra={"array": array.id})
            for index in line.made:
                cancel(self._plane, element_id(array.id, index))

    def _line(self, entry: Entry) -> _Line:
        if entry.job not in self._lines:
            array = self._plane.stores.arrays.get(entry.job)
            if array is not None and (array.state is not ArrayState.OPEN or array.stops):
                array = None
            if array is None:
                self._plane.stores.backlog.remove([entry])
            else:
                element_parameters.of(
                    self._plane, array, entry.next_index
                )  # before any host is written: S3 may not answer
            self._lines[entry.job] = _Line(array, entry, entry.next_index)
        return self._lines[entry.job]

    def _catch_up(self, line: _Line) -> None:
        """One was there already: a pass died before it said so, and there may be thousands. All that follow it are found at once."""
        if line.array is None:
            return
        while line.first < line.entry.size:
            page = range(line.first, min(line.first + PAGE, line.entry.size))
            ids = {element_id(line.array.id, index): index for index in page}
            found = self._plane.stores.jobs.get_many(ids)
            line.known.update(ids[job_id] for job_id in found)
            line.settle()
            if len(found) < len(ids):
                return
