"""What an attempt's end means for its job."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.job import Finish, Job, JobEvent
from chalicelib.core.job_spec import RetryOn
from chalicelib.core.spoken import count

FAULTS_MAX = 10  # hosts of ours that may fail a job before we stop trying and say so
GRADER = "grader"  # `Finish.cause` of a grader that is broken
GRADER_FAULTS_MAX = 1

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
    if finish.cause == GRADER:
        return _broken_grader(job, finish.reason)
    if finish.outcome == "infrastructure":
        return began_and_was_lost(job, finish.reason, interrupted=interrupted)
    event = _ENDS[finish.outcome]
    left = job.spec.max_attempts - job.charged - 1
    if event in (JobEvent.SUCCEED, JobEvent.CANCEL) or job.cancel_requested or left <= 0:
        return Verdict(event, finish.reason, charge=True)
    if not _worth_another(job, event, finish.exit_code):
        return Verdict(event, f"{finish.reason}; not tried again: {_unlisted(job)}", charge=True)
    return Verdict(JobEvent.RETRY, f"{finish.reason}; trying again ({count(left, 'attempt')} left)", charge=True)


def began_and_was_lost(job: Job, reason: str, *, interrupted: bool = False) -> Verdict:
    """An attempt that began and that no agent can finish: repeated only if the job allows repetition at all, and free of charge.

    Those that EC2 interrupted are repeated without end: the next one is on demand, where the pool has that.
    """
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, f"cancelled; {reason}")
    if job.spec.max_attempts <= 1:
        return Verdict(JobEvent.LOSE, f"{reason}; it may have begun, and it allows only one attempt")
    if (RetryOn.INTERRUPTION if interrupted else RetryOn.INFRASTRUCTURE) not in job.spec.retry_on:
        return Verdict(JobEvent.LOSE, f"{reason}; it may have begun, and it is not tried again: {_unlisted(job)}")
    if interrupted:
        return Verdict(JobEvent.RETRY, f"{reason}; trying again, not charged", interruption=True)
    if job.faults >= FAULTS_MAX:
        return Verdict(JobEvent.LOSE, f"given up after {job.faults + 1} hosts failed it: {reason}")
    return Verdict(JobEvent.RETRY, f"{reason}; trying again, not charged", fault=True)


def _broken_grader(job: Job, reason: str) -> Verdict:
    """Neither the submission's fault nor a host's: free of charge. Another host would find the same grader, so it is tried but once
    more."""
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, f"cancelled; {reason}")
    again = job.spec.max_attempts > 1 and RetryOn.INFRASTRUCTURE in job.spec.retry_on
    if not again or job.faults >= GRADER_FAULTS_MAX:
        return Verdict(JobEvent.LOSE, f"{reason}; this is not the fault of the submission, and it is not charged")
    return Verdict(JobEvent.RETRY, f"{reason}; trying once more, not charged", fault=True)


def never_began(job: Job, reason: str, *, fault: bool) -> Verdict:
    """An attempt that was taken back before it began waits again; not for ever, where it was hosts of ours that failed it (`fault`)."""
    if job.cancel_requested:
        return Verdict(JobEvent.CANCEL, f"cancelled before it began; {reason}")
    if fault and job.faults >= FAULTS_MAX:
        return Verdict(JobEvent.LOSE, f"given up after {job.faults + 1} hosts failed it before it began: {reason}")
    return Verdict(JobEvent.RELEASE, reason, fault=fault)


def _worth_another(job: Job, event: JobEvent, exit_code: int | None) -> bool:
    """Whether the job's `retry_on` lists how its own command ended: at its timeout, badly in any way, or with this very exit code."""
    wanted = job.spec.retry_on
    if event is JobEvent.TIME_OUT:
        return RetryOn.TIMEOUT in wanted
    return RetryOn.FAILURE in wanted or (exit_code is not None and f"exit:{exit_code}" in wanted)


def _unlisted(job: Job) -> str:
    return f"its retry_on is {', '.join(job.spec.retry_on) or 'empty'}"
