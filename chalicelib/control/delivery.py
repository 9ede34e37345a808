"""Telling those who want to know that a job has ended. Ordered by a message on the timers queue, so that who ends a job never waits for
a webhook: {"v": 1, "kind": "ended", "job": id}. The message only says "look at this job"; what is still to be told, its row says."""

from __future__ import annotations

from chalicelib.control.notices import notify
from chalicelib.core.job import Job
from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def order(plane: Plane, job_id: str, delay_s: int = 0) -> None:
    """Ask for the delivery of an ended job. Where the queue cannot be reached, the tick's sweep asks again."""
    try:
        plane.cloud.queues.timer({"v": 1, "kind": "ended", "job": job_id}, delay_s)
    except CloudUnavailable as error:
        log.warning("the delivery of a job could not be ordered", extra={"job": job_id, "error": str(error)})


def deliver(plane: Plane, job_id: str) -> None:
    """Tell of the end of a job, whoever wants to know."""
    job = plane.stores.jobs.get(job_id)
    if job is None or not job.ended or job.delivered_at is not None:
        return
    if job.spec.notify is not None and job.spec.notify.topic:
        _to_topic(plane, job)


def _to_topic(plane: Plane, job: Job) -> None:
    notify(
        plane,
        "job_finished",
        "info",
        subject=job.id,
        reason=f"{job.spec.name or job.id} has ended: {job.state}, {job.reason}",
        pool=job.pool,
        detail={"state": job.state, "owner": job.owner, "labels": dict(job.spec.labels)},
    )
