"""An array as users see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.api.view import View
from chalicelib.core.arrays import Array, ArrayState
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec


class ArrayView(View, frozen=True, kw_only=True):
    """An array. `counts`: how many elements have ended in which state, are `placed` on a host, or are `waiting`."""

    id: str
    pool: str
    owner: str
    name: str
    labels: Mapping[str, str]
    state: ArrayState
    reason: str
    waiting_for: str
    cancel_requested: bool
    count: int
    counts: Mapping[str, int]
    submitted_at: float
    ended_at: float | None
    delivered_at: float | None
    spec: JobSpec


class ArraysPage(View, frozen=True, kw_only=True):
    """Arrays, the newest first, without counts; `next` is the cursor of the page after this one, null on the last."""

    items: list[ArrayView]
    next: str | None


class ElementView(View, frozen=True, kw_only=True):
    """An element: job `id` says the rest of it, once it has been placed."""

    index: int
    id: str
    state: JobState
    attempt: int
    reason: str
    host: str | None
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    result: Any


class ElementsPage(View, frozen=True, kw_only=True):
    """Elements by index; `next` is the cursor of the page after this one, null on the last."""

    items: list[ElementView]
    next: int | None


class ResultsView(View, frozen=True, kw_only=True):
    """The merged results: a CSV with a row for each element, behind a signed URL, good for 15 minutes. `problem`: why there is none."""

    ready: bool
    url: str | None
    rows: int
    bytes: int
    problem: str


def array(record: Array, counts: Mapping[str, int]) -> ArrayView:
    """An Array document."""
    return ArrayView(
        id=record.id,
        pool=record.pool,
        owner=record.owner,
        name=record.spec.name,
        labels=record.spec.labels,
        state=record.state,
        reason=record.reason,
        waiting_for=record.waiting_for,
        cancel_requested=record.cancel_requested,
        count=record.count,
        counts=counts,
        submitted_at=record.submitted_at,
        ended_at=record.entered.get(record.state) if record.ended else None,
        delivered_at=record.delivered_at,
        spec=record.spec,
    )


def element(index: int, job: Job) -> ElementView:
    """An Element document."""
    finish = job.finish if job.ended else None
    return ElementView(
        index=index,
        id=job.id,
        state=job.state,
        attempt=job.attempt,
        reason=job.reason,
        host=job.host,
        started_at=(finish.started_at if finish else None) or job.entered.get(JobState.RUNNING),
        finished_at=finish.finished_at if finish else (job.entered.get(job.state) if job.ended else None),
        exit_code=finish.exit_code if finish else None,
        result=finish.result if finish else None,
    )
