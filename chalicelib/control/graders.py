"""Broken graders: staff is told once, not once for each student who handed in tonight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.control.notices import notify
from chalicelib.core.job import Finish, Job
from chalicelib.core.spoken import clock, count
from chalicelib.wiring import Plane

FOLD_S = 3600.0


def broken(plane: Plane, job: Job, finish: Finish) -> None:
    """An attempt of `job` has ended by the fault of its grader. The first of an hour is told, with how many came since the last one that
    was."""
    whose = f"family {job.spec.family}" if job.spec.family else f"{job.spec.adapter} jobs of {job.owner}"
    key, now = f"grader_broken/{job.owner}/{job.spec.family or job.spec.adapter}", plane.clock()
    last: Mapping[str, Any] = plane.stores.registry.setting(key) or {}
    told_at, unsaid = float(last.get("at", 0.0)), int(last.get("unsaid", 0))
    if now - told_at < FOLD_S:
        plane.stores.registry.put_setting(key, {"at": told_at, "unsaid": unsaid + 1})
        return
    plane.stores.registry.put_setting(key, {"at": now, "unsaid": 0})
    since = f" ({count(unsaid, 'more job')} since {clock(told_at)})" if unsaid else ""
    seen = f"{_bare(finish.reason)}; seen with {job.id}{since}"
    notify(
        plane,
        "grader_broken",
        "error",
        subject=job.spec.family or job.id,
        reason=f"the grader of {whose} is broken: {seen}. No submission is to blame, and none is charged",
        pool=job.pool,
        detail={
            "family": job.spec.family,
            "adapter": str(job.spec.adapter),
            "owner": job.owner,
            "job": job.id,
            "more": unsaid,
        },
    )


def _bare(reason: str) -> str:
    return reason.removeprefix("its grader is broken: ")
