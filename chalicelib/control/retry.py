"""A user's own retry: the same again, as a new job. What an attempt's end means for its job is `core/retry.py`'s."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.control.submit import Submitted, submit
from chalicelib.core.job import Job
from chalicelib.errors import Conflict, Fault
from chalicelib.wiring import Plane


def retry(plane: Plane, job: Job, *, priority: int | None = None, key: str | None = None) -> Submitted:
    """Submit a job that has ended again: now, with the version of its family that it ran, in its class or another one.

    `key`: an idempotency key; the same one again leads to the same new job. Raises Conflict while the job may still run: two of
    the same at a time are never meant. Raises BadRequest where its pool can run it no more.
    """
    if not job.ended:
        raise Conflict(
            f"{job.id} has not ended (it is {job.state}); cancel it, or wait for its end, before it is run again",
            (Fault("", f"{job.id} is {job.state}"),),
        )
    spec = replace(
        job.spec,
        priority=job.priority if priority is None else priority,
        not_before=None,  # its time has come, and those that it waited for have ended
        after=(),
        idempotency_key=f"retry/{job.id}/{key}" if key else None,
    )
    origin = {"origin": job.origin} if job.origin else {}  # who waits for an answer hears of this end, too
    return submit(plane, spec, job.owner, retry_of=job.id, **origin)
