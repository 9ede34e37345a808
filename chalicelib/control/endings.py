"""What follows the end of a job, whatever ended it. Every write that moves a job into a final state calls `ended` after it.

A crash between the two is found by the tick's sweep.
"""

from __future__ import annotations

from chalicelib.control import delivery
from chalicelib.core.job import Job
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def ended(plane: Plane, job: Job) -> None:
    """`job` is as the final write left it."""
    log.info("a job has ended", extra={"job": job.id, "state": job.state, "took_s": plane.clock() - job.submitted_at})
    if job.listeners:
        delivery.order(plane, job.id)
