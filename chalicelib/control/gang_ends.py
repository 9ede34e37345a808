"""How the ends of a gang's members become the job's (core/gang.py): each is one write to the job's row, and who writes the last one
moves the job. A crash between the two is found by the sweep, and by the same message when it comes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.core import gang
from chalicelib.core.job import End, Finish, Job
from chalicelib.core.retry import Verdict
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

TRIES = 3  # a row goes from `assigned` to `running` once


@dataclass(frozen=True, slots=True)
class Whole:
    """All members of a gang have ended: its row then, what becomes of it, and whose end speaks for it."""

    job: Job
    ruling: Verdict
    end: End


def ended(
    plane: Plane,
    job: Job,
    host_id: str,
    rule: Callable[[Job], Verdict | None],
    *,
    userid: str | None = None,
    finish: Finish | None = None,
) -> Whole | None:
    """Note the end of the member on that host; the whole, if it was the last one. `rule`: what the end means by the row as it is,
    None if nothing yet."""
    rank, row = job.members.index(host_id), job
    for _ in range(TRIES):
        ruling = rule(row)
        if ruling is None:
            return None
        end = gang.end_of(row, rank, ruling, plane.clock(), userid, finish)
        noted = plane.stores.jobs.note_end(row.id, rank, end, attempt=row.attempt, state=row.state)
        if noted is not None:
            plane.tell(job.id, "member", f"rank {rank} on {host_id} has ended: {ruling.reason}")
            return concluded(noted)
        fresh = plane.stores.jobs.get(row.id)
        if fresh is None or fresh.ended or fresh.attempt != row.attempt:
            return None
        if rank in fresh.ends:
            return concluded(fresh)
        row = fresh  # it was told to begin meanwhile
    log.warning("a member's end could not be noted", extra={"job": job.id, "rank": rank})
    return None


def concluded(job: Job) -> Whole | None:
    """What becomes of a gang by its row; None while a member has not ended."""
    return Whole(job, *gang.whole(job)) if gang.complete(job) else None
