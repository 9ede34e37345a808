"""What an attempt's end means for its job."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.job import Finish, Job, JobEvent

FAULTS_MAX = 10  # hosts of ours that may fail a job before we stop trying and say so

_ENDS = {
    "succeeded": JobEvent.SUCCEED,
    "failed": JobEvent.FAIL,
    "timed_out": JobEvent.TIME_OUT,
    "cancelled": JobEvent.CANCEL,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The event for the job's machine, and who bears the attempt: the user's budget (`charge`), our patience (`fault`) or nobody."""

    event: JobEvent
    reason: str
    charge: bool = False
    fault: bool = False


def verdict(job: Job, finish: Finish) -> Verdict:
    """A finished attempt: the user's own failures are charged and retried as far as `max_attempts` goes; ours never are."""
    if finish.outcome == "infrastructure":
        return began_and_was_lost(job, finish.reason)
    event = _ENDS[finish.outcome]
    left = job.spec.max_attempts - job.charged - 1
    if event in (JobEvent.SUCCEED, JobEvent.CANCEL) or job.cancel_requested or left <= 0:
        return Verdict(event, finish.reason, charge=True)
    return Verdict(JobEvent.RETRY, f"{finish.reason}; trying again ({left} attempts left)", charge=True)


def began_and_was_lost(job: Job, reason: str) -> Verdict:
    """An attempt that began and that no agent can finish: repeated only if the job allows repetition at all, and free of charge."""
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, f"cancelled; {reason}")
    if job.spec.max_attempts <= 1:
        return Verdict(JobEvent.LOSE, f"{reason}; it may have begun, and it allows only one attempt")
    if job.faults >= FAULTS_MAX:
        return Verdict(JobEvent.LOSE, f"given up after {job.faults + 1} hosts failed it: {reason}")
    return Verdict(JobEvent.RETRY, f"{reason}; trying again, not charged", fault=True)


def never_began(job: Job, reason: str, *, fault: bool) -> Verdict:
    """An attempt that was taken back before it began waits again; not for ever, where it was hosts of ours that failed it (`fault`)."""
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, f"cancelled before it began; {reason}")
    if fault and job.faults >= FAULTS_MAX:
        return Verdict(JobEvent.LOSE, f"given up after {job.faults + 1} hosts failed it before it began: {reason}")
    return Verdict(JobEvent.RELEASE, reason, fault=fault)
