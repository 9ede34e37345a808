"""Which waiting jobs would start soon enough on the hosts that are there, and for which a further host is needed.

Theory of operation. What an attempt reserves is a lane: it falls free when the attempt is believed to end, and the next job that fits
into it may then begin. Waiting jobs are dealt onto lanes in rank order, each onto the one that is free first; a job that
would begin too late there needs a host of its own - which gives a further lane to the jobs behind it.

"Too late": a further host would have it sooner (it takes `boot_s` to boot), *and* it would wait longer than the SLO. Behind a job on
a host that still boots, the SLO counts from the moment when that host is there: else a burst of five-second jobs on an empty pool
would cost a machine for every slot's worth of them.

A forecast is a belief: it decides only about launching. Who is placed where is decided by what is really free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappush, heapreplace

from chalicelib.core.backlog import Entry
from chalicelib.core.host import Assignment, Host

OVERRUN_SHARE = 0.5  # a job that outlived its estimate is believed to take half as long again as it has taken so far

Shape = tuple[float, int, int]  # cpu, MiB, slots


@dataclass(frozen=True, slots=True)
class Lane:
    """Room that falls free at `free_at`; `late_at`: a job that would begin there later than that needs a further host."""

    free_at: float
    late_at: float
    shape: Shape


def ends_at(a: Assignment, host: Host, now: float, expected_s: float, boot_s: float) -> float:
    """When an attempt is believed to end. One that has not begun yet begins when its host is there."""
    if a.started_at is None:
        return max(now, there_at(host, now, boot_s)) + expected_s
    elapsed = max(0.0, now - a.started_at)
    left = max(expected_s - elapsed, min(elapsed * OVERRUN_SHARE, a.timeout_s - elapsed), 0.0)
    return now + left


def there_at(host: Host, now: float, boot_s: float) -> float:
    """When a host is, or was, ready for work."""
    return host.ready_at if host.ready_at is not None else max(now, host.launched_at + boot_s)


def late(
    entries: Iterable[Entry],
    lanes: Sequence[Lane],
    now: float,
    boot_s: float,
    slo_wait_s: float,
    expected_s: Callable[[Entry], float],
    late_max: int,
) -> tuple[list[Entry], list[tuple[Entry, float]]]:
    """Those that need a further host, and those that do not, each with the moment at which it is believed to begin.

    Stops looking when `late_max` jobs need one: the rest counts as late, whatever the lanes.
    """
    by_shape: dict[Shape, list[tuple[float, float]]] = {}
    for lane in lanes:
        by_shape.setdefault(lane.shape, []).append((lane.free_at, lane.late_at))
    for heap in by_shape.values():
        heapify(heap)
    wider: dict[Shape, list[Shape]] = {}  # for each shape, the lanes' shapes that it fits into
    hopeless: set[Shape] = set()  # no lane is free soon enough, and none has been added since
    too_late: list[Entry] = []
    soon: list[tuple[Entry, float]] = []
    there = now + boot_s
    latest = max(there, now + slo_wait_s)  # nobody was queued later than now
    pending = iter(entries)
    for entry in pending:
        shape = (entry.cpu, entry.memory_mib, entry.slots)
        found = None
        if shape not in hopeless:
            if shape not in wider:
                wider[shape] = [lane for lane in by_shape if _covers(lane, shape)]
            found = _soonest(by_shape, wider[shape])
            if found is not None:
                free_at, late_at = by_shape[found][0]
                if free_at > max(latest, late_at):
                    hopeless.add(shape)
                if free_at > max(there, entry.queued_at + slo_wait_s, late_at):
                    found = None
        takes_s = expected_s(entry)
        if found is not None:
            free_at, late_at = by_shape[found][0]
            begins_at = max(now, free_at)
            soon.append((entry, begins_at))
            heapreplace(by_shape[found], (begins_at + takes_s, late_at))
            continue
        too_late.append(entry)
        if len(too_late) >= late_max:
            too_late += pending
            break
        if takes_s > slo_wait_s:
            continue  # its own lane falls free too late for the others
        if shape not in by_shape:
            by_shape[shape] = []
            wider.clear()
        heappush(by_shape[shape], (there + takes_s, there + slo_wait_s))
        hopeless.clear()
    return too_late, soon


def _covers(lane: Shape, shape: Shape) -> bool:
    return lane[0] >= shape[0] and lane[1] >= shape[1] and lane[2] >= shape[2]


def _soonest(by_shape: dict[Shape, list[tuple[float, float]]], candidates: list[Shape]) -> Shape | None:
    """The shape whose first lane is free first."""
    best: Shape | None = None
    best_at = 0.0
    for shape in candidates:
        heap = by_shape[shape]
        if heap and (best is None or heap[0][0] < best_at):
            best, best_at = shape, heap[0][0]
    return best
