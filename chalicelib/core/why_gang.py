"""How the hosts of a gang stand, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chalicelib.core.host import Assignment, Host, HostState
from chalicelib.core.job import Job, JobState
from chalicelib.core.spoken import ago, count, duration

TOLD_MAX = 5  # of a hundred hosts; the others are in the job's document


def places(job: Job, hosts: Mapping[str, Host], now: float) -> Iterator[str]:
    """`hosts`: the rows of its members that there are, by id."""
    if job.state not in (JobState.ASSIGNED, JobState.RUNNING):
        return
    ended = [
        f"Rank {r} on {job.members[r]} has ended {ago(job.ends[r].at, now)}: {job.ends[r].reason}" for r in job.ends
    ]
    if job.state is JobState.RUNNING:
        yield f"It runs on {count(len(job.members), 'host')}: {', '.join(job.members[:TOLD_MAX])}{_more(len(job.members))}"
        yield from ended[:TOLD_MAX]
        if job.cause is not None and len(job.ends) < len(job.members):
            left = len(job.members) - len(job.ends)
            yield f"Rank {job.cause} has ended, so {count(left, 'other is', 'others are')} told to end, too"
        return
    there = {rank: (hosts.get(host), _carried(job, hosts.get(host))) for rank, host in enumerate(job.members)}
    ready = sum(a is not None and a.ready_at is not None for _, a in there.values())
    yield f"It needs {len(job.members)} hosts at once; {ready} of them {'is' if ready == 1 else 'are'} ready, and it begins when all are"
    yield from ended[:TOLD_MAX]
    waited_for = [
        f"Rank {rank} is waited for: {_stands(job.members[rank], host, a, now)}"
        for rank, (host, a) in there.items()
        if rank not in job.ends and (a is None or a.ready_at is None)
    ]
    yield from waited_for[:TOLD_MAX]


def _carried(job: Job, host: Host | None) -> Assignment | None:
    return next((a for a in host.assignments if (a.job, a.attempt) == (job.id, job.attempt)), None) if host else None


def _stands(name: str, host: Host | None, a: Assignment | None, now: float) -> str:
    if host is None or a is None:
        return f"{name} does not carry it any more; the next sweep settles that"
    if host.state is HostState.LAUNCHING:
        return f"{name} boots since {duration(now - host.launched_at)}"
    if a.accepted_at:
        return f"{name} accepted it {ago(a.accepted_at, now)} and prepares it, or has no room yet"
    return f"{name} has not said yet that it heard of it"


def _more(members: int) -> str:
    return f" and {members - TOLD_MAX} more" if members > TOLD_MAX else ""
