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
    """The event for the job's machine, and who bears the attempt: the user's budget (`charge`), our patience (`fault`) or nobody.

    `interruption`: EC2 took its host back while it may have run: nobody's fault, and a reason to try it on demand.
    """

    event: JobEvent
    reason: str
    charge: bool = False
    fault: bool = False
    interruption: bool = False


def verdict(job: Job, finish: Finish, *, interrupted: bool = False) -> Verdict:
    """A finished attempt: the user's own failures are charged and retried as far as `max_attempts` goes; ours never are.

    `interrupted`: EC2 takes its host back; what its agent could not finish for that is not the agent's fault.
    """
    if finish.outcome == "infrastructure":
        return began_and_was_lost(job, finish.reason, interrupted=interrupted)
    event = _ENDS[finish.outcome]
    left = job.spec.max_attempts - job.charged - 1
    if event in (JobEvent.SUCCEED, JobEvent.CANCEL) or job.cancel_requested or left <= 0:
        return Verdict(event, finish.reason, charge=True)
    return Verdict(JobEvent.RETRY, f"{finish.reason}; trying again ({left} attempts left)", charge=True)


def began_and_was_lost(job: Job, reason: str, *, interrupted: bool = False) -> Verdict:
    """An attempt that began and that no agent can finish: repeated only if the job allows repetition at all, and free of charge.

    Those that EC2 interrupted are repeated without end: the next one is on demand, where the pool has that.
    """
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, f"cancelled; {reason}")
    if job.spec.max_attempts <= 1:
        return Verdict(JobEvent.LOSE, f"{reason}; it may have begun, and it allows only one attempt")
    if interrupted:
        return Verdict(JobEvent.RETRY, f"{reason}; trying again, not charged", interruption=True)
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
