"""What agents say of attempts while they run: how far they are, whether they have stalled, what of them is kept (docs/contracts.md §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chalicelib.control.notices import notify
from chalicelib.core.finite import finite
from chalicelib.core.host import Host
from chalicelib.core.job import Job, JobState
from chalicelib.core.progress import Kept, Said, dropped, heard
from chalicelib.core.spoken import duration
from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

TRIES_MAX = 5  # against others who write the same row
BYTES_MAX = 1 << 40
_ON_A_HOST = (JobState.ASSIGNED, JobState.RUNNING)  # a job that waits again still names its last one
_NUMBER = re.compile(r"[1-9]\d{0,8}\.tar\.gz\Z")


def said(plane: Plane, host: Host, ping: Mapping[str, Any]) -> None:
    """Apply a `progress` ping. Raises KeyError, TypeError, ValueError for one that no agent of ours writes."""
    job_id, what = str(ping["job"]), _said(host, ping, plane.clock())
    if what.empty:
        return
    for _ in range(TRIES_MAX):
        job = plane.stores.jobs.get(job_id)
        if job is None or job.ended or what.attempt > job.attempt:
            return
        current = (job.attempt, job.host) == (what.attempt, host.id) and job.state in _ON_A_HOST
        if not current and not _was_there(plane, host, job, what):
            return
        now = heard(job.progress, what, current=current)
        if now == job.progress or plane.stores.jobs.progressed(job.id, job.progress, now):
            if now != job.progress:
                _tell(plane, job, what, current=current)
            forget(plane, dropped(job.progress, what, now))
            return
    raise RuntimeError(f"the progress of {job_id} could not be written: others were quicker {TRIES_MAX} times")


def forget(plane: Plane, keys: list[str]) -> None:
    """Delete checkpoints. Those that cannot be deleted now expire with all that hosts have written."""
    for key in keys:
        try:
            plane.cloud.blobs.delete(key)
        except CloudUnavailable as error:
            log.warning("a checkpoint could not be deleted", extra={"key": key, "error": str(error)})


def _was_there(plane: Plane, host: Host, job: Job, what: Said) -> bool:
    """Whether an attempt that is over, or has moved on, was this host's: its claim says so."""
    if what.kept is None:
        return False
    return plane.stores.claims.holder(str(host.userid), job.id, what.attempt) == "agent"


def _tell(plane: Plane, job: Job, what: Said, *, current: bool) -> None:
    """Only who has changed the row tells, so everything is told once."""
    if not current:
        return
    before = job.progress if job.progress.attempt == what.attempt else None
    was_stalled = before is not None and before.stalled_at is not None
    if what.stalled and not was_stalled:
        reason = f"attempt {what.attempt} runs on {job.host} and has made no progress for {duration(what.moved_s)}"
        reason += f" ({what.percent:.4g} %)" if what.percent is not None else ""
        plane.tell(job.id, "stalled", reason)
        detail = {"owner": job.owner, "attempt": what.attempt, "percent": what.percent, "note": what.note}
        notify(plane, "job_stalled", "warning", subject=job.id, reason=reason, pool=job.pool, detail=detail)
    elif was_stalled and not what.stalled:
        plane.tell(job.id, "progress", "it makes progress again")
    if what.problem and (before is None or not before.problem):
        plane.tell(job.id, "checkpoint", what.problem)


def _said(host: Host, ping: Mapping[str, Any], now: float) -> Said:
    attempt, at = int(ping["attempt"]), min(finite(ping["at"]), now)
    percent = None if ping.get("percent") is None else finite(ping["percent"])
    if percent is not None and not 0 <= percent <= 100:
        raise ValueError(f"{percent} is no percentage")
    kept = ping.get("checkpoint")
    return Said(
        attempt=attempt,
        at=at,
        percent=percent,
        note=str(ping.get("note") or ""),
        moved_s=min(max(0.0, finite(ping.get("moved_s") or 0.0)), at),
        stalled=ping.get("stalled") is True,
        problem=str(ping.get("checkpoint_problem") or ""),
        broken=str(ping.get("checkpoint_broken") or ""),
        kept=None if kept is None else _kept(host, str(ping["job"]), attempt, kept, now),
    )


def _kept(host: Host, job: str, attempt: int, document: Mapping[str, Any], now: float) -> Kept:
    """A host may name nothing but what it alone can have written, for this very attempt: its next host will be given it."""
    key, size = str(document["key"]), int(document["bytes"])
    prefix = f"hosts/{host.userid}/{job}/{attempt}/checkpoint/"
    if not key.startswith(prefix) or not _NUMBER.match(key[len(prefix) :]):
        raise ValueError(f"{key[:300]!r} is no checkpoint of {job}#{attempt} on this host")
    if not 0 < size <= BYTES_MAX:
        raise ValueError(f"a checkpoint of {size} bytes")
    return Kept(attempt=attempt, key=key, bytes=size, at=min(max(0.0, finite(document["at"])), now))
