"""Telling those who want to know that a job, or an array, has ended. A message on the timers queue orders it, so that who ends it never
waits for a webhook: {"v": 1, "kind": "ended", "job": id}. It only says "look at this"; what is still to be told, the row says.

Everybody is told at least once: a crash between telling and writing that it was told tells again, under the same delivery id. From the very
write that ends it until all are told, or given up, it is found by `untold`: so the tick's sweep orders again what a crash lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chalicelib.control import prairielearn, secrets
from chalicelib.control.notices import notify, publish
from chalicelib.core.arrays import Array
from chalicelib.core.job import Job
from chalicelib.core.prairielearn import LISTENER
from chalicelib.core.telling import Telling, failed
from chalicelib.core.webhook import signature
from chalicelib.errors import CloudUnavailable
from chalicelib.store.ports import Arrays, Jobs
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

EARLY_S = 5.0  # a timer that comes so early is on time
STILL_S = 60.0  # the sweep leaves alone what is younger: its message is on its way
DEAF_S = 60.0
PAGE = 500
PAGES_MAX = 10
ORDERS_MAX = 500  # of a sweep: most of what is untold has a message that only waits its turn

Record = Job | Array


def order(plane: Plane, record_id: str, delay_s: float = 0.0) -> None:
    """Ask for the delivery of what has ended. Where the queue cannot be reached, the tick's sweep asks again."""
    try:
        plane.cloud.queues.timer({"v": 1, "kind": "ended", "job": record_id}, int(delay_s))
    except CloudUnavailable as error:
        log.warning("a delivery could not be ordered", extra={"job": record_id, "error": str(error)})


def deliver(plane: Plane, record_id: str) -> None:
    """Tell everybody who wants to know and has not been told; order another try where somebody could not be reached."""
    record = _untold(plane, record_id)
    if record is None or plane.clock() < record.telling.due_at - EARLY_S:
        return  # of what is too early, another message is under way
    told, faults = [], []
    for listener in record.listeners:
        if listener in record.telling.told:
            continue
        try:
            TELL[listener](plane, record)
            told.append(listener)
        except CloudUnavailable as error:
            faults.append(f"{listener}: {error}")
    if faults:
        _again(plane, record, told, "; ".join(faults))
    elif _rows(plane, record).delivered(record.id, plane.clock()):
        plane.tell(record.id, "delivered", f"told: {', '.join(record.listeners)}")


def died(plane: Plane, record_id: str, fault: str) -> None:
    """A telling that could not even be tried counts as one that reached nobody; the sweep orders the next."""
    record = _untold(plane, record_id)
    if record is None:
        return
    telling = failed(record.telling, plane.clock(), (), fault)
    if _rows(plane, record).tell_again(record.id, record.telling, telling) and telling.given_up:
        _give_up(plane, record, telling)


def sweep(plane: Plane) -> None:
    """Order again what a crash lost on its way: part of the tick."""
    left = ORDERS_MAX
    for rows in (plane.stores.jobs, plane.stores.arrays):
        after: str | None = None
        for _page in range(PAGES_MAX):
            ids, after = rows.untold(after=after, limit=PAGE)
            for record in rows.get_many(ids).values():
                still_s = plane.clock() - max(record.telling.due_at, *record.entered.values())
                if still_s > STILL_S and record.delivered_at is None and left > 0:
                    log.warning("an end was not told", extra={"job": record.id})
                    order(plane, record.id)
                    left -= 1
            if after is None or left == 0:
                break


def _untold(plane: Plane, record_id: str) -> Record | None:
    record: Record | None = (
        plane.stores.arrays.get(record_id) if record_id.startswith("array-") else plane.stores.jobs.get(record_id)
    )
    if record is None or not record.ended or record.delivered_at is not None or record.telling.given_up:
        return None
    return record


def _rows(plane: Plane, record: Record) -> Jobs | Arrays:
    return plane.stores.arrays if isinstance(record, Array) else plane.stores.jobs


def _again(plane: Plane, record: Record, told: list[str], fault: str) -> None:
    now = plane.clock()
    telling = failed(record.telling, now, told, fault)
    if not _rows(plane, record).tell_again(record.id, record.telling, telling):
        return  # another did so
    if telling.given_up:
        _give_up(plane, record, telling)
        return
    plane.tell(record.id, "untold", f"trying again: {fault}")
    order(plane, record.id, telling.due_at - now)


def _give_up(plane: Plane, record: Record, telling: Telling) -> None:
    reason = f"nobody could be told of its end in {telling.tries} tries; the last one: {telling.fault}"
    plane.tell(record.id, "untold", reason)
    notify(plane, "delivery_failed", "warning", subject=record.id, reason=f"{record.id}: {reason}", pool=record.pool)


def _to_webhook(plane: Plane, record: Record) -> None:
    url = (record.spec.notify.webhook if record.spec.notify else None) or ""
    body = msgspec.json.encode({"v": 1, "type": _type(record), **_document(plane, record)})
    headers = {
        "content-type": "application/json",
        "user-agent": "spillway",
        "x-spillway-delivery": f"{record.id}.ended",  # the same at every try
        "x-spillway-try": str(record.telling.tries + 1),
    }
    if key := secrets.webhook_key(plane, record.owner):
        headers["x-spillway-signature"] = signature(key, int(plane.clock()), body)
    status = _called(plane, url, body, headers)
    if not 200 <= status < 300:
        raise CloudUnavailable(f"it answered {status}")


def _called(plane: Plane, url: str, body: bytes, headers: dict[str, str]) -> int:
    """Its answer. Who did not answer is not called again for a minute by this process: others wait for their timers meanwhile."""
    deaf, now = f"deaf/{urlsplit(url).netloc}", plane.clock()
    if (said := plane.recall.get(deaf, now, DEAF_S, lambda: None)) is not None:
        raise CloudUnavailable(str(said))
    try:
        return plane.cloud.outside.post(url, body, headers)
    except CloudUnavailable as error:
        fault = str(error)
        plane.recall.get(deaf, now, -1.0, lambda: fault)
        raise


def _document(plane: Plane, record: Record) -> dict[str, Any]:
    """As the API shows it."""
    from chalicelib.api import array_view, job_view
    from chalicelib.control import arrays

    if isinstance(record, Array):
        return {"array": array_view.array(record, arrays.counts(plane, record))}
    return {"job": job_view.job(record)}


def _to_topic(plane: Plane, record: Record) -> None:
    publish(
        plane,
        _type(record),
        "info",
        subject=record.id,
        reason=f"{record.spec.name or record.id} has ended: {record.state}, {record.reason}",
        pool=record.pool,
        detail={"state": record.state, "owner": record.owner, "labels": dict(record.spec.labels)},
    )


def _to_prairielearn(plane: Plane, record: Record) -> None:
    if isinstance(record, Job):
        prairielearn.tell(plane, record)


def _type(record: Record) -> str:
    return "array_finished" if isinstance(record, Array) else "job_finished"


TELL: dict[str, Callable[[Plane, Record], None]] = {
    "webhook": _to_webhook,
    "topic": _to_topic,
    LISTENER: _to_prairielearn,
}
