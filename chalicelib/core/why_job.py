"""Why a job is where it is, in sentences: its state, what it waits for, what comes next, and how its attempts went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from chalicelib.core import why_gang
from chalicelib.core.graph import Fate, Ruling
from chalicelib.core.host import Host, HostState
from chalicelib.core.installs import RUNNING, words
from chalicelib.core.job import FINAL, Job, JobState
from chalicelib.core.rationing import throttled_until
from chalicelib.core.retry import GRADER
from chalicelib.core.spoken import ago, clock, count, duration, moment, sentence
from chalicelib.core.story import Line

ATTEMPTS_TOLD_MAX = 10

_IS = {
    JobState.SCHEDULED: "waits for its time",
    JobState.BLOCKED: "waits for other jobs",
    JobState.PENDING: "waits for a host",
    JobState.ASSIGNED: "is placed on a host and has not begun, as far as we heard",
    JobState.RUNNING: "runs",
    JobState.SUCCEEDED: "has succeeded",
    JobState.FAILED: "has failed",
    JobState.TIMED_OUT: "was stopped at its timeout",
    JobState.CANCELLED: "was cancelled",
    JobState.LOST: "is lost: it may have run, and nobody can tell how it ended",
    JobState.SKIPPED: "was skipped",
}

_RAN = (JobState.SUCCEEDED, JobState.FAILED, JobState.TIMED_OUT)  # nobody can end so who has not begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a plan that was made just now says of a pending job.

    `coming`: what the next look at the pool will do with it. `waits`: why it found no place. `ahead`: how many jobs are before it
    in the queue, None where it is too far behind to be seen. `wait_s`: how long until it begins, as far as can be told.
    """

    coming: tuple[str, ...] = ()
    waits: str = ""
    ahead: int | None = None
    wait_s: float | None = None


def why_job(
    job: Job,
    story: Sequence[Line],
    now: float,
    *,
    host: Host | None,
    outlook: Outlook | None,
    awaited: Ruling | None = None,
    backoff_until: float = 0.0,
    members: Mapping[str, Host] = MappingProxyType({}),
) -> list[str]:
    """Sentences, the most important first. `host`: the row of the host it names, while there is one; `members`: those of a gang's
    hosts, by id. `awaited`: of a blocked job, how those stand whom it waits for. `backoff_until`: until then its pool asks EC2 nothing."""
    told = [
        _state(job, now),
        *_reasons(job, outlook),
        *_others(job, awaited),
        *(why_gang.places(job, members, now) if job.gang else _place(job, host, now, backoff_until)),
        *_progress(job, now),
        *_next(job, outlook, now),
    ]
    told += [*_attempts(job, story, now), *_price(job), *_told(job, now)]
    return [sentence(text) for text in told if text]


def _state(job: Job, now: float) -> str:
    name = f" ({job.spec.name})" if job.spec.name else ""
    since = job.entered.get(job.state, job.submitted_at)
    when = f"since {duration(now - since)}" if job.state not in FINAL else ago(since, now)
    broken = job.state is JobState.LOST and job.finish is not None and job.finish.cause == GRADER
    what = "has no mark, since its grader is broken" if broken else _IS[job.state]
    return f"{job.id}{name} of pool {job.pool} {what}: {when} ({clock(since)}), attempt {job.attempt}"


def _reasons(job: Job, outlook: Outlook | None) -> Iterator[str]:
    if job.retry_of is not None:
        yield f"It is {job.retry_of}, run again"
    if job.reason and job.reason != "submitted":
        yield f"The reason of its last change: {job.reason}"
    if job.state is JobState.PENDING:
        waits = (outlook.waits if outlook else "") or job.waiting_for
        if waits and not (outlook and outlook.coming):
            yield f"What it waits for: {waits}"


def _others(job: Job, awaited: Ruling | None) -> Iterator[str]:
    if awaited is None:
        return
    if awaited.fate is not Fate.WAIT:
        yield f"That is over, and the next sweep settles it: {awaited.reason}"
        return
    yield f"What it waits for: {awaited.reason}"
    yield (
        "It is skipped if one of those ends badly" if job.spec.after_on == "success" else "How they end does not matter"
    )


