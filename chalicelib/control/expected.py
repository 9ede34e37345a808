"""How soon a job may begin, from what this process has of its pool's row: no request to AWS where that is some seconds old."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.control.submit import known_pool
from chalicelib.core.job import Job, JobState
from chalicelib.errors import StoreUnavailable
from chalicelib.wiring import Plane


def wait_s(plane: Plane, job: Job, beside: int = 0) -> float | None:
    """Seconds until it is expected to begin; None where it waits for nothing, for other jobs, or for what nobody can tell.

    `beside`: how many were submitted together with it, before it.
    """
    if job.state not in (JobState.PENDING, JobState.SCHEDULED):
        return None
    try:
        pool = known_pool(plane, job.pool)
    except StoreUnavailable:  # it is accepted all the same
        return None
    if pool is None or pool.spec.killed:
        return None
    now = plane.clock()
    early_s = max(0.0, (job.spec.not_before or now) - now) if job.state is JobState.SCHEDULED else 0.0
    expected_s = pool.expectation.wait_s(job.rank, job.spec.reservation, now, beside)
    return None if expected_s is None else round(early_s + expected_s, 1)


def waits_s(plane: Plane, jobs: Sequence[Job]) -> list[float | None]:
    """The same for jobs that were submitted together: each of them has those of its pool before it that stand before it."""
    order = sorted(range(len(jobs)), key=lambda index: jobs[index].rank)
    beside: dict[str, int] = {}
    waits: list[float | None] = [None] * len(jobs)
    for index in order:
        job = jobs[index]
        waits[index] = wait_s(plane, job, beside.get(job.pool, 0))
        beside[job.pool] = beside.get(job.pool, 0) + 1
    return waits
