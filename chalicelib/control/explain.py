"""What would be done, and what was done and why: reads only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from chalicelib.control.reconcile_pool import observe
from chalicelib.core.job import Job
from chalicelib.core.plan import Plan
from chalicelib.core.pool import Pool
from chalicelib.core.reconcile import reconcile
from chalicelib.core.story import Line
from chalicelib.wiring import Plane


def plan(plane: Plane, pool: Pool) -> Plan:
    """The plan that a pass would perform now."""
    snapshot, _ = observe(plane, pool)
    return reconcile(snapshot)


def job_story(plane: Plane, job: Job) -> list[dict[str, Any]]:
    """A job's story, oldest first: the lines that were told, and the states that its row remembers."""
    told = plane.stores.story.of(job.id)
    known = {line.event for line in told}
    remembered = [
        Line(at=at, subject=job.id, event=state, reason=job.reason if state == job.state else "")
        for state, at in job.entered.items()
        if state not in known
    ]
    return [asdict(line) for line in sorted([*told, *remembered], key=lambda line: line.at)]
