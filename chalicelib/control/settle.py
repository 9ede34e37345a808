"""How an attempt ends in the tables. Order of the writes: job first, host second; each step finds "already so" and goes on.

`finished` is told by an agent; `gone` and `reclaim` are concluded by a pass, and take the attempt back only by winning
its claim, so that it never runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.control import gang_ends, graders, quotas
from chalicelib.control.endings import ended
from chalicelib.control.kept import kept_until
from chalicelib.core.backlog import entry_of
from chalicelib.core.gang import member_verdict
from chalicelib.core.host import Assignment, Host
from chalicelib.core.job import Finish, Job, JobEvent, JobState, target
from chalicelib.core.retry import GRADER, Verdict, began_and_was_lost, never_began, verdict
from chalicelib.core.spoken import clock
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

CLAIM_TTL_S = 1_209_600.0  # 14 days: longer than any message may travel


def finished(plane: Plane, pool: str, host: str, userid: str, job_id: str, attempt: int, finish: Finish) -> Job | None:
    """Apply an agent's finish ping; the job as it is then, or None if the ping was late and changed nothing."""
    interrupted = False
    if finish.outcome == "infrastructure":  # the same message may have told of it, so the row as it is now
        row = plane.stores.hosts.get(pool, host)
        interrupted = row is not None and row.interrupt_at is not None
    job = plane.stores.jobs.get(job_id)
    moved = None
    if job is not None and job.attempt == attempt and not job.ended and job.on(host):
        meaning = member_verdict if job.gang else verdict
        moved = _end(
            plane, job, host, lambda row: meaning(row, finish, interrupted=interrupted), userid=userid, finish=finish
        )
    if moved is not None and finish.cause == GRADER:
        graders.broken(plane, moved, finish)
    plane.stores.hosts.unassign(pool, host, f"{job_id}#{attempt}", plane.clock())
    return moved


def gone(plane: Plane, host: Host, assignment: Assignment, reason: str, *, begun: bool = False) -> Job | None:
    """The host is gone: an attempt that never began goes back to the backlog, one that may have begun is lost or repeated.

    `begun`: nobody knows whose claim to win, and it may have begun.
    """
    job = plane.stores.jobs.get(assignment.job)
    moved = None
    if _is_current(job, host.id, assignment.attempt) and job is not None:
        moved = _end(
            plane,
            job,
            host.id,
            lambda row: (
                began_and_was_lost(row, reason) if begun and not row.gang else _ruling(plane, row, host, reason)
            ),
        )
    plane.stores.hosts.unassign(host.pool, host.id, assignment.key, plane.clock())
    return moved


def reclaim(plane: Plane, host: Host, assignment: Assignment, reason: str, *, unbegun: bool = False) -> Job | None:
    """Take back what has not begun there: the host is not trusted, or the job is cancelled. What has begun is left to run.

    `unbegun`: its agent says that it never will, whoever has the claim.
    """
    job = plane.stores.jobs.get(assignment.job)
    if not _is_current(job, host.id, assignment.attempt) or job is None:
        if assignment.rank is not None:  # its agent may know of it, and would wait for a go that never comes
            _won_back(plane, host.userid, assignment.job, assignment.attempt)
        plane.stores.hosts.unassign(host.pool, host.id, assignment.key, plane.clock())
        return None
    won = _won_back(plane, host.userid, assignment.job, assignment.attempt) or unbegun
    if not won and not _waits_for_go(job):
        plane.stores.hosts.mark(host.pool, host.id, assignment.key, started_at=plane.clock())
        return None

    def taken_back(row: Job) -> Verdict | None:
        back = won or _waits_for_go(row)
        return never_began(row, reason, fault=host.interrupt_at is None) if back else None

    moved = _end(plane, job, host.id, taken_back)
    if (
        moved is None
        and not won
        and (row := plane.stores.jobs.get(job.id)) is not None
        and row.state is JobState.RUNNING
    ):
        return None  # it was told to begin in the same moment
    plane.stores.hosts.unassign(host.pool, host.id, assignment.key, plane.clock())
    return moved


def unfit(plane: Plane, host: Host, reasons: Mapping[str, str]) -> bool:
    """End what can never be handed over (`reasons` by assignment), unless it has begun from an earlier one; whether anything ended."""
    any_ended = False
    for assignment in host.assignments:
        reason = reasons.get(assignment.key)
        job = plane.stores.jobs.get(assignment.job) if reason is not None else None
        if reason is None or job is None or not _is_current(job, host.id, assignment.attempt):
            continue
        if _won_back(plane, host.userid, assignment.job, assignment.attempt):
            finish = Finish(outcome="failed", reason=reason, finished_at=plane.clock())
            ruling = Verdict(JobEvent.FAIL, reason)
            _end(plane, job, host.id, lambda row, ruling=ruling: ruling, finish=finish)  # type: ignore[misc]  # bound now
            plane.stores.hosts.unassign(host.pool, host.id, assignment.key, plane.clock())
            any_ended = True
    return any_ended


def abandoned(plane: Plane, job: Job, host_id: str, host: Host | None, reason: str) -> Job | None:
    """Its host does not carry this assigned job: back to the backlog if its claim can be won, lost or repeated if it began.

    Where the host's row is no more (it has expired), nobody knows whose claim to win, and the attempt may have begun.
    """

    def rule(row: Job) -> Verdict:
        if host is not None:
            return _ruling(plane, row, host, reason)
        return never_began(row, reason, fault=True) if _waits_for_go(row) else began_and_was_lost(row, reason)

    return _end(plane, job, host_id, rule)


