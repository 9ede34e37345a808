"""Jobs that a filter means, newest first, a page at a time.

Theory of operation. Three indexes hold nothing but ids, which sort by time of submission: of a pool, of an owner, and of a pool's jobs that
have not ended. The narrowest one that fits is read, the rows behind its ids are fetched, and the filter takes of them what it means. A
filter that means one job in a million would read for ever: so one request looks at `LOOKED_MAX` rows at most, and a page may be short, or
empty, and still name the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chalicelib import ids
from chalicelib.core.job import Job
from chalicelib.core.job_filter import JobFilter
from chalicelib.wiring import Plane

LOOKED_MAX = 1000
READ_AT_ONCE = 100
SKEW_S = 60.0  # an id is made a moment before or after its job is stamped, by a clock that may be off

Page = Callable[[str | None, int], tuple[list[str], str | None]]


def find(
    plane: Plane, wanted: JobFilter, before: str | None, limit: int, looked_max: int = LOOKED_MAX
) -> tuple[list[Job], str | None]:
    """At most `limit` jobs submitted before the job `before`, and the cursor of the next page: None where there is nothing more.

    The filter must name a pool or an owner.
    """
    read, found, looked = _index(plane, wanted), list[Job](), 0
    if wanted.until is not None:
        last = ids.at("job", wanted.until + SKEW_S)
        before = last if before is None else min(before, last)
    while looked < looked_max:
        page, following = read(before, min(READ_AT_ONCE, looked_max - looked))
        rows = plane.stores.jobs.get_many(page)
        for job_id in page:
            job = rows.get(job_id)
            if job is None:  # expired, or the index is a moment late
                continue
            if wanted.since is not None and job.submitted_at < wanted.since - SKEW_S:
                return found, None
            if wanted.takes(job):
                found.append(job)
                if len(found) == limit:
                    return found, job_id
        if following is None:
            return found, None
        looked, before = looked + READ_AT_ONCE, following
    return found, before


def _index(plane: Plane, wanted: JobFilter) -> Page:
    jobs = plane.stores.jobs
    if wanted.owner is not None and not (wanted.pool and wanted.alive):
        return partial(jobs.of_owner, wanted.owner)
    if wanted.pool is None:
        raise ValueError("a filter names a pool or an owner")
    return partial(jobs.active_newest if wanted.alive else jobs.of_pool, wanted.pool)
