"""Telling those who want to know that a job has ended. Ordered by a message on the timers queue, so that who ends a job never waits for
a webhook: {"v": 1, "kind": "ended", "job": id}. The message only says "look at this job"; what is still to be told, its row says.

Everybody is told at least once: a crash between telling and writing that it was told tells again, under the same delivery id. From the very
write that ends a job until all are told, or given up, it is found by `jobs.untold`: so the tick's sweep orders again what a crash lost.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chalicelib.control import prairielearn
from chalicelib.control.notices import notify, publish
from chalicelib.core.job import Job
from chalicelib.core.prairielearn import LISTENER
from chalicelib.core.telling import Telling, failed
from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

EARLY_S = 5.0  # a timer that comes so early is on time
STILL_S = 60.0  # the sweep leaves alone what is younger: its message is on its way
PAGE = 500
PAGES_MAX = 10


def order(plane: Plane, job_id: str, delay_s: float = 0.0) -> None:
    """Ask for the delivery of an ended job. Where the queue cannot be reached, the tick's sweep asks again."""
    try:
        plane.cloud.queues.timer({"v": 1, "kind": "ended", "job": job_id}, int(delay_s))
    except CloudUnavailable as error:
        log.warning("the delivery of a job could not be ordered", extra={"job": job_id, "error": str(error)})


def deliver(plane: Plane, job_id: str) -> None:
    """Tell everybody who wants to know and has not been told; order another try where somebody could not be reached."""
    job = plane.stores.jobs.get(job_id)
    if job is None or not job.ended or job.delivered_at is not None or job.telling.given_up:
        return
    if plane.clock() < job.telling.due_at - EARLY_S:
        return  # another message is under way for that time
    told, faults = [], []
    for listener in job.listeners:
        if listener in job.telling.told:
            continue
        try:
            TELL[listener](plane, job)
            told.append(listener)
        except CloudUnavailable as error:
            faults.append(f"{listener}: {error}")
    if faults:
        _again(plane, job, told, "; ".join(faults))
    elif plane.stores.jobs.delivered(job.id, plane.clock()):
        plane.tell(job.id, "delivered", f"told: {', '.join(job.listeners)}")


def died(plane: Plane, job_id: str, fault: str) -> None:
    """A telling that could not even be tried counts as one that reached nobody; the sweep orders the next."""
    job = plane.stores.jobs.get(job_id)
    if job is None or not job.ended or job.delivered_at is not None or job.telling.given_up:
        return
    telling = failed(job.telling, plane.clock(), (), fault)
    if plane.stores.jobs.tell_again(job.id, job.telling, telling) and telling.given_up:
        _give_up(plane, job, telling)


def sweep(plane: Plane) -> None:
    """Order again what a crash lost on its way: part of the tick."""
    after: str | None = None
    for _page in range(PAGES_MAX):
        ids, after = plane.stores.jobs.untold(after=after, limit=PAGE)
        for job in plane.stores.jobs.get_many(ids).values():
            if plane.clock() - max(job.telling.due_at, *job.entered.values()) > STILL_S and job.delivered_at is None:
                log.warning("the end of a job was not told", extra={"job": job.id})
                order(plane, job.id)
        if after is None:
            return


def _again(plane: Plane, job: Job, told: list[str], fault: str) -> None:
    now = plane.clock()
    telling = failed(job.telling, now, told, fault)
    if not plane.stores.jobs.tell_again(job.id, job.telling, telling):
        return  # another did so
    if telling.given_up:
        _give_up(plane, job, telling)
        return
    plane.tell(job.id, "untold", f"trying again: {fault}")
    order(plane, job.id, telling.due_at - now)


def _give_up(plane: Plane, job: Job, telling: Telling) -> None:
    reason = f"nobody could be told of its end in {telling.tries} tries; the last one: {telling.fault}"
    plane.tell(job.id, "untold", reason)
    notify(plane, "delivery_failed", "warning", subject=job.id, reason=f"{job.id}: {reason}", pool=job.pool)


def _to_webhook(plane: Plane, job: Job) -> None:
    from chalicelib.api import job_view

    url = (job.spec.notify.webhook if job.spec.notify else None) or ""
    body = msgspec.json.encode({"v": 1, "type": "job_finished", "job": job_view.job(job)})
    headers = {
        "content-type": "application/json",
        "user-agent": "spillway",
        "x-spillway-delivery": f"{job.id}.ended",  # the same at every try
        "x-spillway-try": str(job.telling.tries + 1),
    }
    status = plane.cloud.outside.post(url, body, headers)
    if not 200 <= status < 300:
        raise CloudUnavailable(f"it answered {status}")


def _to_topic(plane: Plane, job: Job) -> None:
    publish(
        plane,
        "job_finished",
        "info",
        subject=job.id,
        reason=f"{job.spec.name or job.id} has ended: {job.state}, {job.reason}",
        pool=job.pool,
        detail={"state": job.state, "owner": job.owner, "labels": dict(job.spec.labels)},
    )


TELL: dict[str, Callable[[Plane, Job], None]] = {
    "webhook": _to_webhook,
    "topic": _to_topic,
    LISTENER: prairielearn.tell,
}
