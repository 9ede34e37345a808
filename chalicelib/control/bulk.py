"""The same done to all jobs that match a filter. First they are only counted; who says the count is taken at their word.

Nothing is done where the count is another one by then. What is done is done job by job, each as if it had been asked for alone, so a
request that ends half way is simply made again: `left` says for how many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chalicelib.control import listing
from chalicelib.control.cancel import cancel
from chalicelib.control.reprioritise import reprioritise
from chalicelib.control.retry import retry
from chalicelib.core.job import FINAL, Job, JobState
from chalicelib.core.job_filter import JobFilter
from chalicelib.core.spoken import count
from chalicelib.errors import BadRequest, Conflict, Fault
from chalicelib.wiring import Plane

JOBS_MAX = 500  # in one request
LOOKED_AT_MAX = 10_000  # records that are read to find them
DO_S = 20.0  # API Gateway gives up after 29


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """`jobs`: those that match, at most JOBS_MAX; `more`: whether there are more, or may be. `done`: ids of what came of them, None where
    they were only counted. `left`: how many were not reached in time; `failed`: (job, sentence)."""

    jobs: tuple[str, ...]
    more: bool
    done: tuple[str, ...] | None = None
    failed: tuple[tuple[str, str], ...] = ()
    left: int = 0


ACTIONS = ("cancel", "retry", "reprioritise")


def bulk(
    plane: Plane,
    action: str,
    wanted: JobFilter,
    *,
    ids: Sequence[str] = (),
    priority: int | None = None,
    expect: int | None = None,
    key: str | None = None,
) -> Bulk:
    """Count, or, with the number that was counted as `expect`, do it. Raises Conflict where another number of jobs matches now.

    `ids`: of these only; else the filter names a pool or an owner. `key`: makes a retry that is asked for twice one retry.
    """
    found, more = _matching(plane, wanted, ids, ended=action == "retry")
    if expect is None:
        return Bulk(jobs=tuple(job.id for job in found), more=more)
    if len(found) != expect:
        raise Conflict(
            f"{count(len(found), 'job matches', 'jobs match')} now, and {expect} were expected: nothing was done",
            (Fault("expect", f"is {expect}, not {len(found)}"),),
        )

    def do(job: Job) -> Job:
        match action:
            case "cancel":
                return cancel(plane, job.id)
            case "retry":
                return retry(plane, job, priority=priority, key=key).job
            case _:
                return reprioritise(plane, job.id, priority if priority is not None else job.spec.priority)

    return _each(plane, found, more, do)


def _each(plane: Plane, jobs: list[Job], more: bool, do: Callable[[Job], Job]) -> Bulk:
    until = plane.clock() + DO_S
    done: list[str] = []
    failed: list[tuple[str, str]] = []
    for job in jobs:
        if plane.clock() > until:
            break
        try:
            done.append(do(job).id)
        except BadRequest as error:  # it has ended, or its pool takes it no more: that is its own affair
            failed.append((job.id, error.detail))
    left = len(jobs) - len(done) - len(failed)
    ids = tuple(job.id for job in jobs)
    return Bulk(jobs=ids, more=more or left > 0, done=tuple(done), failed=tuple(failed), left=left)


def _matching(plane: Plane, wanted: JobFilter, ids: Sequence[str], *, ended: bool) -> tuple[list[Job], bool]:
    """The first JOBS_MAX that match and have ended, or have not; and whether there may be more."""
    right = FINAL if ended else frozenset(JobState) - FINAL
    states = wanted.states & right if wanted.states else right
    if not states:
        return [], False
    wanted = replace(wanted, states=states)
    if ids:
        found = plane.stores.jobs.get_many(ids)
        return [found[i] for i in ids if i in found and wanted.takes(found[i])], False
    jobs, cursor = listing.find(plane, wanted, None, JOBS_MAX, LOOKED_AT_MAX)
    return jobs, cursor is not None
