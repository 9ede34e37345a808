"""When a job passed each stage of its life, as far as that is told of its present attempt: an earlier one's times are not this one's."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.job import Job, JobState

_WAITS = (JobState.SCHEDULED, JobState.BLOCKED, JobState.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Epoch seconds; None: not yet, or it was passed over (a finish may overtake its start, a cancelled job has none)."""

    submitted_at: float
    assigned_at: float | None
    started_at: float | None
    finished_at: float | None
    delivered_at: float | None


def phases(job: Job) -> Phases:
    """`started_at` and `finished_at` are the agent's own word where it has told the end."""
    entered, finish = job.entered, job.finish if job.ended else None
    waited_at = max((entered.get(state, 0.0) for state in _WAITS), default=0.0)
    assigned_at = entered.get(JobState.ASSIGNED)
    if job.state in _WAITS or (assigned_at is not None and assigned_at < waited_at):
        assigned_at = None  # it went back, and waits, or has ended while it waited
    started_at = entered.get(JobState.RUNNING) if assigned_at is not None else None
    if job.state is JobState.ASSIGNED or (started_at is not None and job.attempt > 1 and started_at < waited_at):
        started_at = None
    ended_at = entered.get(job.state) if job.ended else None
    return Phases(
        submitted_at=job.submitted_at,
        assigned_at=assigned_at,
        started_at=finish.started_at or started_at if finish and assigned_at is not None else started_at,
        finished_at=finish.finished_at if finish and assigned_at is not None else ended_at,
        delivered_at=job.delivered_at,
    )
