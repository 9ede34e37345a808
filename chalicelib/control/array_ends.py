"""How an array ends: each element's end is noted, and when all are, the array's own row moves.

The note is an addition to a set, so it may be made twice. A crash before it, or between it and the array's move, is found by `arrays.look`,
which the tick calls for every array that has not ended.
"""

from __future__ import annotations

from chalicelib.control.kept import kept_until
from chalicelib.core.arrays import Array, ArrayState, Tally, completes_chunk, verdict
from chalicelib.core.job import Job
from chalicelib.wiring import Plane

TALLY_KEPT_S = 366 * 86_400.0  # an array that lost count of its elements would never end; so small, they may outlive it


def noted(plane: Plane, job: Job) -> Array | None:
    """An element has ended; its array, if that was the last one and the array has ended by it."""
    if job.array is None or job.index is None:
        return None
    now = plane.clock()
    kept = max(kept_until(plane, job, now), now + TALLY_KEPT_S)
    in_chunk = plane.stores.arrays.count(job.array, job.index, job.state, kept)
    if not completes_chunk(job, in_chunk):
        return None
    array = plane.stores.arrays.get(job.array)
    return closed(plane, array, plane.stores.arrays.tally(job.array)) if array else None


def closed(plane: Plane, array: Array, tally: Tally, *, rest_never_begins: bool = False) -> Array | None:
    """End an open array all of whose elements have ended, or never will begin; None if it goes on, or somebody was quicker.

    The message that has its results merged goes first: it closes the array itself, should this function die before it does.
    """
    if array.state is not ArrayState.OPEN or (tally.total < array.count and not rest_never_begins):
        return None
    event, reason = verdict(array, tally)
    plane.cloud.queues.timer({"v": 1, "kind": "array", "array": array.id}, 1)
    now = plane.clock()
    return plane.stores.arrays.move(
        array.id,
        event,
        at=now,
        reason=reason,
        expires_at=kept_until(plane, array, now),
        untold=bool(array.listeners),
    )