def _place(job: Job, host: Host | None, now: float, backoff_until: float) -> Iterator[str]:
    if job.state not in (JobState.ASSIGNED, JobState.RUNNING) or job.host is None:
        return
    if host is None:
        yield f"The row of its host {job.host} is gone; the next sweep settles this attempt"
        return
    yield f"Its host {host.id} is {host.state} since {duration(now - host.entered_at)}: {host.reason or 'it gave no reason'}"
    held = next((a for a in host.assignments if a.job == job.id and a.attempt == job.attempt), None)
    if held is None:
        yield "Its host does not carry it any more; the next sweep settles this attempt"
    elif job.state is JobState.ASSIGNED:
        if host.state is HostState.LAUNCHING:
            if host.instance_id is None:
                held_up = f": {throttled_until(backoff_until)}, and then sent again" if backoff_until > now else ""
                yield f"EC2 has not answered the launch of its host yet{held_up}"
            yield "It begins when its host has booted"
        elif running := [one for one in host.installs if one.state == RUNNING and held.key in one.waiting]:
            yield f"It begins when its host has installed what it needs: {words(running[0])}, since {duration(now - running[0].at)}"
        elif held.accepted_at:
            yield f"Its host accepted it {ago(held.accepted_at, now)} and begins it when there is room"
        else:
            yield "Its host has not said yet that it heard of it"


def _progress(job: Job, now: float) -> Iterator[str]:
    """How far it says that it is, and what its next attempt would continue from."""
    known, kept = job.progress, job.progress.kept
    if job.state is JobState.RUNNING and known.attempt == job.attempt:
        moved = ago(known.moved_at, now) if known.moved_at is not None else ""
        if known.stalled_at is not None:
            limit = "" if job.spec.stall_s is None else f", longer than its stall_s of {duration(job.spec.stall_s)}"
            yield f"It has stalled: it runs, but its last progress was {moved}{limit}"
        if known.told:
            yield f"It says of itself: {known.words} ({moved})"
        if known.problem:
            yield f"Nothing new is kept for a next attempt: {known.problem}"
    if kept and not job.ended:
        size = f"{kept[0].bytes / (1 << 20):.3g} MiB" if kept[0].bytes >= 1 << 20 else count(kept[0].bytes, "byte")
        of = f"of attempt {kept[0].attempt}, {ago(kept[0].at, now)}, {size}"
        yield f"Its last checkpoint is {of}; its next attempt, where it has one, continues from it"


