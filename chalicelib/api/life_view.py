"""What came of doing the same to many jobs."""

from __future__ import annotations

from chalicelib.api.view import View
from chalicelib.control.bulk import Bulk


class FailedView(View, frozen=True, kw_only=True):
    """A job for which it could not be done, and why."""

    job: str
    detail: str


class BulkView(View, frozen=True, kw_only=True):
    """`count` jobs match, and these are they; `more`: there are more than one request takes, or may be. `done`: the ids of what came of
    them (of a retry, the new ones), null where they were only counted; `left`: for how many there was no time."""

    action: str
    count: int
    more: bool
    jobs: list[str]
    done: list[str] | None
    failed: list[FailedView]
    left: int


def bulk(action: str, record: Bulk) -> BulkView:
    """A Bulk document."""
    return BulkView(
        action=action,
        count=len(record.jobs),
        more=record.more,
        jobs=list(record.jobs),
        done=None if record.done is None else list(record.done),
        failed=[FailedView(job=job, detail=detail) for job, detail in record.failed],
        left=record.left,
    )
