"""Another place in the queue for a job that waits.

Theory of operation. The rank on the job's row is the truth, and the backlog only its copy. Order: the row (conditional on the rank that was
read, so that of two people one is first), the new entry, then the old one is removed. Between the last two a pass may see both: it
takes one of them (`observe`), and whichever it takes, only one ASSIGN of the attempt succeeds. If a pass places the job between the row and
the new entry, that entry would outlive its attempt: so the row is read again after it is put, and it is taken back. What a crash
leaves of that, the sweep removes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from chalicelib.control.fairness import ranked
from chalicelib.control.submit import known_pool
from chalicelib.control.wake import wake
from chalicelib.core.backlog import entry_of
from chalicelib.core.job import Job, JobState
from chalicelib.errors import Conflict, Fault, NotFound
from chalicelib.wiring import Plane

TRIES_MAX = 5


def reprioritise(plane: Plane, job_id: str, priority: int) -> Job:
    """The job in another priority class, behind what its owner has there already. One that is on a host keeps it: the class counts when it
    waits again. Raises NotFound, and Conflict where it has ended, or others change its place all the time."""
    for _ in range(TRIES_MAX):
        job = plane.stores.jobs.get(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        if job.ended:
            raise Conflict(
                f"{job.id} has ended ({job.state}); it waits for nothing any more", (Fault("", "has ended"),)
            )
        if job.priority == priority:
            _settle(plane, job)  # again: a client's retry after a crash half way
            return job
        asked = replace(job, rank="", spec=replace(job.spec, priority=priority))
        (placed,) = ranked(plane, [asked], partial(known_pool, plane))
        moved = plane.stores.jobs.rerank(job.id, attempt=job.attempt, before=job.rank, rank=placed.rank)
        if moved is not None:
            plane.tell(job.id, "priority", f"{job.priority} → {priority}")
            _settle(plane, moved)
            plane.stores.backlog.remove([entry_of(job)])
            return moved
    raise Conflict(
        f"the place of {job_id} in the queue changes all the time; please try again", (Fault("", "is changed"),)
    )


def _settle(plane: Plane, job: Job) -> None:
    """The entry of a job that waits for a host, where its row says that it stands."""
    if job.state is not JobState.PENDING:
        return
    entry = entry_of(job)
    plane.stores.backlog.put(entry)
    now = plane.stores.jobs.get(job.id)
    if now is None or now.state is not JobState.PENDING or entry_of(now).rank != entry.rank:
        plane.stores.backlog.remove([entry])
    wake(plane, job.pool)
