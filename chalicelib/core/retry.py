"""What an attempt's end means for its job."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.job import Finish, Job, JobEvent

FREE_ATTEMPTS_MAX = 10  # attempts that ended by our fault before we stop trying and say so

_ENDS = {
    "succeeded": JobEvent.SUCCEED,
    "failed": JobEvent.FAIL,
    "timed_out": JobEvent.TIME_OUT,
    "cancelled": JobEvent.CANCEL,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The event for the job's machine, whether the attempt is charged, and the sentence that says why."""

    event: JobEvent
    charge: bool
    reason: str


def verdict(job: Job, finish: Finish) -> Verdict:
    """A finished attempt: the user's own failures are charged and retried as far as `max_attempts` goes; ours never are."""
    if finish.outcome == "infrastructure":
        return began_and_was_lost(job, finish.reason)
    event = _ENDS[finish.outcome]
    if job.cancel_requested or event in (JobEvent.SUCCEED, JobEvent.CANCEL):
        return Verdict(event, charge=True, reason=finish.reason)
    if job.charged + 1 < job.spec.max_attempts:
        left = job.spec.max_attempts - job.charged - 1
        return Verdict(JobEvent.RETRY, charge=True, reason=f"{finish.reason}; trying again ({left} attempts left)")
    return Verdict(event, charge=True, reason=finish.reason)


def began_and_was_lost(job: Job, reason: str) -> Verdict:
    """An attempt that began and that no agent can finish: repeated only if the job allows repetition at all, and free of charge."""
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, charge=False, reason=f"cancelled; {reason}")
    if job.spec.max_attempts > 1 and job.attempt - job.charged <= FREE_ATTEMPTS_MAX:
        return Verdict(JobEvent.RETRY, charge=False, reason=f"{reason}; trying again, not charged")
    return Verdict(JobEvent.LOSE, charge=False, reason=f"{reason}; it may have begun, and it allows only one attempt")


def never_began(job: Job, reason: str) -> Verdict:
    """An attempt that was taken back before it began goes to the backlog again - but not for ever."""
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, charge=False, reason=f"cancelled before it began; {reason}")
    if job.attempt - job.charged > FREE_ATTEMPTS_MAX:
        return Verdict(JobEvent.LOSE, charge=False, reason=f"given up after {job.attempt} assignments: {reason}")
    return Verdict(JobEvent.RELEASE, charge=False, reason=reason)
