"""What follows the end of a job, whatever ended it. Every write that moves a job or an array into a final state calls `ended` after it.

A crash between the two is found by the tick's sweep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from chalicelib.control import array_ends, delivery, graph
from chalicelib.core.arrays import Array
from chalicelib.core.job import Job
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

FOLLOWED_MAX = 100  # ends that one call sees to; what follows those beyond is told by messages of their own
FOLLOW_S = 5.0  # … or beyond this time: hundreds may wait for each of them


def ended(plane: Plane, *records: Job | Array) -> None:
    """`records` are as the final write left them. An end may be followed by others: of its array, of those who waited for it."""
    following, until = deque(records), plane.clock() + FOLLOW_S
    for _ in range(FOLLOWED_MAX):
        if not following:
            return
        if plane.clock() > until:
            break
        following += _one(plane, following.popleft())
    for record in following:
        plane.cloud.queues.timer({"v": 1, "kind": "follow", "of": record.id}, 0)


def follow(plane: Plane, record_id: str, after: str | None = None) -> None:
    """What is left to do about an end that was seen before; `after`: of those who waited for it, only who comes behind this one."""
    if after is not None:
        ended(plane, *graph.released(plane, record_id, after))
    elif (record := graph.rows(plane, [record_id]).get(record_id)) is not None and record.ended:
        ended(plane, record)


def _one(plane: Plane, record: Job | Array) -> Iterable[Job | Array]:
    what, took_s = "an array" if isinstance(record, Array) else "a job", plane.clock() - record.submitted_at
    log.info(f"{what} has ended", extra={"job": record.id, "state": record.state, "took_s": took_s})
    if record.listeners:
        delivery.order(plane, record.id)
    if isinstance(record, Job) and (array := array_ends.noted(plane, record)) is not None:
        yield array
    if record.awaited:
        yield from graph.released(plane, record.id)
