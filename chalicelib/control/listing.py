"""Jobs that a filter means, and arrays of a pool, newest first, a page at a time.

Theory of operation. Three indexes hold nothing but ids, which sort by time of submission: of a pool, of an owner, and of a pool's jobs that
have not ended. The narrowest one that fits is read, the rows behind its ids are fetched, and the filter takes of them what it means. A
filter that means one job in a million would read for ever: so one request looks at `LOOKED_MAX` rows at most, and a page may be short, or
empty, and still name the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chalicelib import ids
from chalicelib.core.arrays import Array
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


def find_arrays(
    plane: Plane, pool: str, owner: str | None, before: str | None, limit: int
) -> tuple[list[Array], str | None]:
    """At most `limit` arrays of a pool, newest first, and the cursor of the next page. `owner`: of this one only; that others have arrays,
    too, no cursor tells then before LOOKED_MAX of theirs have been passed over."""
    arrays, found, looked = plane.stores.arrays, list[Array](), 0
    while looked < LOOKED_MAX:
        page, following = arrays.of_pool(pool, before=before, limit=limit if owner is None else READ_AT_ONCE)
        rows = arrays.get_many(page)
        for array_id in page:
            if array_id in rows and owner in (None, rows[array_id].owner):
                found.append(rows[array_id])
                if len(found) == limit:
                    return found, array_id if following is not None or array_id != page[-1] else None
        if following is None:
            return found, None
        looked, before = looked + len(page), following
    return found, before


def _index(plane: Plane, wanted: JobFilter) -> Page:
    jobs = plane.stores.jobs
    if wanted.owner is not None and not (wanted.pool and wanted.alive):
        return partial(jobs.of_owner, wanted.owner)
    if wanted.pool is None:
        raise ValueError("a filter names a pool or an owner")
    return partial(jobs.active_newest if wanted.alive else jobs.of_pool, wanted.pool)
