"""A gang: one job on several hosts at once. What its members' ends mean, and what a pass does about gangs that are placed.

Theory of operation (docs/adr/0022). The job's row names its members by rank, and each of these hosts carries an assignment of it. While the
job is `assigned` nobody has begun: members claim, say that they are ready, and wait for the go, which is the job's move to `running`.
So before the go an attempt is taken back without anybody's leave, whatever claims are held; after it, any member may have begun.

Each member's end is noted on the row; the first that is no success is the cause. From then on no go is given, and whoever runs is told
to end. When all have ended the job ends, or waits again, as its cause would have it on one host.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from chalicelib.core.consistency import RESUME_AFTER_S
from chalicelib.core.doorbell import RING_AGAIN_S
from chalicelib.core.host import Assignment, Host, HostState
from chalicelib.core.installs import RUNNING
from chalicelib.core.job import End, Finish, Job, JobEvent, JobState
from chalicelib.core.plan import Go, Halt, Reclaim
from chalicelib.core.retry import Verdict, never_began, verdict
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.spoken import clock, count

READY_MAX_S = (
    1200.0  # so long the last one may take from when all hosts are there: inputs and installs come before its claim
)
LOG_KEPT_CHARS = 1024  # of what a member of another rank than 0 printed, where it did not cause the end

Carrier = tuple[Host, Assignment]
Carried = Mapping[tuple[str, int], list[Carrier]]

# -- what ends mean


def member_verdict(job: Job, finish: Finish, *, interrupted: bool) -> Verdict:
    """What a member's finish means for its part. Before the go nothing can have begun: only a fault of the job's own ends it for good."""
    if job.state is JobState.RUNNING or finish.outcome == "failed":
        return verdict(job, finish, interrupted=interrupted)
    return never_began(job, finish.reason, fault=finish.outcome == "infrastructure" and not interrupted)


def end_of(job: Job, rank: int, ruling: Verdict, at: float, userid: str | None, finish: Finish | None) -> End:
    """What is noted of it. The row has to hold those of a hundred members: result and files are kept of rank 0 and of the cause."""
    causes = job.cause is None and ruling.event is not JobEvent.SUCCEED
    if finish is not None and rank and not causes:
        text = finish.log.text
        log = replace(finish.log, text=text if text is None or len(text) <= LOG_KEPT_CHARS else None)
        finish = replace(finish, result=None, outputs=(), log=log)
    return End(
        event=ruling.event,
        reason=ruling.reason,
        at=at,
        userid=userid,
        charge=ruling.charge,
        fault=ruling.fault,
        interruption=ruling.interruption,
        finish=finish,
    )


def complete(job: Job) -> bool:
    """Whether all its members have ended."""
    return bool(job.members) and len(job.ends) == len(job.members)


def whole(job: Job) -> tuple[Verdict, End]:
    """What becomes of a job all of whose members have ended, and whose end speaks for it."""
    if job.cause is None:
        end = job.ends[0]
        said = f"all {len(job.members)} hosts of it succeeded; rank 0: {end.reason}"
        return Verdict(JobEvent.SUCCEED, said, charge=True), replace(end, finish=_summed(job, end.finish))
    end = job.ends[job.cause]
    said = f"rank {job.cause} of {len(job.members)}, on {job.members[job.cause]}: {end.reason}"
    ruling = Verdict(end.event, said, charge=end.charge, fault=end.fault, interruption=end.interruption)
    return ruling, replace(end, finish=_summed(job, end.finish))


def _summed(job: Job, finish: Finish | None) -> Finish | None:
    """The finish with what all members used together, from the first beginning to the last end."""
    if finish is None:
        return None
    told = [end.finish for end in job.ends.values() if end.finish is not None]
    cpu_s = [each.cpu_s for each in told if each.cpu_s is not None]
    memory = [each.memory_peak_mib for each in told if each.memory_peak_mib is not None]
    began = [each.started_at for each in told if each.started_at is not None]
    return replace(
        finish,
        cpu_s=round(sum(cpu_s), 6) if cpu_s else None,
        memory_peak_mib=max(memory, default=None),
        started_at=min(began, default=None),
        finished_at=max(each.finished_at for each in told),
    )


# -- what a pass does


def orders(s: Snapshot, carried: Carried) -> Iterator[Go | Halt | Reclaim]:
    """What is to be done about the gangs that hosts carry."""
    for (job_id, attempt), carriers in carried.items():
        job = s.gangs.get(job_id)
        if job is None or job.attempt != attempt or job.ended or job.state is JobState.PENDING:
            yield from _unconfirmed(s, carriers)
        elif job.state is JobState.ASSIGNED:
            yield from _gathering(s, job, carriers)
        else:
            yield from _running(job, carriers)


def rings(s: Snapshot, carried: Carried) -> list[str]:
    """Hosts that were told to begin and have not said that they do."""
    return [host.id for host, due in _go_due(s, carried) if s.now >= due]


def due(s: Snapshot, carried: Carried) -> Iterator[float]:
    """The moments at which something here would be another answer, if nothing else happens."""
    yield from (max(at, s.now + RING_AGAIN_S) for _, at in _go_due(s, carried))
    for (job_id, _), carriers in carried.items():
        job = s.gangs.get(job_id)
        if job is not None and job.state is JobState.ASSIGNED and (at := _late_at(carriers)) is not None and at > s.now:
            yield at + 1.0
        for _, a in carriers:
            if (job is None or job.state is JobState.PENDING) and a.assigned_at + RESUME_AFTER_S >= s.now:
                yield max(a.assigned_at + RESUME_AFTER_S, s.now) + 1.0


def _go_due(s: Snapshot, carried: Carried) -> Iterator[tuple[Host, float]]:
    for (job_id, attempt), carriers in carried.items():
        job = s.gangs.get(job_id)
        if job is None or job.attempt != attempt or job.state is not JobState.RUNNING:
            continue
        for host, a in carriers:
            if a.started_at is None and not a.cancel and host.state in (HostState.READY, HostState.DRAINING):
                yield host, max(host.rung_at or 0.0, job.entered.get(JobState.RUNNING, 0.0)) + RING_AGAIN_S


def carried(hosts: Iterable[Host]) -> Carried:
    """Gangs' attempts (job, attempt) that hosts carry, with those hosts by rank."""
    found: defaultdict[tuple[str, int], list[Carrier]] = defaultdict(list)
    for host in hosts:
        for a in host.assignments:
            if a.rank is not None:
                found[a.job, a.attempt].append((host, a))
    for carriers in found.values():
        carriers.sort(key=lambda carrier: carrier[1].rank or 0)
    return found


