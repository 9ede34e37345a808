"""A job as users see it, its log and its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.api.view import View, fitting
from chalicelib.control.logs import Piece
from chalicelib.core.job import Job, JobState, target
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.phases import phases


class OutputView(View, frozen=True, kw_only=True):
    """A file that a job left in its work folder; `name`: that of the `outputs` entry which it matched."""

    path: str
    bytes: int
    name: str


class LogView(View, frozen=True, kw_only=True):
    """How long a job's log is; `cut`: it was longer than its pool keeps."""

    bytes: int = 0
    cut: bool = False


class ProgressView(View, frozen=True, kw_only=True):
    """How far a running job says that it is. `moved_at`: when it last said something new; `stalled_since`: it has said nothing new for
    longer than its `stall_s`; `problem`: why nothing is kept of it for its next attempt."""

    percent: float | None
    note: str
    moved_at: float | None
    stalled_since: float | None
    problem: str


class CheckpointView(View, frozen=True, kw_only=True):
    """What a next attempt would continue from: kept by `attempt` at `at`."""

    attempt: int
    bytes: int
    at: float


class MemberView(View, frozen=True, kw_only=True):
    """One of the hosts of a job that needs several. `state`: how its part ended, "waiting" (for the others) or "running"."""

    rank: int
    host: str
    address: str | None
    state: str
    reason: str
    exit_code: int | None


class JobView(View, frozen=True, kw_only=True):
    """A job. Times are epoch seconds; what has not happened yet is null."""

    id: str
    pool: str
    owner: str
    name: str
    labels: Mapping[str, str]
    state: JobState
    attempt: int
    reason: str
    waiting_for: str
    cancel_requested: bool
    submitted_at: float
    assigned_at: float | None
    started_at: float | None
    finished_at: float | None
    delivered_at: float | None
    priority: int
    retry_of: str | None
    schedule: str | None
    expected_wait_s: float | None
    host: str | None
    exit_code: int | None
    cause: str
    result: Any
    outputs: list[OutputView]
    log: LogView
    cpu_s: float | None
    memory_peak_mib: float | None
    image_digest: str | None
    progress: ProgressView | None
    checkpoint: CheckpointView | None
    members: list[MemberView]
    spec: JobSpec


class JobsView(View, frozen=True, kw_only=True):
    """Jobs, in the order in which they were sent."""

    items: list[JobView]


class JobsPage(View, frozen=True, kw_only=True):
    """Jobs, the newest first; `next` is the cursor of the page after this one, null on the last."""

    items: list[JobView]
    next: str | None


class LogPiece(View, frozen=True, kw_only=True):
    """A piece of a log: the bytes `from` up to `next` as text; `complete`: no more can come."""

    from_: int = msgspec.field(name="from")
    next: int
    text: str
    complete: bool
    cut: bool


class OutputLink(View, frozen=True, kw_only=True):
    """An output with a signed URL, good for 15 minutes."""

    path: str
    bytes: int
    name: str
    url: str


class OutputLinks(View, frozen=True, kw_only=True):
    """All outputs of a job."""

    items: list[OutputLink]


def job(record: Job, expected_wait_s: float | None = None) -> JobView:
    """A Job document. `expected_wait_s`: until it begins, where somebody can tell."""
    finish = record.finish if record.ended else None  # an earlier attempt's end is not this one's
    at = phases(record)
    return JobView(
        id=record.id,
        pool=record.pool,
        owner=record.owner,
        name=record.spec.name,
        labels=record.spec.labels,
        state=record.state,
        attempt=record.attempt,
        reason=record.reason,
        waiting_for=record.waiting_for,
        cancel_requested=record.cancel_requested,
        submitted_at=at.submitted_at,
        assigned_at=at.assigned_at,
        started_at=at.started_at,
        finished_at=at.finished_at,
        delivered_at=at.delivered_at,
        priority=record.priority,
        retry_of=record.retry_of,
        schedule=record.schedule,
        expected_wait_s=expected_wait_s,
        host=record.host,
        exit_code=finish.exit_code if finish else None,
        cause=finish.cause if finish else "",
        result=finish.result if finish else None,
        outputs=[OutputView(path=o.path, bytes=o.bytes, name=o.name) for o in finish.outputs] if finish else [],
        log=LogView(bytes=finish.log.bytes, cut=finish.log.cut) if finish else LogView(),
        cpu_s=finish.cpu_s if finish else None,
        memory_peak_mib=finish.memory_peak_mib if finish else None,
        image_digest=finish.image_digest if finish else None,
        progress=_progress(record),
        checkpoint=_checkpoint(record),
        members=_members(record),
        spec=record.spec,
    )


def _progress(record: Job) -> ProgressView | None:
    known = record.progress
    if known.attempt != record.attempt or record.state is JobState.PENDING:
        return None  # an earlier attempt's is not this one's
    return ProgressView(
        percent=known.percent,
        note=known.note,
        moved_at=known.moved_at,
        stalled_since=None if record.ended else known.stalled_at,
        problem=known.problem,
    )


def _checkpoint(record: Job) -> CheckpointView | None:
    if record.ended or not record.progress.kept:
        return None
    newest = record.progress.kept[0]
    return CheckpointView(attempt=newest.attempt, bytes=newest.bytes, at=newest.at)


def _members(record: Job) -> list[MemberView]:
    """How the hosts of its present attempt stand; none while it waits."""
    if not record.members or record.state is JobState.PENDING:
        return []
    found = []
    for rank, host in enumerate(record.members):
        end = record.ends.get(rank)
        runs = "running" if record.peers else "waiting"
        found.append(
            MemberView(
                rank=rank,
                host=host,
                address=record.peers[rank] if record.peers else None,
                state=str(target(end.event)) if end is not None else runs,
                reason=end.reason if end is not None else "",
                exit_code=end.finish.exit_code if end is not None and end.finish is not None else None,
            )
        )
    return found


def page(jobs: Sequence[Job], following: str | None, wait_s: Callable[[Job], float | None]) -> JobsPage:
    """A page of jobs, cut where it would grow over what Lambda can answer: then `next` is its own last job."""
    items, cut = fitting(job(record, wait_s(record)) for record in jobs)
    return JobsPage(items=items, next=items[-1].id if cut else following)


def log(piece: Piece) -> LogPiece:
    """A LogPiece document."""
    return LogPiece(from_=piece.start, next=piece.upto, text=piece.text, complete=piece.complete, cut=piece.cut)