def _next(job: Job, outlook: Outlook | None, now: float) -> Iterator[str]:
    if job.cancel_requested and not job.ended:
        yield "Its cancellation was asked for: it ends as soon as its host has heard of it, or at the next look at its pool"
    if job.state is JobState.SCHEDULED and job.spec.not_before is not None:
        yield f"It waits for a host from {moment(job.spec.not_before)} on, {ago(job.spec.not_before, now)}"
    if job.state is JobState.RUNNING:
        ends_at = job.entered.get(JobState.RUNNING, now) + job.spec.timeout_s
        left = f"in {duration(ends_at - now)}" if ends_at > now else f"was to be {ago(ends_at, now)}"
        yield f"It is stopped at the latest at {clock(ends_at)} ({left}): its timeout is {duration(job.spec.timeout_s)}"
    if job.state is JobState.PENDING and job.spec.queue_ttl_s is not None:
        until = job.queued_at + job.spec.queue_ttl_s
        held = duration(job.spec.queue_ttl_s)
        yield f"It is skipped at {clock(until)} ({ago(until, now)}) if it has no host by then: its queue_ttl_s is {held}"
    if outlook is None or job.ended:
        return
    for coming in outlook.coming:
        yield f"The next look at its pool will do this: {coming}"
    if job.state is JobState.PENDING:
        if outlook.ahead is None:
            yield "So many jobs are before it in the queue that it cannot be seen from the head"
        elif not outlook.coming:
            yield (
                f"{count(outlook.ahead, 'job is', 'jobs are')} before it in the queue"
                if outlook.ahead
                else "It is the first in the queue"
            )
    if outlook.wait_s is not None:
        yield (
            f"It is expected to begin in about {duration(outlook.wait_s)}"
            if outlook.wait_s >= 1
            else "It is expected to begin at once"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """An attempt that has ended: the lines that say so, and that it began (if it did, as far as we heard)."""

    number: int
    end: Line
    began: Line | None


def _attempts(job: Job, story: Sequence[Line], now: float) -> Iterator[str]:
    """One sentence for each attempt that has ended, oldest first; of a job that had one only, how long it waited and ran."""
    ended = _ended(story)
    if len(ended) == 1 and job.ended and job.attempt == 1:
        only = ended[0]
        if only.began:
            waited_s, ran_s = only.began.at - job.submitted_at, only.end.at - only.began.at
            yield f"It waited {duration(waited_s)} before it began, and ran for {duration(ran_s)}"
        return
    if len(ended) > ATTEMPTS_TOLD_MAX:
        yield f"{count(len(ended) - ATTEMPTS_TOLD_MAX, 'earlier attempt')} ended before those that follow"
    for attempt in ended[-ATTEMPTS_TOLD_MAX:]:
        end = attempt.end
        fate = "the job waited again" if end.event == JobState.PENDING else f"the job {_IS[JobState(end.event)]}"
        if attempt.began:
            ran = f"ran for {duration(end.at - attempt.began.at)}"
        elif end.event in _RAN:
            ran = "ran, and its end was heard before its beginning"
        else:
            ran = "did not begin, as far as we heard"
        why = end.reason or "the reason was not kept"
        yield f"Attempt {attempt.number} {ran}; it ended {ago(end.at, now)}, and {fate}: {why}"


def _ended(story: Sequence[Line]) -> list[_Attempt]:
    """The attempts whose end a story tells of: the job goes back to `pending`, or ends for good."""
    attempts: list[_Attempt] = []
    placed: Line | None = None
    began: Line | None = None
    for line in story:
        if line.event == JobState.ASSIGNED:
            placed = line
        elif line.event == JobState.RUNNING:
            began = line
        elif line.event in FINAL or (line.event == JobState.PENDING and (placed or began)):
            if placed or began:
                attempts.append(_Attempt(number=len(attempts) + 1, end=line, began=began))
            placed = began = None
    return attempts


def _told(job: Job, now: float) -> Iterator[str]:
    """Whether those who wanted to know of its end have been told."""
    if not job.ended or not job.listeners:
        return
    who, telling = ", ".join(job.listeners), job.telling
    if job.delivered_at is not None:
        yield f"Its end was told ({who}) {ago(job.delivered_at, now)}"
    elif telling.given_up:
        yield f"Nobody could be told of its end ({who}) in {count(telling.tries, 'try', 'tries')}, and it was given up: {telling.fault}"
    elif telling.tries:
        left = ", ".join(name for name in job.listeners if name not in telling.told)
        fault = telling.fault.removeprefix(f"{left}: ")  # where one alone is left, it is named already
        yield f"Its end could not be told to {left} yet: {fault}; the next try is {ago(telling.due_at, now)}"
    else:
        yield f"Its end is being told ({who})"


def _price(job: Job) -> Iterator[str]:
    if job.charged and job.spec.max_attempts > 1:
        yield f"{job.charged} of the {job.spec.max_attempts} attempts that it may have are used up"
    if job.interruptions:
        again = "" if job.ended else ": it is tried again on demand, where its pool has that"
        yield f"EC2 took back the host of {count(job.interruptions, 'attempt')}, which cost it nothing{again}"
    if job.faults:
        yield f"{count(job.faults, 'attempt')} ended through no fault of the job and {'was' if job.faults == 1 else 'were'} free"
