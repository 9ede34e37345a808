"""Cancelling: what waits ends at once; what is on a host is flagged there, and the next pass takes it back or tells the host.

The flag on the job comes first. Whoever puts a job back into the backlog afterwards sees the flag and withdraws the job instead.
"""

from __future__ import annotations

from chalicelib.control.settle import withdraw
from chalicelib.control.wake import wake
from chalicelib.core.backlog import entry_of
from chalicelib.core.job import Job, JobEvent, sources
from chalicelib.errors import NotFound
from chalicelib.wiring import Plane


def cancel(plane: Plane, job_id: str) -> Job:
    """Ask for the end of a job; the job as it is then. A job that has ended stays as it is. Raises NotFound."""
    job = plane.stores.jobs.request_cancel(job_id) or plane.stores.jobs.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    if job.ended:
        return job
    if job.state in sources(JobEvent.WITHDRAW):
        ended = withdraw(plane, job)
        if ended is not None:
            plane.stores.backlog.remove(
                list({entry_of(job), entry_of(ended)})
            )  # it may have got another place meanwhile
            return ended
        job = plane.stores.jobs.get(job_id) or job  # a pass was quicker: it is on a host now
    if job.host is not None and not job.ended:
        if not job.gang:  # of a gang, the next pass asks the job's own row
            plane.stores.hosts.mark(job.pool, job.host, f"{job.id}#{job.attempt}", cancel=True)
            plane.stores.hosts.touch(job.pool, job.host, rung_at=0.0)
        wake(plane, job.pool)
    return job