def _unconfirmed(s: Snapshot, carriers: Sequence[Carrier]) -> Iterator[Reclaim]:
    """Its job's row does not speak of this attempt: what a pass that died left behind, or of an attempt that is over."""
    for host, a in carriers:
        if host.state is not HostState.TERMINATED and s.now - a.assigned_at > RESUME_AFTER_S:
            yield Reclaim(host, a, "its gang is not placed so")


def _gathering(s: Snapshot, job: Job, carriers: Sequence[Carrier]) -> Iterator[Go | Reclaim]:
    trouble = _trouble(s, job, carriers)
    if trouble is not None:
        first, reason = trouble
        for host, a in sorted(carriers, key=lambda carrier: carrier is not first):
            if host.state is not HostState.TERMINATED:
                yield Reclaim(host, a, reason)
    elif [a.rank for _, a in carriers] == list(range(len(job.members))) and all(a.ready_at for _, a in carriers):
        yield Go(
            job.id,
            job.attempt,
            tuple(host for host, _ in carriers),
            tuple(a.address or "" for _, a in carriers),
            f"all {len(carriers)} have the claim and are ready",
        )


def _trouble(s: Snapshot, job: Job, carriers: Sequence[Carrier]) -> tuple[Carrier | None, str] | None:
    """Why it cannot begin, and whose fault that is."""
    if job.cancel_requested:
        return None, "it is cancelled"
    if job.cause is not None:
        return (
            None,
            f"rank {job.cause} will not begin ({job.ends[job.cause].reason}), and they begin together or not at all",
        )
    for applies, words in _TROUBLES:
        for carrier in carriers:
            if applies(carrier[0]):
                return carrier, words(carrier[0])
    late_at = _late_at(carriers)
    if late_at is not None and s.now > late_at:
        late = next(carrier for carrier in carriers if not carrier[1].ready_at)
        ready = sum(a.ready_at is not None for _, a in carriers)
        return late, (
            f"{late[0].id} was not ready within {READY_MAX_S / 60:.0f} min; "
            f"{count(ready, 'other')} of {len(job.members)} waited for it"
        )
    return None


_TROUBLES: tuple[tuple[Callable[[Host], bool], Callable[[Host], str]], ...] = (
    (lambda h: h.state is HostState.UNHEALTHY, lambda h: f"host {h.id} is unhealthy: {h.reason}"),
    (lambda h: h.state is HostState.TERMINATING, lambda h: f"host {h.id} is being terminated: {h.reason}"),
    (lambda h: h.interrupt_at is not None, lambda h: f"EC2 takes {h.id} back at {clock(h.interrupt_at or 0.0)}"),
)


def _late_at(carriers: Sequence[Carrier]) -> float | None:
    """Until when all must be ready; None while one boots, which has its own deadline, and when all are. An install of which an agent tells
    counts from its last word: it has deadlines of its own."""
    if all(a.ready_at for _, a in carriers) or any(host.ready_at is None for host, _ in carriers):
        return None
    installing = [h.installs_at for h, a in carriers if not a.ready_at and any(i.state == RUNNING for i in h.installs)]
    since = max(max(host.ready_at or 0.0, a.assigned_at) for host, a in carriers)
    return max(since, *installing) + READY_MAX_S if installing else since + READY_MAX_S


def _running(job: Job, carriers: Sequence[Carrier]) -> Iterator[Halt | Reclaim]:
    """Once one has ended badly, the others are told to end. What nobody hears of any more is for the rules of its host."""
    stops = job.cause is not None or job.cancel_requested
    for host, a in carriers:
        if host.state is HostState.UNHEALTHY and a.started_at is None:
            yield Reclaim(host, a, f"host {host.id} is unhealthy: {host.reason}")
        elif stops and not a.cancel and host.state is not HostState.TERMINATED:
            yield Halt(
                host, a, "it is cancelled" if job.cause is None else f"rank {job.cause} has ended: they end together"
            )