def concluded(plane: Plane, job: Job) -> Job | None:
    """A gang all of whose members' ends are noted, and whoever noted the last one died before the job was moved."""
    done = gang_ends.concluded(job)
    return _apply(plane, done.job, done.ruling, userid=done.end.userid, finish=done.end.finish) if done else None


def unheard(plane: Plane, host: Host, job_id: str, attempt: int, reason: str) -> Job | None:
    """An attempt that ended, and nobody will ever know how: lost, or repeated where the job allows that; not charged."""
    job = plane.stores.jobs.get(job_id)
    moved = None
    if _is_current(job, host.id, attempt) and job is not None:

        def rule(row: Job) -> Verdict:
            return never_began(row, reason, fault=True) if _waits_for_go(row) else began_and_was_lost(row, reason)

        moved = _end(plane, job, host.id, rule, userid=host.userid)
    plane.stores.hosts.unassign(host.pool, host.id, f"{job_id}#{attempt}", plane.clock())
    return moved


def withdraw(plane: Plane, job: Job) -> Job | None:
    """End a job that waits and is to be cancelled; None if a pass was quicker, and it is on a host now."""
    now = plane.clock()
    moved = plane.stores.jobs.move(
        job.id,
        JobEvent.WITHDRAW,
        attempt=job.attempt,
        at=now,
        reason="cancelled before it began",
        expires_at=kept_until(plane, job, now),
        untold=bool(job.listeners),
    )
    if moved is not None:
        ended(plane, moved)
    return moved


def skip(plane: Plane, job: Job, reason: str) -> Job | None:
    """End a job that waits and is not to run at all; None if it is on a host by now, has ended, or waits with another attempt."""
    now = plane.clock()
    moved = plane.stores.jobs.move(
        job.id,
        JobEvent.SKIP,
        attempt=job.attempt,
        at=now,
        reason=reason,
        expires_at=kept_until(plane, job, now),
        untold=bool(job.listeners),
    )
    if moved is not None:
        ended(plane, moved)
    return moved


def _ruling(plane: Plane, job: Job, host: Host, reason: str) -> Verdict:
    """What becomes of an attempt whose host is gone; a host without userid never had an instance."""
    interrupted = host.interrupt_at is not None
    if host.interrupt_at is not None:
        reason = f"EC2 took {host.id} back at {clock(host.interrupt_at)}: {reason}"
    if _won_back(plane, host.userid, job.id, job.attempt) or _waits_for_go(job):
        return never_began(job, reason, fault=host.userid is not None and not interrupted)
    return began_and_was_lost(job, reason, interrupted=interrupted)


def _is_current(job: Job | None, host: str, attempt: int) -> bool:
    """Whether the job's row speaks of this very attempt on this very host."""
    return (
        job is not None
        and job.attempt == attempt
        and job.on(host)
        and job.state in (JobState.ASSIGNED, JobState.RUNNING)
    )


def _waits_for_go(job: Job) -> bool:
    """Whether it is a gang that nobody has told to begin: whoever has claimed it waits for that."""
    return job.gang and job.state is JobState.ASSIGNED


def _won_back(plane: Plane, userid: str | None, job_id: str, attempt: int) -> bool:
    """Win the claim for ourselves: then the attempt has not begun and never will."""
    if userid is None:
        return True  # no instance was ever recorded for the host: nobody could have claimed
    claims, now = plane.stores.claims, plane.clock()
    if claims.take(userid, job_id, attempt, by="control", at=now, expires_at=now + CLAIM_TTL_S):
        return True
    return claims.holder(userid, job_id, attempt) == "control"  # won before a crash


def _end(
    plane: Plane,
    job: Job,
    host: str,
    rule: Callable[[Job], Verdict | None],
    *,
    userid: str | None = None,
    finish: Finish | None = None,
) -> Job | None:
    """The attempt has ended on that host; the job as it is then, None if it goes on or was settled already. Of a gang, only the last of
    its members' ends moves the job. `rule`: what the end means by the row as it is."""
    if not job.gang:
        ruling = rule(job)
        return _apply(plane, job, ruling, userid=userid, finish=finish) if ruling is not None else None
    done = gang_ends.ended(plane, job, host, rule, userid=userid, finish=finish)
    return _apply(plane, done.job, done.ruling, userid=done.end.userid, finish=done.end.finish) if done else None


def _apply(
    plane: Plane, job: Job, ruling: Verdict, *, userid: str | None = None, finish: Finish | None = None
) -> Job | None:
    """Move the job; put it into the backlog again where the ruling says so."""
    event = ruling.event
    if event is JobEvent.RELEASE and job.state is JobState.RUNNING:
        event = JobEvent.RETRY  # a start ping cannot be, where the claim was ours; the table has one word for it
    quotas.charge(plane, job, finish)
    now = plane.clock()
    moved = plane.stores.jobs.move(
        job.id,
        event,
        attempt=job.attempt,
        at=now,
        reason=ruling.reason,
        userid=userid,
        finish=finish,
        charge=ruling.charge,
        fault=ruling.fault,
        interruption=ruling.interruption,
        expires_at=kept_until(plane, job, now),
        untold=bool(job.listeners),
    )
    if moved is None:
        log.info("an attempt was settled already", extra={"job": job.id, "attempt": job.attempt, "event": event})
        return None
    if target(event) is JobState.PENDING and moved.cancel_requested:
        return withdraw(plane, moved)  # the flag was set in the same moment, when the job was still on its host
    if target(event) is JobState.PENDING:
        plane.stores.backlog.put(entry_of(moved))
    log.info(
        "settled an attempt",
        extra={"job": job.id, "attempt": job.attempt, "state": moved.state, "reason": ruling.reason},
    )
    if moved.ended:
        ended(plane, moved)
    return moved
