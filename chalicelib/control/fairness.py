"""Giving new jobs their place in the queue: the virtual time that their owner's share has come to (core/fairness.py)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from chalicelib.control.durations import learned
from chalicelib.core import fairness
from chalicelib.core.backlog import rank
from chalicelib.core.catalogue import Capacity, capacity, knows
from chalicelib.core.durations import expected_s
from chalicelib.core.job import Job
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import Pool
from chalicelib.errors import StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

WHOLE = Capacity(cpu=1.0, memory_mib=1 << 20, slots=1)  # where no offering is known: a job is counted by its cores


def ranked(plane: Plane, jobs: Sequence[Job], pool_of: Callable[[str], Pool | None]) -> list[Job]:
    """The jobs with their ranks, in the same order. One write for each pool, priority class and owner among them.

    Fairness is not worth a refused submission: where the tables do not answer, a job starts from the pool's clock uncharged.
    """
    groups: defaultdict[tuple[str, int, str], list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        groups[job.pool, job.priority, job.owner].append(index)
    placed = list(jobs)
    for (name, priority, owner), indexes in groups.items():
        tags = _tags(plane, pool_of(name), priority, owner, [jobs[index] for index in indexes])
        for index, tag in zip(indexes, tags, strict=True):
            placed[index] = replace(jobs[index], rank=rank(priority, tag, jobs[index].id))
    return placed


def lot(plane: Plane, pool: Pool, spec: JobSpec, owner: str, count: int) -> tuple[float, int]:
    """Where the first of so many like jobs is placed in virtual time, and the milliseconds from each to the next. One write."""
    now, clock = plane.clock(), pool.clocks.get(str(spec.priority), 0.0)
    step_ms, share = round(fairness.COST_MIN * 1000), f"{spec.priority}/{owner}"
    try:
        step_ms = max(step_ms, round(_costs(plane, pool, [spec])[0] * 1000))
        total = count * step_ms / 1000
        expires_at = now + fairness.FORGET_S
        first = plane.stores.shares.advance(pool.name, share, total, clock=clock, now=now, expires_at=expires_at)
    except StoreUnavailable as error:
        log.warning("a share could not be charged", extra={"pool": pool.name, "owner": owner, "error": str(error)})
        return clock, step_ms
    return first, step_ms


def _tags(plane: Plane, pool: Pool | None, priority: int, owner: str, jobs: Sequence[Job]) -> list[float]:
    """The start tags of one owner's jobs of one class."""
    if pool is None:
        return [0.0] * len(jobs)  # deleted a moment ago; nothing will place them
    now, clock = plane.clock(), pool.clocks.get(str(priority), 0.0)
    try:
        costs = _costs(plane, pool, [job.spec for job in jobs])
        first = plane.stores.shares.advance(
            pool.name, f"{priority}/{owner}", sum(costs), clock=clock, now=now, expires_at=now + fairness.FORGET_S
        )
    except StoreUnavailable as error:
        log.warning("a share could not be charged", extra={"pool": pool.name, "owner": owner, "error": str(error)})
        return [clock] * len(jobs)
    return list(fairness.starts(first, costs))


def _costs(plane: Plane, pool: Pool, specs: Sequence[JobSpec]) -> list[float]:
    """What each job takes of the pool, by a host of its first known offering."""
    known, spec = learned(plane, pool.name), pool.spec
    host = next((capacity(o, spec) for o in spec.offerings if knows(o, spec)), WHOLE)
    return [
        fairness.cost(
            wanted.reservation,
            expected_s(wanted.family or "", wanted.timeout_s, known, spec.estimated_s),
            host,
        )
        for wanted in specs
    ]
