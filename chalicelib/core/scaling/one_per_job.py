"""A host for each job, as aws-runner and CBAS do."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.plan import Target
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import some


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePerJob:
    """It has no parameters."""


def one_per_job(view: PoolView, p: OnePerJob) -> Target:
    """One host for each job that waits, or that is on a host which may be given work.

    A job on a draining or unhealthy host has its host already, which this target does not count. Set `slots_per_host` to 1
    as well, else jobs share the hosts that are there.
    """
    jobs = view.queued + view.on_launching + max(0, view.on_healthy - view.on_draining)
    return Target(hosts=jobs, why=f"one host for each of {some(jobs, 'job')}", variables={"desired_jobs": float(jobs)})
